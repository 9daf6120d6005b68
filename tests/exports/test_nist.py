from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.exports import nist
from tests.exports.rows import row, said, segment, talks, word

TIMED = [word("Yes,", 1.0, 1.25), word("7", 1.5, 1.75), word("–", None, None)]


def test_ctm_has_the_words_with_times() -> None:
    timed = row(segment("Yes, 7 –", (1.0, 2.0)), words=[TIMED[0], TIMED[1] | {"score": None}, TIMED[2]])
    assert nist.ctm(timed) == "a1 1 1.000 0.250 Yes, 0.900\na1 1 1.500 0.250 7 NA\n"
    split = row(
        segment("Yes, 7 –", (1.0, 2.0), channel=1), segment("Yes,", (0.0, 1.0), channel=0), recording_id="a 1#0"
    )
    split |= {"words": [*TIMED, TIMED[0] | {"start_s": 0.0, "end_s": 0.5}]}
    lines = nist.ctm(split).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["a_1#0", "1", "0.000"],
        ["a_1#0", "2", "1.000"],
        ["a_1#0", "2", "1.500"],
    ]
    assert nist.ctm(split | {"channel": 0}).startswith("a_1 1 ")
    assert nist.ctm(row()) == ""


def test_rttm_has_the_turns_by_start() -> None:
    turns = [
        {"start_s": 2.5, "end_s": 4.0, "speaker": "SPEAKER_00"},
        {"start_s": 0.0, "end_s": 2.7504, "speaker": "SPEAKER_01"},
        {"start_s": 5.0, "end_s": 5.0001, "speaker": "SPEAKER_01"},
    ]
    assert nist.rttm(row(turns=turns)) == (
        "SPEAKER a1 1 0.000 2.750 <NA> <NA> SPEAKER_01 <NA> <NA>\n"
        "SPEAKER a1 1 2.500 1.500 <NA> <NA> SPEAKER_00 <NA> <NA>\n"
    )
    assert nist.rttm(row(turns=turns, recording_id="a1#1", channel=1)).startswith("SPEAKER a1 2 ")


def test_stm_by_words_by_segments_and_by_channels() -> None:
    words = [word("Yes,", 1.0, 1.25, "SPEAKER_01"), word("7", 1.5, 1.75, "SPEAKER_00"), word("–", None, None)]
    assert nist.stm(row(segment("Yes, 7 –", (1.0, 2.0), speaker="SPEAKER_01"), words=words)) == (
        "a1 1 SPEAKER_01 1.000 1.250 Yes,\na1 1 SPEAKER_00 1.500 2.000 7 –\n"
    )
    assert nist.stm(row(segment("Yes.", (1.0, 2.0), speaker="SPEAKER_01"))) == "a1 1 SPEAKER_01 1.000 2.000 Yes.\n"
    assert nist.stm(row(segment("Yes.", (1.0, 2.0)), segment("", (3.0, 4.0)))) == "a1 1 unknown 1.000 2.000 Yes.\n"
    split = row(segment("One.", (1.0, 2.0), channel=1), segment("Two.", (1.5, 2.0), channel=0))
    assert nist.stm(split) == "a1 1 channel-0 1.500 2.000 Two.\na1 2 channel-1 1.000 2.000 One.\n"
    odd = row(segment("<unk> {a / b}", (1.0, 2.0)))
    assert nist.stm(odd) == "a1 1 unknown 1.000 2.000 ＜unk> ｛a / b｝\n"


@given(talks(), st.one_of(st.sampled_from([";;", '"', "a b", " ", "<NA>", "会議"]), st.text(min_size=1)))
def test_no_text_or_name_breaks_a_line(talk: dict[str, Any], name: str) -> None:
    turns = [{"start_s": 1.0, "end_s": 2.0, "speaker": name}]
    odd = talk | {"recording_id": name, "turns": turns}
    for made, fields in ((nist.ctm(odd), 6), (nist.rttm(odd), 10), (nist.stm(odd), 6)):
        for line in made.splitlines():
            found = line.split(None, 5 if fields == 6 else -1)
            assert len(found) == fields
            assert not line.startswith(";;")
            assert '"' not in found[0] + found[1]
    text = "".join("".join(line.split(None, 5)[5].split()) for line in nist.stm(odd).splitlines())
    assert text.replace("｛", "{").replace("｝", "}").replace("＜", "<") == said(talk)
