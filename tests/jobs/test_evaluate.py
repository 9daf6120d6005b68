"""Evaluations end to end. The real engine hears a small FLEURS; a scripted one serves for all but the words."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import jiwer
import pyarrow.parquet as pq
import pytest
from whisper_normalizer.basic import BasicTextNormalizer

from bench.speech import REAL, WHISPER, missing
from demo.s3 import upload
from jobs import evaluate, evaluate_fleurs
from pipeline import store
from tests.conftest import DEMO, DEMO_ENGINE, SCRIPTED, JobRun, published, run_job
from tests.corpora import CONFIGS, fleurs, fleurs_parquet, held_out

Row = dict[str, Any]


def evaluations(output: str) -> list[Row]:
    """The reports below an output, the oldest first."""
    scheme, path = store.split(f"{output}/evaluations")
    names = sorted(store.filesystem(scheme).glob(f"{path}/*/report.json"))
    return [json.loads(store.read(store.join(scheme, str(name)))) for name in names]


def table(output: str, report: Row, name: str, folder: Path) -> list[Row]:
    copy = folder / f"{name}.parquet"
    copy.write_bytes(store.read(f"{output}/evaluations/{report['evaluation_id']}/{name}.parquet"))
    return pq.read_table(copy).to_pylist()


def usual_texts(demo_run: JobRun) -> dict[str, str]:
    """What the other job heard, by reference."""
    known = {Path(row["uri"]).name: row["text"] for row in demo_run.transcripts if "/held_out/" in row["uri"]}
    lines = [json.loads(line) for line in (DEMO / "held_out/manifest.jsonl").read_text("utf-8").splitlines()]
    return {line["reference"]: known[line["path"]] for line in lines}


@pytest.mark.slow
def test_fleurs(shared_ray: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    evaluated(SCRIPTED, 2, {}, tmp_path, capfd)


@pytest.mark.slow
def test_fleurs_with_the_real_engine(
    no_ray: None, demo_run: JobRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    evaluated(DEMO_ENGINE, 6, usual_texts(demo_run), tmp_path, capfd)


def evaluated(
    engine: list[str], each: int, usual: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """So many clips of each language; two configurations in the original layout, two in Parquet, in one bucket; one
    utterance has no audio. `usual` are the texts that are to come."""
    clips = {config: held_out(language, each) for config, language in CONFIGS.items()}
    for config in ("en_us", "de_de"):
        fleurs(tmp_path / "corpus", config, clips[config])
    for config in ("es_419", "fr_fr"):
        fleurs_parquet(tmp_path / "corpus", config, clips[config])
    with (tmp_path / "corpus/de_de/test.tsv").open("a", encoding="utf-8") as file:
        file.write("99\tgone.wav\tEins zwei drei.\teins zwei drei\te\t1\tMALE\nbroken line\n")
    root, output = f"s3://test/{tmp_path.name}/corpus", f"s3://test/{tmp_path.name}/out"
    upload(tmp_path / "corpus", root)
    arguments = ["--input", root, "--configs", ",".join(CONFIGS), "--output", output, *engine]
    assert evaluate_fleurs.main(arguments) == 0
    said = capfd.readouterr().err
    (report,) = evaluations(output)
    assert report["problems"] == [
        f"{config}: {each + (config == 'de_de')} utterances, but the published test split has {count}"
        for config, count in (("en_us", 647), ("de_de", 862), ("es_419", 908), ("fr_fr", 676))
    ] + [
        f"de_de/test.tsv line {each + 2}: left out, 1 fields in UTF-8 expected to be 7",
        "de_de/test: no audio for 1 utterances: gone.wav",
    ]
    assert all(problem in said for problem in report["problems"])
    assert report["corpus"]["counts"]["de_de"] == {
        "utterances": each + 1,
        "known": 862,
        "sentences": each // 2 + 1,
        "evaluated": each + 1,
    }
    (failure,) = report["failures"]
    assert failure["utterance_id"] == "fleurs/de_de/test/gone.wav" and failure["failure_code"] == "not_found"

    utterances = table(output, report, "utterances", tmp_path)
    by_marks = [row for row in utterances if row["normalizer"] == "marks"]
    assert len(by_marks) == 4 * each + 1 and len(utterances) == 2 * len(by_marks)
    texts = {clip["text"]: clip for config in clips for clip in clips[config]} | {"eins zwei drei": None}
    assert {row["reference"] for row in by_marks} == set(texts)

    heard = [row for row in by_marks if row["hypothesis"] is not None]
    if usual:  # the very same pipeline as the other job's: the same texts (but for a draw between two words)
        assert sum(row["hypothesis"] != usual[row["reference"]] for row in heard) <= 1

    # The rates are jiwer's.
    normal = BasicTextNormalizer(preserve_marks=True)
    scores = table(output, report, "scores", tmp_path)
    for language in CONFIGS.values():
        own = [row for row in by_marks if row["language"] == language]
        wer = jiwer.wer(
            [normal(row["reference"]).strip() for row in own], [normal(row["hypothesis"] or "").strip() for row in own]
        )
        (line,) = [row for row in scores if row["language"] == language and row["normalizer"] == "marks"]
        assert line["error_rate"] == pytest.approx(wer)
        assert line["low"] <= wer <= line["high"]
        if usual:
            assert wer <= (0.15 if language == "de" else 0.10)
            assert line["language_right"] >= 0.8

    page = store.read(f"{output}/evaluations/{report['evaluation_id']}/report.html").decode()
    assert "gone.wav" in page and re.search(r"<h2>The worst \d+ utterances", page)
    sql = f"select language, error_rate from '{tmp_path}/scores.parquet' where normalizer = 'whisper'"
    assert {row[0] for row in duckdb.connect().execute(sql).fetchall()} == {*CONFIGS.values(), "macro"}

    # Again, beside that: no engine starts, and nothing has changed.
    assert evaluate_fleurs.main([*arguments, "--baseline", report["evaluation_id"]]) == 0
    assert "gone.wav" in capfd.readouterr().err
    again = evaluations(output)[-1]
    assert [line["error_rate"] for line in again["scores"]] == [line["error_rate"] for line in report["scores"]]
    assert {line["difference"] for line in again["comparison"]["lines"]} == {0.0}
    assert len(published(output, "transcripts")) == 4 * each + 1


@pytest.mark.slow
def test_a_regression_sets_the_exit_status(
    shared_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = sorted((DEMO / "held_out").glob("*.ogg"))[:12]
    rows = [{"path": str(clip), "reference": "one two three", "reference_language": "en"} for clip in clips]
    manifest, output = tmp_path / "manifest.jsonl", tmp_path / "out"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"path": str(clips[0])}]))
    arguments = ["--input", str(manifest), "--output", str(output), *SCRIPTED]
    assert evaluate.main([*arguments, "--dry-run"]) == 0
    assert not output.exists()
    assert evaluate.main([*arguments, "--log-format", "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert [line["scores"] for line in lines if line["message"] == "evaluated"] == [
        evaluations(str(output))[0]["scores"]
    ]
    (bad,) = evaluations(str(output))
    assert bad["scores"][0]["error_rate"] >= 1.0
    assert bad["problems"] == [f"1 of 13 recordings are not scored (no reference): {clips[0]}"]

    # A baseline that heard every word.
    place = output / "evaluations" / bad["evaluation_id"]
    good = shutil.copytree(place, tmp_path / "good")
    known = pq.read_table(place / "utterances.parquet")
    right = known.set_column(known.schema.get_field_index("hypothesis"), "hypothesis", known["reference"])
    pq.write_table(right, good / "utterances.parquet")
    assert evaluate.main([*arguments, "--baseline", str(good)]) == 3
    said = capsys.readouterr().err
    assert "nothing to do" in said, "no engine is needed to score again"
    assert "regression: en, macro above the baseline by more than --max-regression 1" in said
    assert evaluate.main([*arguments, "--baseline", str(good), "--max-regression", "10000"]) == 0
    assert evaluate.main([*arguments, "--baseline", bad["evaluation_id"]]) == 0
    assert len(evaluations(str(output))) == 4


@pytest.mark.slow
def test_references_are_those_of_today_and_what_is_left_out_is_named(
    shared_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recordings that were transcribed from a folder, whose references came later, and are mended later still."""
    clips = sorted((DEMO / "held_out").glob("*.ogg"))[:5]
    (tmp_path / "in").mkdir()
    for clip in clips[:3]:
        shutil.copy(clip, tmp_path / "in")
    output = str(tmp_path / "out")
    done = run_job(["--input", str(tmp_path / "in"), *SCRIPTED], output)
    heard = {Path(row["uri"]).name: row["text"] for row in done.transcripts}

    def rate(references: dict[str, str], *arguments: str) -> tuple[float, Row]:
        lines = [{"path": f"in/{name}", "reference": words} for name, words in references.items()]
        (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        asked = ["--input", str(tmp_path / "list.jsonl"), "--output", output, "--normalizers", "none", *arguments]
        assert evaluate.main([*asked, *SCRIPTED]) == 0
        report = evaluations(output)[-1]
        return report["scores"][-1]["error_rate"], report

    # Two that were added since are not reached; one has no reference.
    for clip in clips[3:]:
        shutil.copy(clip, tmp_path / "in")
    names = [clip.name for clip in clips]
    references = {name: heard.get(name, "words") for name in names} | {names[0]: "", names[1]: "a typo"}
    wrong, report = rate(references, "--max-hours", "0.000001")
    assert wrong > 0
    assert [(Path(row["uri"]).name, row["why"]) for row in report["not_scored"]] == [
        (names[0], "no reference"),
        (names[3], "not transcribed"),
        (names[4], "not transcribed"),
    ]
    assert len(table(output, report, "utterances", tmp_path)) + len(report["not_scored"]) == len(names)
    problem = f"2 of 5 recordings are not scored (not transcribed): {tmp_path}/in/{names[3]}"
    assert problem in " ".join(report["problems"])
    assert problem in capsys.readouterr().err

    # The typo is mended: no engine starts, and today's reference is scored.
    right, report = rate({name: heard[name] for name in names[:3]})
    assert (right, report["not_scored"], report["problems"]) == (0.0, [], [])
    assert len(published(output, "transcripts")) == 3


def test_a_row_without_its_values_changes_no_other(shared_ray: None, tmp_path: Path) -> None:
    """Missing values that pandas wrote are NaN, a number among texts."""
    clips = sorted((DEMO / "held_out").glob("*.ogg"))[:3]
    rows: list[Row] = [{"path": str(clip), "reference": "a b", "reference_language": "zh-CN"} for clip in clips]
    rows[1] |= {"reference": float("nan"), "reference_language": float("nan")}
    rows[2] |= {"reference_language": float("nan")}
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = str(tmp_path / "out")
    assert evaluate.main(["--input", str(tmp_path / "list.jsonl"), "--output", output, *SCRIPTED]) == 0
    report = evaluations(output)[-1]
    assert [row["why"] for row in report["not_scored"]] == ["no reference"]
    scored = table(output, report, "utterances", tmp_path)
    assert ("zh", "cer") in {(row["language"], row["metric"]) for row in scored}
    assert len(scored) == 4, "two recordings by two normalisers"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reference", "words"], "no column words with references; it has reference"),
        (["--dataset", "fleurs"], "--configs is missing"),
        (["--configs", "en_us"], "--configs is for a corpus"),
        (["--declare-language"], "--declare-language is for a corpus"),
        (["--baseline", "never"], "--baseline never: .*evaluations/never is no evaluation"),
        (["--dataset", "fleurs", "--configs", "ar_eg"], "no FLEURS configuration ar_eg"),
        (["--dataset", "fleurs", "--configs", "xx_xx"], "--language.expected has no xx"),
        (["--normalizers", "upper"], "--normalizers"),
        (["--models", "a,b"], "--engine.model is for one model: leave it out with --models"),
        (["--models", "a"], "--models a: name two models or more"),
        (["--models", ""], "--models : name two models or more"),
        (["--models", "a,b", "--models", "a"], "--models names a twice"),
    ],
)
def test_what_is_impossible_is_said_before_anything_starts(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleurs(tmp_path / "corpus", "xx_xx", held_out("en", 1))
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps({"path": str(DEMO / "held_out/en-00.ogg"), "reference": "a"}))
    source = str(tmp_path / "corpus") if "--dataset" in arguments else str(path)
    status = evaluate.main(["--input", source, "--output", str(tmp_path / "out"), *SCRIPTED, *arguments])
    assert status == 2
    assert re.search(words, " ".join(capsys.readouterr().err.split()))
    assert not (tmp_path / "out/runs").exists()


INDEPENDENT = """
import json, subprocess, sys
import jiwer, numpy as np
from vllm import LLM, SamplingParams
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

if __name__ == "__main__":
    rows = [json.loads(line) for line in open(sys.argv[1])]
    command = "ffmpeg -v error -i {} -f f32le -ac 1 -ar 16000 -".split()
    audio = lambda path: np.frombuffer(subprocess.check_output([path if x == "{}" else x for x in command]), "<f4")
    llm = LLM(sys.argv[2], dtype="float32", max_model_len=448, enforce_eager=True, kv_cache_memory_bytes=1 << 30)
    start = "<|startoftranscript|><|{}|><|transcribe|><|notimestamps|>"
    prompts = [
        {
            "encoder_prompt": {"prompt": "", "multi_modal_data": {"audio": (audio(row["path"]), 16000)}},
            "decoder_prompt": start.format(row["language"]),
        }
        for row in rows
    ]
    answers = [x.outputs[0].text for x in llm.generate(prompts, SamplingParams(temperature=0, max_tokens=400))]
    normal = {"en": EnglishTextNormalizer()}
    pairs = [
        [normal.get(row["language"], BasicTextNormalizer())(text).strip() for text in (row["reference"], answer)]
        for row, answer in zip(rows, answers)
    ]
    found = jiwer.process_words([said for said, _ in pairs], [heard for _, heard in pairs])
    print("errors", found.substitutions + found.deletions + found.insertions)
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_real_speech_beside_a_script_that_gives_whole_clips_to_vllm(tmp_path: Path) -> None:
    """Whisper base on FLEURS clips, their language declared. The job drops the silence around speech, so single words
    differ; all in all neither is better."""
    rows = [json.loads(line) for line in (REAL / "manifest.jsonl").read_text("utf-8").splitlines()]
    rows = [row | {"path": str((REAL / row["path"]).resolve())} for row in rows if row["path"].startswith("fleurs/")]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "independent.py").write_text(INDEPENDENT)
    command = [sys.executable, str(tmp_path / "independent.py"), str(manifest), WHISPER]
    said = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"TORCH_COMPILE_DISABLE": "1"}
    )
    (errors,) = re.findall(r"^errors (\d+)$", said.stdout, re.M)
    output = str(tmp_path / "out")
    arguments = ["--input", str(manifest), "--output", output, "--engine.model", WHISPER, "--engine.device", "cpu"]
    assert evaluate.main(arguments) == 0
    (report,) = evaluations(output)
    (macro,) = [x for x in report["scores"] if x["language"] == "macro" and x["normalizer"] == "whisper"]
    ours = macro["substitutions"] + macro["deletions"] + macro["insertions"]
    print(f"\nof {macro['tokens']} words the job has {ours} wrong, the script {errors}")
    assert abs(ours - int(errors)) <= 3
