from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.models.abilities import Abilities
from pipeline.models.protocol import (
    Chat,
    Hypothesis,
    LanguageError,
    LanguageScorer,
    LanguageScores,
    Reply,
    Request,
    RequestError,
)
from pipeline.schema import WINDOW
from pipeline.settings import Language, Segmentation, Settings
from pipeline.tasks.transcribe import worker
from pipeline.tasks.transcribe.schema import HYPOTHESIS

NEEDS_LANGUAGE = Abilities(30.0, needs_language=True, language_methods=("token",))
SETTINGS = Settings(input="in", output="out", segmentation=Segmentation(max_window_s=6.0, max_pause_s=2.0))


def hypothesis(text: str, request: Request, **more: Any) -> Hypothesis:
    plain = Hypothesis(text, "stop", len(text.split()), -0.2, 0.1, request.duration_s)
    return replace(plain, **more)


class Plain:
    """Says how long a request is; refuses those that begin with a positive sample."""

    abilities = Abilities(1_800.0, language_methods=("score",))
    scores = LanguageScores({"score": {"es": 0.8, "en": 0.2}})

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def language_scorer(self, expected: Sequence[str], methods: Sequence[str]) -> LanguageScorer:
        async def score(request: Request) -> LanguageScores:
            return self.scores

        return score

    async def chat(self, chat: Chat) -> Reply:
        raise NotImplementedError

    async def transcribe(self, request: Request) -> Hypothesis:
        await asyncio.sleep(0)
        self.asked.append(request)
        if request.samples[0] > 0:
            raise RequestError("refused")
        return self.answer(request)

    def answer(self, request: Request) -> Hypothesis:
        return hypothesis(f"{request.duration_s} seconds", request)

    def shutdown(self) -> None:
        pass


def transcribe(model: Plain, windows: list[dict[str, Any]], settings: Settings = SETTINGS) -> list[dict[str, Any]]:
    table = asyncio.run(worker.Transcribe(model, settings)(pa.Table.from_pylist(windows, WINDOW)))
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
    assert [row["language_source"] for row in rows] == ["identified", None, None, None, "declared"]
    assert rows[4]["segment_count"] == 5


class Loops(Plain):
    """Repeats itself in long windows."""

    def answer(self, request: Request) -> Hypothesis:
        if request.duration_s < 4:
            return hypothesis("a short and honest text of the piece", request)
        return hypothesis("and so on " * 15, request, finish_reason="repetition")


class Stops(Plain):
    """Gives up early in long windows."""

    def answer(self, request: Request) -> Hypothesis:
        return hypothesis("what was said in this short piece" if request.duration_s < 4 else "what", request)


class Silent(Plain):
    """Says nothing at low temperatures."""

    def answer(self, request: Request) -> Hypothesis:
        return hypothesis(
            "at this temperature there is a text, and not before" if request.temperature > 0.5 else "", request
        )


class Endless(Plain):
    """Always reaches the limit of its tokens."""

    def answer(self, request: Request) -> Hypothesis:
        text = f"on and on it goes without any end, {request.duration_s}"
        return hypothesis(text, request, finish_reason="length", mean_logprob=-0.1 - request.temperature)


class Junk(Plain):
    """Writes in another script, always."""

    def answer(self, request: Request) -> Hypothesis:
        return hypothesis("субтитры сделал кто-то другой, не мы, спасибо", request)


TWO_SPANS = [(0.3, 2.5), (3.2, 5.7)]


@pytest.mark.parametrize(
    ("model", "retried_for", "attempts", "kept", "flags"),
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
    model: Plain, retried_for: list[str], attempts: list[str], kept: str, flags: list[str]
) -> None:
    (row,) = transcribe(model, [spoken(6.0, TWO_SPANS)])
    assert (row["retried_for"], row["attempts"], row["kept_attempt"]) == (retried_for, attempts, kept)
    assert [flag for flag in row["flags"] if flag != "language_disputed"] == flags
    assert row["text"]
    assert row["padded_s"] == pytest.approx(sum(request.duration_s for request in model.asked))


def test_a_model_that_counts_no_tokens_is_joined_without() -> None:
    class Uncounted(Loops):
        def answer(self, request: Request) -> Hypothesis:
            return replace(super().answer(request), token_count=None, mean_logprob=None, low_probability_share=None)

    (row,) = transcribe(Uncounted(), [spoken(6.0, TWO_SPANS)])
    assert row["kept_attempt"] == "split" and row["text"]
    assert (row["token_count"], row["mean_logprob"], row["low_probability_share"]) == (None, None, None)


def test_a_good_window_is_transcribed_once() -> None:
    model = Plain()
    (row,) = transcribe(model, [spoken(1.5, [(0.2, 1.4)])])
    assert (row["attempts"], row["kept_attempt"], row["retried_for"], row["flags"]) == (["whole"], "whole", [], [])
    assert len(model.asked) == 1


def test_a_retry_that_fails_loses_nothing() -> None:
    class Breaks(Stops):
        async def transcribe(self, request: Request) -> Hypothesis:
            if self.asked:
                raise RequestError("worn out")
            return await super().transcribe(request)

    (row,) = transcribe(Breaks(), [spoken(6.0, TWO_SPANS)])
    assert (row["text"], row["failure_code"], row["flags"]) == ("what", None, ["little_text"])


def test_what_the_model_takes_for_no_speech_is_dropped() -> None:
    class Doubts(Plain):
        abilities = Abilities(1_800.0, language_methods=("token",), detects_silence=True)
        scores = LanguageScores({"token": {"en": 1.0}}, no_speech_probability=0.9)

        def answer(self, request: Request) -> Hypothesis:
            return hypothesis("thank you for watching this", request, mean_logprob=-1.5)

    (row,) = transcribe(Doubts(), [spoken(2.0, [(0.5, 1.9)])])
    assert (row["text"], row["language"]) == ("", None)
    assert row["flags"] == ["low_confidence", "no_speech"]
    assert row["no_speech_probability"] == pytest.approx(0.9)


def test_a_model_that_needs_a_language_gets_the_likeliest() -> None:
    class Needs(Plain):
        abilities = NEEDS_LANGUAGE
        scores = LanguageScores({"token": {"es": 0.95, "en": 0.05}})

    model = Needs()
    transcribe(model, [spoken(1.5, [(0.2, 1.4)]), spoken(1.5, [(0.2, 1.4)], language="ja")])
    assert {request.language for request in model.asked} == {"es", "ja"}


def test_a_model_that_is_unsure_of_the_language_tries_two() -> None:
    class Unsure(Plain):
        abilities = NEEDS_LANGUAGE
        scores = LanguageScores({"token": {"pt": 0.7, "en": 0.29, "de": 0.01}})

        def answer(self, request: Request) -> Hypothesis:
            if request.language == "en":
                return hypothesis("as he sat there thinking he sensed movement", request, mean_logprob=-0.2)
            return hypothesis("como ele estava pensando sentiu um movimento", request, mean_logprob=-1.2)

    model = Unsure()
    (row,) = transcribe(model, [spoken(3.0, [(0.2, 2.9)])])
    assert {request.language for request in model.asked} == {"pt", "en"}
    assert row["text"].startswith("as he sat")
    assert (row["language"], row["attempts"], row["padded_s"]) == ("en", ["whole"], 6.0)


def test_a_model_that_is_unsure_is_not_swayed_by_length() -> None:
    class Unsure(Plain):
        abilities = NEEDS_LANGUAGE
        scores = LanguageScores({"token": {"pt": 0.6, "en": 0.39, "de": 0.01}})

        def answer(self, request: Request) -> Hypothesis:
            if request.language == "pt":
                return hypothesis("", request, token_count=1, mean_logprob=-0.1) if self.empty else short(request)
            return hypothesis("as he sat there thinking he sensed a movement " * 2, request, mean_logprob=-0.3)

        empty = True

    def short(request: Request) -> Hypothesis:
        return hypothesis("sim", request, mean_logprob=-1.5)

    for Unsure.empty in (True, False):
        (row,) = transcribe(Unsure(), [spoken(3.0, [(0.2, 2.9)])])
        assert row["text"].startswith("as he sat"), "the longer text has the lower probability as a whole"


def test_the_text_alone_tells_the_language_where_the_model_scores_none() -> None:
    class Remote(Plain):
        abilities = Abilities(1_800.0)
        scores = LanguageScores({})

        def answer(self, request: Request) -> Hypothesis:
            return hypothesis("il faisait beau et nous sommes sortis dans la rue", request)

    (row,) = transcribe(Remote(), [spoken(3.0, [(0.0, 3.0)])])
    assert (row["language"], row["language_source"], row["flags"]) == ("fr", "identified", [])
    by_model = SETTINGS.model_copy(update={"language": SETTINGS.language.model_copy(update={"methods": ("score",)})})
    (row,) = transcribe(Remote(), [spoken(3.0, [(0.0, 3.0)])], by_model)
    assert (row["language"], row["language_source"]) == (None, None)
    assert row["text"].startswith("il faisait")


def test_a_model_that_needs_a_language_and_scores_none_takes_declared_ones_alone() -> None:
    class Told(Plain):
        abilities = Abilities(30.0, needs_language=True)
        scores = LanguageScores({})

    rows = transcribe(Told(), [spoken(1.5, [(0.2, 1.4)]), spoken(1.5, [(0.2, 1.4)], language="de")])
    assert [row["failure_code"] for row in rows] == ["engine_error", None]
    assert rows[1]["language"] == "de"


def test_a_declared_language_that_the_model_does_not_know_is_the_rows_fault() -> None:
    class Some(Plain):
        def answer(self, request: Request) -> Hypothesis:
            raise LanguageError(f"this model does not know {request.language}")

    rows = transcribe(Some(), [spoken(1.5, [(0.2, 1.4)], language="zu"), spoken(1.5, [(0.2, 1.4)])])
    assert [row["failure_code"] for row in rows] == ["invalid_row", "engine_error"]
    assert rows[0]["failure_detail"] == "this model does not know zu"


def test_a_text_in_a_language_that_nobody_expected_is_flagged() -> None:
    class Polish(Plain):
        def answer(self, request: Request) -> Hypothesis:
            return hypothesis("Dzień dobry, chciałbym zapytać o moje zamówienie", request)

    (row,) = transcribe(Polish(), [spoken(3.0, [(0.0, 3.0)])])
    assert "unexpected_language" in row["flags"]
    assert row["unexpected_language"] == "pl"
    (row,) = transcribe(Polish(), [spoken(3.0, [(0.0, 3.0)], language="pl")])
    assert (row["language"], row["unexpected_language"], row["flags"]) == ("pl", None, [])


def asking_always() -> Settings:
    return SETTINGS.model_copy(update={"language": Language(ask_every_window=True)})


@pytest.mark.parametrize(
    ("text", "settings", "times"),
    [
        ("il faisait beau et nous sommes sortis dans la rue", SETTINGS, 0),
        ("il faisait beau et nous sommes sortis dans la rue", asking_always(), 1),
        ("no no, hotel", SETTINGS, 1),
        ("il faisait beau et nous sommes sortis " * 9, SETTINGS, 1),  # it repeats itself
        ("no", SETTINGS, 1),
        ("", SETTINGS, 0),
    ],
)
def test_the_model_is_asked_for_the_language_where_the_text_leaves_doubt(
    text: str, settings: Settings, times: int
) -> None:
    asked: list[Request] = []

    class Asked(Plain):
        def language_scorer(self, expected: Sequence[str], methods: Sequence[str]) -> LanguageScorer:
            async def score(request: Request) -> LanguageScores:
                asked.append(request)
                return LanguageScores({"score": {"fr": 0.9, "en": 0.1}})

            return score

        def answer(self, request: Request) -> Hypothesis:
            return hypothesis(text, request)

    (row,) = transcribe(Asked(), [spoken(3.0, [(0.0, 3.0)])], settings)
    assert len(asked) == times
    assert row["language"] == ("fr" if text else None)
    assert transcribe(Asked(), [spoken(3.0, [(0.0, 3.0)], language="de")], settings)[0]["language"] == (
        "de" if text else None
    )


def test_methods_that_disagree_are_flagged() -> None:
    class Wrong(Plain):
        scores = LanguageScores({"score": {"hi": 0.9, "en": 0.1}})

        def answer(self, request: Request) -> Hypothesis:
            return hypothesis("there is no doubt that this is plain English text", request)

    (row,) = transcribe(Wrong(), [spoken(3.0, [(0.0, 3.0)])], asking_always())
    assert row["language"] == "en"
    assert 0.4 < row["language_probability"] < 0.7
    assert row["flags"] == ["language_disputed"]


def test_a_translation_is_english_and_tells_nothing_of_the_language() -> None:
    class Translator(Plain):
        scores = LanguageScores({"score": {"es": 0.6, "en": 0.4}})

        def answer(self, request: Request) -> Hypothesis:
            return hypothesis("good morning this is the office of the doctor how can I help you today", request)

    def row(model: Plain, translate: bool) -> dict[str, Any]:
        language = Language.model_validate({"expected": ["es", "de"], "translate": translate})
        settings = SETTINGS.model_copy(update={"language": language})
        (found,) = transcribe(model, [spoken(5.0, [(0.0, 5.0)])], settings)
        return found

    model = Translator()
    translated = row(model, True)
    assert all(request.translate for request in model.asked)
    assert translated["language"] == "es" and translated["flags"] == []
    transcribed = row(Translator(), False)
    assert transcribed["unexpected_language"] == "en"
