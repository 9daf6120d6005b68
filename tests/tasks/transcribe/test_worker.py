from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.models.protocol import EngineError, Heard, Hypothesis, Utterance
from pipeline.schema import WINDOW
from pipeline.settings import Segmentation, Settings
from pipeline.tasks.transcribe import worker
from pipeline.tasks.transcribe.schema import HYPOTHESIS

SETTINGS = Settings(input="in", output="out", segmentation=Segmentation(max_window_s=6.0, max_pause_s=2.0))


def hypothesis(text: str, utterance: Utterance, **more: Any) -> Hypothesis:
    plain = Hypothesis(text, "stop", len(text.split()), -0.2, 0.1, utterance.duration_s)
    return replace(plain, **more)


class Plain:
    """Says how long an utterance is; refuses those that begin with a positive sample."""

    needs_language = False
    heard = Heard({"score": {"es": 0.8, "en": 0.2}})

    def __init__(self) -> None:
        self.asked: list[Utterance] = []

    async def listen(self, utterance: Utterance) -> Heard:
        return self.heard

    async def transcribe(self, utterance: Utterance) -> Hypothesis:
        await asyncio.sleep(0)
        self.asked.append(utterance)
        if utterance.samples[0] > 0:
            raise EngineError("refused")
        return self.answer(utterance)

    def answer(self, utterance: Utterance) -> Hypothesis:
        return hypothesis(f"{utterance.duration_s} seconds", utterance)

    def shutdown(self) -> None:
        pass


def transcribe(engine: Plain, windows: list[dict[str, Any]], settings: Settings = SETTINGS) -> list[dict[str, Any]]:
    table = asyncio.run(worker.Transcribe(engine, settings)(pa.Table.from_pylist(windows, WINDOW)))
    assert table.schema == HYPOTHESIS
    return table.to_pylist()


BASE = {"recording_id": "a", "segment_index": 0, "start_s": 0.0, "end_s": 1.0, "speech_s": 1.0, "overlap_s": 0.0}


def spoken(seconds: float, spans: list[tuple[float, float]], **more: Any) -> dict[str, Any]:
    """A window with speech in the spans; its samples are zero."""
    return (
        BASE
        | {"end_s": seconds, "speech_s": sum(end - start for start, end in spans)}
        | {"spans": [{"start_s": start, "end_s": end} for start, end in spans]}
        | {"samples": np.zeros(int(seconds * 16_000), "<i2").tobytes()}
        | more
    )


def test_every_window_has_one_hypothesis_or_failure() -> None:
    windows = [
        BASE | {"samples": np.zeros(16_000, "<i2").tobytes(), "spans": []},
        BASE | {"segment_index": 1, "samples": np.ones(16_000, "<i2").tobytes(), "spans": []},
        BASE | {"segment_index": 2, "samples": None},
        BASE | {"segment_index": 3, "samples": None, "failure_code": "truncated", "failure_detail": "x"},
        BASE
        | {"segment_index": 4, "samples": np.zeros(8_000, "<i2").tobytes(), "spans": []}
        | {"language": "de", "segment_count": 5},
    ]
    rows = transcribe(Plain(), windows)
    assert [row["text"] for row in rows] == ["1.0 seconds", None, "", None, "0.5 seconds"]
    assert [row["failure_code"] for row in rows] == [None, "engine_error", None, "truncated", None]
    assert [row["language"] for row in rows] == ["es", None, None, None, "de"]
    assert [row["language_source"] for row in rows] == ["witnesses", None, None, None, "declared"]
    assert rows[4]["segment_count"] == 5


class Loops(Plain):
    """Repeats itself in long windows."""

    def answer(self, utterance: Utterance) -> Hypothesis:
        if utterance.duration_s < 4:
            return hypothesis("a short and honest text of the piece", utterance)
        return hypothesis("and so on " * 15, utterance, finish_reason="repetition")


class Stops(Plain):
    """Gives up early in long windows."""

    def answer(self, utterance: Utterance) -> Hypothesis:
        return hypothesis("what was said in this short piece" if utterance.duration_s < 4 else "what", utterance)


class Silent(Plain):
    """Says nothing unless it is heated."""

    def answer(self, utterance: Utterance) -> Hypothesis:
        return hypothesis(
            "now that it is warm I speak at last, and not before" if utterance.temperature > 0.5 else "", utterance
        )


class Endless(Plain):
    """Always reaches the limit of its tokens."""

    def answer(self, utterance: Utterance) -> Hypothesis:
        text = f"on and on it goes without any end, {utterance.duration_s}"
        return hypothesis(text, utterance, finish_reason="length", mean_logprob=-0.1 - utterance.temperature)


class Junk(Plain):
    """Writes in another script, always."""

    def answer(self, utterance: Utterance) -> Hypothesis:
        return hypothesis("субтитры сделал кто-то другой, не мы, спасибо", utterance)


TWO_SPANS = [(0.3, 2.5), (3.2, 5.7)]


@pytest.mark.parametrize(
    ("engine", "retried_for", "attempts", "kept", "flags"),
    [
        (Loops(), ["repetition"], ["whole", "split"], "split", []),
        (Stops(), ["little_text"], ["whole", "split"], "split", []),
        (Silent(), ["no_text"], ["whole", "split", "temperature 0.4", "temperature 0.8"], "temperature 0.8", []),
        (
            Endless(),
            ["length_limit"],
            ["whole", "split", "temperature 0.4", "temperature 0.8"],
            "whole",
            ["length_limit"],
        ),
        (
            Junk(),
            ["other_script"],
            ["whole", "split", "temperature 0.4", "temperature 0.8"],
            "whole",
            ["other_script", "unexpected_language"],
        ),
    ],
)
def test_a_suspicious_window_is_tried_in_other_ways(
    engine: Plain, retried_for: list[str], attempts: list[str], kept: str, flags: list[str]
) -> None:
    (row,) = transcribe(engine, [spoken(6.0, TWO_SPANS)])
    assert (row["retried_for"], row["attempts"], row["kept_attempt"]) == (retried_for, attempts, kept)
    assert [flag for flag in row["flags"] if flag != "language_disputed"] == flags
    assert row["text"]
    assert row["padded_s"] == pytest.approx(sum(utterance.duration_s for utterance in engine.asked))


def test_a_good_window_is_heard_once_and_asks_for_no_more() -> None:
    engine = Plain()
    (row,) = transcribe(engine, [spoken(1.5, [(0.2, 1.4)])])
    assert (row["attempts"], row["kept_attempt"], row["retried_for"], row["flags"]) == (["whole"], "whole", [], [])
    assert len(engine.asked) == 1


def test_a_retry_that_fails_loses_nothing() -> None:
    class Breaks(Stops):
        async def transcribe(self, utterance: Utterance) -> Hypothesis:
            if self.asked:
                raise EngineError("worn out")
            return await super().transcribe(utterance)

    (row,) = transcribe(Breaks(), [spoken(6.0, TWO_SPANS)])
    assert (row["text"], row["failure_code"], row["flags"]) == ("what", None, ["little_text"])


def test_what_the_model_takes_for_no_speech_is_dropped() -> None:
    class Doubts(Plain):
        heard = Heard({"token": {"en": 1.0}}, no_speech_probability=0.9)

        def answer(self, utterance: Utterance) -> Hypothesis:
            return hypothesis("thank you for watching this", utterance, mean_logprob=-1.5)

    (row,) = transcribe(Doubts(), [spoken(2.0, [(0.5, 1.9)])])
    assert (row["text"], row["language"]) == ("", None)
    assert row["flags"] == ["low_confidence", "no_speech"]
    assert row["no_speech_probability"] == pytest.approx(0.9)


def test_a_model_that_needs_a_language_gets_the_likeliest() -> None:
    class Needs(Plain):
        needs_language = True
        heard = Heard({"token": {"es": 0.95, "en": 0.05}})

    engine = Needs()
    transcribe(engine, [spoken(1.5, [(0.2, 1.4)]), spoken(1.5, [(0.2, 1.4)], language="ja")])
    assert {utterance.language for utterance in engine.asked} == {"es", "ja"}


def test_a_model_that_is_unsure_of_the_language_tries_two() -> None:
    class Unsure(Plain):
        needs_language = True
        heard = Heard({"token": {"pt": 0.7, "en": 0.29, "de": 0.01}})

        def answer(self, utterance: Utterance) -> Hypothesis:
            if utterance.language == "en":
                return hypothesis("as he sat there thinking he sensed movement", utterance, mean_logprob=-0.2)
            return hypothesis("como ele estava pensando sentiu um movimento", utterance, mean_logprob=-1.2)

    engine = Unsure()
    (row,) = transcribe(engine, [spoken(3.0, [(0.2, 2.9)])])
    assert {utterance.language for utterance in engine.asked} == {"pt", "en"}
    assert row["text"].startswith("as he sat")
    assert (row["language"], row["attempts"], row["padded_s"]) == ("en", ["whole"], 6.0)


def test_a_model_that_is_unsure_is_not_swayed_by_length() -> None:
    class Unsure(Plain):
        needs_language = True
        heard = Heard({"token": {"pt": 0.6, "en": 0.39, "de": 0.01}})

        def answer(self, utterance: Utterance) -> Hypothesis:
            if utterance.language == "pt":
                return hypothesis("", utterance, token_count=1, mean_logprob=-0.1) if self.empty else short(utterance)
            return hypothesis("as he sat there thinking he sensed a movement " * 2, utterance, mean_logprob=-0.3)

        empty = True

    def short(utterance: Utterance) -> Hypothesis:
        return hypothesis("sim", utterance, mean_logprob=-1.5)

    for Unsure.empty in (True, False):
        (row,) = transcribe(Unsure(), [spoken(3.0, [(0.2, 2.9)])])
        assert row["text"].startswith("as he sat"), "the longer text has the lower probability as a whole"


def test_a_text_in_a_language_that_nobody_expected_is_flagged() -> None:
    class Polish(Plain):
        def answer(self, utterance: Utterance) -> Hypothesis:
            return hypothesis("Dzień dobry, chciałbym zapytać o moje zamówienie", utterance)

    (row,) = transcribe(Polish(), [spoken(3.0, [(0.0, 3.0)])])
    assert "unexpected_language" in row["flags"]
    assert row["unexpected_language"] == "pl"
    (row,) = transcribe(Polish(), [spoken(3.0, [(0.0, 3.0)], language="pl")])
    assert (row["language"], row["unexpected_language"], row["flags"]) == ("pl", None, [])


def test_witnesses_that_disagree_are_flagged() -> None:
    class Wrong(Plain):
        heard = Heard({"score": {"hi": 0.9, "en": 0.1}})

        def answer(self, utterance: Utterance) -> Hypothesis:
            return hypothesis("there is no doubt that this is plain English text", utterance)

    (row,) = transcribe(Wrong(), [spoken(3.0, [(0.0, 3.0)])])
    assert row["language"] == "en"
    assert 0.4 < row["language_probability"] < 0.7
    assert row["flags"] == ["language_disputed"]
