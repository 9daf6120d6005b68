from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tasks.transcribe import language
from pipeline.tasks.transcribe.answers import LanguageShare
from pipeline.tasks.transcribe.segments import Segment

EXPECTED = ["en", "de", "fr"]
DISTRIBUTION = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3).map(
    lambda shares: {x: share / sum(shares) for x, share in zip(EXPECTED, shares, strict=True)}
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("the weather was good and we went out", "en"),
        ("das Wetter war gut und wir gingen hinaus", "de"),
        ("il faisait beau et nous sommes sortis", "fr"),
        ("three five nine seven two", "en"),
    ],
)
def test_a_text_tells_its_language(text: str, code: str) -> None:
    shares = language.of_text(text, EXPECTED)
    assert max(shares, key=lambda x: shares[x]) == code
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_short_text_tells_nothing() -> None:
    assert language.of_text("ja", EXPECTED) == {}
    assert language.of_text("the weather was good", ["en", "xx"]) == {}, "a language it does not know"


@given(st.lists(st.one_of(DISTRIBUTION, st.just({})), min_size=1, max_size=3))
def test_the_mean_of_the_methods_decides(distributions: list[dict[str, float]]) -> None:
    tag = language.combine(distributions, EXPECTED)
    if not any(distributions):
        assert tag is None
        return
    assert tag is not None
    assert tag.language in EXPECTED
    assert 1 / 3 - 1e-9 <= tag.probability <= 1.0
    if len({max(one, key=lambda x: one[x]) for one in distributions if one}) > 1:
        assert not tag.agreed


def test_one_method_alone_never_reaches_its_own_probability() -> None:
    sure = {"en": 1.0, "de": 0.0, "fr": 0.0}
    alone = language.combine([sure, {}], EXPECTED)
    assert alone is not None
    assert (alone.language, alone.agreed) == ("en", True)
    assert alone.probability == pytest.approx((1 + 1 / 3) / 2)
    both = language.combine([sure, sure], EXPECTED)
    assert both == language.Tag("en", 1.0, True, sure)
    against = language.combine([sure, {"en": 0.0, "de": 0.9, "fr": 0.1}], EXPECTED)
    assert against is not None
    assert (against.language, against.agreed) == ("en", False)
    assert against.probability == pytest.approx(0.5)


def segment(speech_s: float = 1.0, **facts: Any) -> Segment:
    facts = {"text": None, "language": None} | facts
    return Segment(start_s=0.0, end_s=speech_s, speech_s=speech_s, **facts)


def shared(speech_s: float, **shares: float) -> Segment:
    found = [LanguageShare(language=x, share=shares.get(x, 0.0)) for x in EXPECTED]
    return segment(speech_s, language="?", language_probability=0.0, language_shares=found)


def test_the_recording_settles_what_a_segment_leaves_open() -> None:
    sure = [shared(20.0, en=0.97, de=0.03)] * 5
    doubtful, changed = shared(5.0, en=0.45, de=0.55), shared(20.0, en=0.02, fr=0.98)
    silent = segment()
    rows = language.in_context([*sure, doubtful, changed, silent])
    assert [row.language for row in rows] == ["en"] * 6 + ["fr", None]
    assert (rows[5].language_probability or 0) > 0.8
    assert (rows[6].language_probability or 1) < 0.98
    assert doubtful.language == "?", "the caller's rows are not touched"


@given(DISTRIBUTION, st.floats(0.1, 1000.0))
def test_a_lone_segment_keeps_its_own_probabilities(shares: dict[str, float], speech_s: float) -> None:
    (row,) = language.in_context([shared(speech_s, **shares)])
    assert shares[str(row.language)] == max(shares.values())
    assert row.language_probability == pytest.approx(max(shares.values()))


def test_a_phantom_language_does_not_rule_a_recording() -> None:
    rows = [
        segment(20.0, text="x", language="en", language_probability=0.9),
        segment(30.0, text="y", language="cy", language_probability=0.4),
        segment(99.0, text=""),
    ]
    assert [one["language"] for one in language.mix(rows)] == ["en", "cy"]


def test_cantonese_is_chinese() -> None:
    """It is what the codes that people expect say of it."""
    text = "佢哋噚日喺香港嘅茶餐廳食咗好多嘢"
    assert language.unexpected(text + text, ["zh"]) is None
    assert language.unexpected(text + text, ["en"]) == "zh"
