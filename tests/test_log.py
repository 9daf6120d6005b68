from __future__ import annotations

import json
import logging
import warnings
from datetime import datetime
from typing import Any

import pytest

from pipeline import log
from pipeline.log import LOGGER, Log, through_root


@pytest.fixture
def library():
    """A logger of a library that shows its log by itself, as Ray's do."""
    logger = logging.getLogger("some.library")

    class PlainRayHandler(logging.StreamHandler):
        pass

    logger.addHandler(PlainRayHandler())
    logger.propagate = False
    yield logger
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_json_line_has_time_level_logger_message_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Log()
    shown.as_json = True
    shown.say("50% done: é", style="red", recordings=3, where={"a": 1})
    shown.say("attention", level="warning")
    first, second = lines(capsys)
    assert list(first) == ["time", "level", "logger", "message", "recordings", "where"]
    assert datetime.fromisoformat(first.pop("time")).utcoffset() is not None
    expected = {"level": "info", "logger": "pipeline", "message": "50% done: é", "recordings": 3, "where": {"a": 1}}
    assert first == expected
    assert second["level"] == "warning"


def test_text_is_the_message_alone(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Log()
    shown.say("2 files in [bold]x[/bold] " + "y" * 200, recordings=2)
    assert capsys.readouterr().err == "2 files in [bold]x[/bold] " + "y" * 200 + "\n"


def test_the_latest_log_alone_shows_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    Log()
    Log().say("once")
    assert capsys.readouterr().err == "once\n"


def test_the_jobs_messages_reach_other_handlers(caplog: pytest.LogCaptureFixture) -> None:
    Log().say("what", level="error")
    assert caplog.record_tuples == [(LOGGER.name, logging.ERROR, "what")]


def test_warnings_of_libraries_are_shown_and_their_information_is_not(
    library: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Log()
    shown.as_json = True
    logging.getLogger("botocore").warning("before")
    capsys.readouterr()
    with shown.libraries():
        through_root(library.name, level=logging.WARNING)
        logging.getLogger("s3fs").info("connected")
        logging.getLogger("s3fs").warning("slow: %s", "bucket")
        library.info("started")
        library.warning("object store is full")
        library.warning("for the file alone", extra={"hide": True})
        shown.say("ours")
    logging.getLogger("s3fs").warning("after")
    found = [(line["level"], line["logger"], line["message"]) for line in lines(capsys)]
    assert found == [
        ("warning", "s3fs", "slow: bucket"),
        ("warning", "some.library", "object store is full"),
        ("info", "pipeline", "ours"),
    ]


def test_verbose_shows_information_of_a_library(library: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    with Log().libraries():
        through_root(library.name, level=logging.INFO)
        library.info("started\n  on 2 nodes")
    assert capsys.readouterr().err == "info (some.library): started on 2 nodes\n"


def test_warnings_of_python_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Log()
    kept = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with shown.libraries():
            warnings.warn("is deprecated", UserWarning, stacklevel=1)
    said = capsys.readouterr().err
    assert said.startswith("warning (py.warnings): ") and "UserWarning: is deprecated" in said
    assert said.count("\n") == 1
    assert warnings.showwarning is kept


def test_a_traceback_is_a_member(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Log()
    shown.as_json = True
    with shown.libraries():
        try:
            raise OSError("gone")
        except OSError:
            logging.getLogger("s3fs").exception("lost")
    (line,) = lines(capsys)
    assert (line["level"], line["message"]) == ("error", "lost")
    assert line["exception"].startswith("Traceback") and line["exception"].endswith("OSError: gone")


def test_harmless_warnings_are_left_out_by_name_and_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log, "HARMLESS", (("s3fs", "Bars"),))
    with Log().libraries():
        logging.getLogger("s3fs").warning("Bars are off")
        logging.getLogger("s3fs").warning("Not so: Bars")
        logging.getLogger("s3fs.core").warning("Bars are off")
    assert capsys.readouterr().err.splitlines() == [
        "warning (s3fs): Not so: Bars",
        "warning (s3fs.core): Bars are off",
    ]
