from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import identity
from pipeline.exports.formats import PER_RECORDING
from pipeline.exports.names import FileNames, below_root, roots


def place(uri: str, channel: int | None = None, start_s: float | None = None) -> dict[str, Any]:
    return {"uri": uri, "channel": channel, "place": identity.place(uri, start_s, None)}


def names_of(rows: list[dict[str, Any]], *inputs: str) -> list[str]:
    names = FileNames(rows, inputs)
    return [names.of(row) for row in rows]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://b/in/a/talk.mp3", "a/talk"),
        ("s3://b/in/Gespräch (Köln).m4a", "Gespräch (Köln)"),
        ("s3://other/x/talk.mp3", "other/x/talk"),
        ("s3://b/in/../../etc/passwd.wav", "etc/passwd"),
        ("s3://b/in/what?.wav", "what_"),
        ("s3://b/in/会議.flac", "会議"),
        ("s3://b/in/no extension", "no extension"),
        ("s3://b/in/.. /. /a.wav", "_/_/a"),
        ("s3://b/in/.. ", "_"),
        ("s3://b/in/.../. . /..", "_/_"),
        ("s3://b/in/" + " ." * 150 + "x/a.wav", "_/a"),
        ("s3://b/in/call.words.wav", "call.words.wav"),
    ],
)
def test_names_mirror_the_input_and_are_safe(uri: str, name: str) -> None:
    assert names_of([place(uri)], "s3://b/in/") == [name]


def test_names_below_a_manifest_or_of_one_file() -> None:
    assert names_of([place("s3://b/m/x/a.wav")], "s3://b/m/list.jsonl") == ["x/a"]
    assert names_of([place("/data/a.wav")], "/data/a.wav") == ["a"]
    assert names_of([place("/data/x/a.wav")], "/other/list.csv") == ["data/x/a"]
    assert names_of([place("row 3 of list.csv")], "/other/list.csv") == ["row 3 of list"]


def test_an_earlier_run_on_a_part_of_the_input_changes_no_names() -> None:
    for inputs in (["s3://b/in/2024/", "s3://b/in/"], ["s3://b/in", "s3://b/in/2024"]):
        assert below_root(roots(inputs), "s3://b/in/2024/a.wav") == "2024/a.wav"
    assert below_root(roots(["s3://b/in/2024/", "s3://b/other/"]), "s3://b/in/2024/a.wav") == "a.wav"


def test_names_that_would_meet_part() -> None:
    rows = [
        place("s3://b/in/a.mp3"),
        place("s3://b/in/a.wav"),
        place("s3://b/in/A.WAV"),
        place("s3://b/in/call.wav"),
        place("s3://b/in/call.wav", 0),
        place("s3://b/in/call.wav", 1),
        place("s3://b/in/long.wav", None, 0.0),
        place("s3://b/in/long.wav", None, 60.0),
        place("s3://b/in/x.wav"),
        place("s3://b/in/x.srt/y.wav"),
        place("s3://b/in/" + "会" * 300 + ".wav"),
        place("s3://b/in/" + "会" * 299 + ".wav"),
        place("s3://b/in/b." + "x" * 250),
        place("s3://b/in/b." + "x" * 251),
        place("s3://b/in/." + "x" * 250),
    ]
    names = names_of(rows, "s3://b/in")
    assert len({name.casefold() for name in names}) == len(rows)
    assert (names[0], names[3], names[4]) == ("a.mp3", "call", "call.channel-0")
    assert names[6].startswith("long.wav.")
    assert names[8:10] == ["x.wav", "x.srt/y"], "x.srt is a folder"
    assert all(len(part.encode()) < 240 for name in names for part in name.split("/"))


KEYS = st.one_of(
    st.text(max_size=20),
    st.text("./a ", min_size=1),
    st.lists(st.sampled_from(["a", "A", ".words", ".vtt", ".wav", "/", ".channel-0"]), min_size=1).map("".join),
)


@given(st.sets(KEYS, min_size=1, max_size=8))
def test_whatever_the_keys_names_are_apart_and_below_the_output(keys: set[str]) -> None:
    names = names_of([place(f"s3://b/in/{key}") for key in keys], "s3://b/in/")
    files = {f"{name}.{kind.extension}".casefold() for name in names for kind in PER_RECORDING.values()}
    assert len(files) == len(keys) * len(PER_RECORDING)
    for name in names:
        assert not {"", ".", ".."} & set(name.split("/"))
        assert not set(name) & set('\0<>:"\\|?*\n')


def test_names_in_two_forms_of_unicode_part() -> None:
    rows = [place(f"s3://b/in/{unicodedata.normalize(form, 'é')}.wav") for form in ("NFC", "NFD")]
    found = FileNames(rows, ["s3://b/in/"])
    assert len({unicodedata.normalize("NFC", found.of(row)) for row in rows}) == 2
