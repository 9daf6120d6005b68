"""A second pass over texts that are there: first runs are of a scripted model, words of the demo's aligner."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import transcribe
from pipeline import planning
from pipeline.audio import media
from pipeline.command_line import load
from pipeline.errors import ConfigurationError
from pipeline.ledger import parts
from pipeline.models.checkpoint import Checkpoint
from pipeline.settings import Audio
from pipeline.tasks.protocol import Left
from pipeline.tasks.transcribe.kept import KeptTexts, transcription
from pipeline.tasks.transcribe.texts import OTHER_WINDOWS
from tests.conftest import DEMO, SCRIPTED, ffmpeg, published, run_job, write_wav

WORDS = ["--words", "--alignment.model", str(DEMO / "aligner")]
KEEP = [*WORDS, "--speakers", "auto", "--keep-texts"]
SHORT = ["--segmentation.max-window-s", "4"]  # speech without pauses is cut, with overlaps
OF_RUN = ("run_id", "words")
CHECKPOINT = Checkpoint("none", "scripted", "scripted", 30.0, "scripted")


def without(row: dict[str, Any], names: tuple[str, ...] = OF_RUN) -> dict[str, Any]:
    """Numbers but for their last digits: py3langid adds in float32, in an order that depends on where arrays lie."""
    return {name: rounded(value) for name, value in row.items() if name not in names}


def rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [rounded(one) for one in value]
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return round(value, 5) if isinstance(value, float) else value


def move_a_window(output: str, uri: str) -> None:
    """As if today's pipeline cut a recording elsewhere than the one that wrote its texts."""
    (report,) = parts.reports(output)
    for name in report["segments"]:
        path = Path(output, name)
        rows = pq.ParquetFile(path).read()
        moved = [row | ({"end_s": row["end_s"] - 0.1} if row["uri"] == uri else {}) for row in rows.to_pylist()]
        pq.write_table(pa.Table.from_pylist(moved, rows.schema), path)


def test_words_are_added_to_texts_that_are_there(
    shared_ray: None, tmp_path: Path, scripted: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tmp_path / "in", str(tmp_path / "out")
    shutil.copytree(DEMO / "recordings/odd", folder)  # two fail, one is truncated, one is silent
    for clip in ("en-00.ogg", "de-03.ogg", "fr-01.ogg"):
        shutil.copy(DEMO / "held_out" / clip, folder)
    pieces = [np.concatenate(list(media.decode(DEMO / f"held_out/en-0{at}.ogg", Audio()))) for at in (1, 2)]
    long = np.concatenate(pieces)
    write_wav(folder / "long.wav", long[np.abs(long) > 40])  # no pauses
    arguments = ["--input", str(folder), *SHORT]
    first = run_job([*arguments, *SCRIPTED], output)
    assert any(row["overlap_s"] for row in first.segments)
    scratch = run_job([*arguments, *SCRIPTED, *KEEP[:-1]], str(tmp_path / "scratch"))

    shutil.copy(DEMO / "held_out/es-01.ogg", folder / "fr-01.ogg")  # its text is of other content now
    move_a_window(output, str(folder / "de-03.ogg"))
    again = [*arguments, *scripted("broken"), *KEEP, "--output", output]  # an engine would not start
    assert transcribe.main([*again, "--dry-run"]) == 0
    failed = sum(row["outcome"] == "failed" for row in first.transcripts)
    said = capsys.readouterr().err
    kept = len(first.transcripts) - failed - 1
    assert f"{kept} of them keep their text, and no engine starts; {failed + 1} have no text" in said
    assert transcribe.main(again) == 0
    assert f"left as is   1: 1 {OTHER_WINDOWS}; a run without --keep-texts does them" in capsys.readouterr().err

    report = parts.reports(output)[-1]
    assert report["numbers"]["recordings"] == kept - 1
    assert (report["without_texts"], report["not_reached"]) == (failed + 1, 0)
    assert report["numbers"]["left"] == {OTHER_WINDOWS: 1}
    assert report["fingerprint"] == scratch.report["fingerprint"]
    assert report["texts_fingerprint"] == scratch.report["texts_fingerprint"] == first.report["fingerprint"]
    own = [row for row in published(output, "transcripts") if row["run_id"] == report["run_id"]]
    assert len(own) == kept - 1
    expected = {row["recording_id"]: row for row in scratch.transcripts}
    for row in own:
        assert without(row) == without(expected[row["recording_id"]])
        assert row["model"] == "none", "what made the text, not what was named now"
        assert row["runtime_version"]
    rows = [row for row in published(output, "segments") if row["run_id"] == report["run_id"]]
    wanted = {(row["recording_id"], row["segment_index"]): row for row in scratch.segments}
    for row in rows:
        other = wanted[row["recording_id"], row["segment_index"]]
        assert without(row) == without(other)
        if not row["uri"].endswith("long.wav"):
            assert row["words"] == other["words"], "without overlaps nothing differs"
        assert [word["word"] for word in row["words"] or ()] == [word["word"] for word in other["words"] or ()]
    assert any(word["start_s"] and word["speaker"] for row in rows for word in row["words"] or ())
    assert any(row["turns"] for row in own)

    # What is left is the one that was cut otherwise; with that one gone, nothing is.
    (folder / "de-03.ogg").unlink()
    assert transcribe.main(again) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert len(parts.reports(output)) == 2


@pytest.mark.slow
def test_channels_keep_their_texts(shared_ray: None, tmp_path: Path) -> None:
    clips = [DEMO / "held_out" / name for name in ("en-00.ogg", "en-01.ogg")]
    (tmp_path / "in").mkdir()
    ffmpeg("-i", clips[0], "-i", clips[1], "-filter_complex", "amerge=inputs=2", tmp_path / "in/call.wav")
    arguments, output = ["--input", str(tmp_path / "in"), "--channels", "split", *SCRIPTED], str(tmp_path / "out")
    first = run_job(arguments, output)
    scratch = run_job([*arguments, *KEEP[:-1]], str(tmp_path / "scratch"))
    assert transcribe.main([*arguments, *KEEP, "--output", output]) == 0
    rows = published(output, "segments")[len(first.segments) :]
    assert {row["channel"] for row in rows} == {0, 1}
    assert [without(row, ("run_id",)) for row in rows] == [without(row, ("run_id",)) for row in scratch.segments]
    (report,) = parts.reports(output)[1:]
    assert report["numbers"]["recordings"] == 1
    speed = planning.plan(load([*arguments, "--output", output])).speed
    assert speed and speed.report and speed.report["run_id"] == first.report["run_id"], "where an engine ran"


@pytest.mark.parametrize(
    ("arguments", "words"), [([], "name --words"), ([*WORDS, "--retry", "failed"], "leave --retry out")]
)
def test_what_makes_no_sense_is_refused(arguments: list[str], words: str) -> None:
    settings = load(
        ["--input", "in", "--output", "out", *SCRIPTED, "--engine.device", "cpu", "--keep-texts", *arguments]
    )
    with pytest.raises(ConfigurationError, match=words):
        transcription(settings).fit(settings, CHECKPOINT)


def test_no_gpu_is_used_for_texts_that_were_made_on_one() -> None:
    given = ["--input", "in", "--output", "out", *SCRIPTED, "--engine.device", "gpu", *KEEP]
    settings = load(given)
    task = transcription(settings)
    fitted = task.fit(settings, CHECKPOINT)
    assert isinstance(task, KeptTexts) and not task.requires
    assert (fitted.engine.device, fitted.engine.resolved_dtype) == ("cpu", "bfloat16")
    plain = load([*given[:-1]])
    made = transcription(plain)
    assert task.fingerprint(fitted, CHECKPOINT) == made.fingerprint(made.fit(plain, CHECKPOINT), CHECKPOINT)


def test_a_recording_that_did_not_come_back_stays_as_it_is() -> None:
    settings = load(["--input", "in", "--output", "out", *SCRIPTED, "--engine.device", "cpu", *KEEP])
    with pytest.raises(Left, match="incomplete"):
        KeptTexts(settings).rows({"recording_id": "a"}, [], settings, complete=False)
