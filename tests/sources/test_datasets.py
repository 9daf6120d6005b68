from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from demo.s3 import upload
from pipeline import store
from pipeline.errors import ConfigurationError
from pipeline.sources.datasets import CORPORA, Part, Sampling, write_manifest
from tests import corpora
from tests.corpora import Row, fleurs, fleurs_parquet, held_out

FLEURS = CORPORA["fleurs"]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return held_out("en", 5)


def read(root: Path | str, config: str = "en_us", reference: str = "transcription", split: str = "test") -> Part:
    return FLEURS.read(str(root), config, split, reference)


def manifest(part: Part, output: str, **sampling: object) -> tuple[list[Row], list[str]]:
    written = write_manifest("fleurs", [part], output, Sampling(**sampling))  # pyright: ignore[reportArgumentType]
    return [json.loads(line) for line in store.read(written.uri).decode().splitlines()], written.problems


@pytest.mark.parametrize("layout", [fleurs, fleurs_parquet])
def test_fleurs_in_both_layouts(tmp_path: Path, rows: list[Row], layout: object, place: str) -> None:
    layout(tmp_path / "corpus", "en_us", rows)  # pyright: ignore[reportCallIssue]
    lines, problems = manifest(read(tmp_path / "corpus"), place)
    assert not problems
    assert [line["reference"] for line in lines] == [row["text"] for row in rows]
    assert {line["reference_language"] for line in lines} == {"en"}
    assert [line["utterance_id"] for line in lines] == [f"fleurs/en_us/test/{row['file']}" for row in rows]
    assert "language" not in lines[0]
    for line, row in zip(lines, rows, strict=True):
        assert store.read(f"{place}/datasets/fleurs/{line['path']}") == row["data"]
    raw, _ = manifest(read(tmp_path / "corpus", reference="raw_transcription"), place, declare_language=True)
    assert (raw[0]["reference"], raw[0]["language"]) == (rows[0]["raw"], "en")


def test_from_object_storage(tmp_path: Path, rows: list[Row], s3: str) -> None:
    fleurs(tmp_path / "hub/data", "en_us", rows)
    root = f"s3://test/{tmp_path.name}"
    upload(tmp_path / "hub", root)
    lines, problems = manifest(read(root), f"{root}/out")
    assert len(lines) == 5 and not problems


def test_an_unpacked_archive_is_read_where_it_lies(tmp_path: Path, rows: list[Row]) -> None:
    fleurs(tmp_path / "corpus", "en_us", rows)
    folder = tmp_path / "corpus/en_us/audio"
    with tarfile.open(folder / "test.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "test.tar.gz").unlink()
    lines, problems = manifest(read(tmp_path / "corpus"), str(tmp_path / "out"))
    assert not problems
    assert lines[0]["uri"] == str(folder / "test" / rows[0]["file"])
    with pytest.raises(ConfigurationError, match="both be local or both on s3"):
        manifest(read(tmp_path / "corpus"), "s3://test/elsewhere")


def test_samples_are_always_the_same(tmp_path: Path, rows: list[Row]) -> None:
    fleurs(tmp_path / "corpus", "en_us", rows)
    part = read(tmp_path / "corpus")
    ids = [[line["utterance_id"] for line in manifest(part, str(tmp_path / "out"), sample=3)[0]] for _ in range(2)]
    assert ids[0] == ids[1] and len(ids[0]) == 3
    part.utterances.reverse()
    assert [line["utterance_id"] for line in manifest(part, str(tmp_path / "out"), sample=3)[0]] == ids[0]
    one_each, _ = manifest(read(tmp_path / "corpus"), str(tmp_path / "out"), one_per_sentence=True)
    assert [line["sentence"] for line in one_each] == ["0", "1", "2"]
    assert one_each[0]["utterance_id"].endswith(rows[0]["file"])


def test_what_is_wrong_with_a_tsv_is_named(tmp_path: Path, rows: list[Row]) -> None:
    fleurs(tmp_path / "corpus", "en_us", rows)
    table = tmp_path / "corpus/en_us/test.tsv"
    good = table.read_bytes()
    wrong = [
        b"7\tonly\tthree\n",
        b"7\t../../up.wav\traw\ttext\tt\t1\tMALE\n",
        good.splitlines(keepends=True)[0],
        b"8\t99.wav\traw\t \tt\t1\tMALE\n",
        b"9\t98.wav\traw\t\xff\xfe\tt\t1\tMALE\n",
        b"10\t97.wav\traw\tno such clip\tt\t1\tMALE\n",
    ]
    table.write_bytes(good + b"\n" + b"".join(wrong))
    lines, problems = manifest(read(tmp_path / "corpus"), str(tmp_path / "out"))
    assert len(lines) == 6 and lines[-1]["reference"] == "no such clip"
    assert problems == [
        "en_us/test.tsv line 7: left out, 3 fields in UTF-8 expected to be 7",
        "en_us/test.tsv line 8: left out, '../../up.wav' is no file name",
        f"en_us/test.tsv line 9: left out, {rows[0]['file']} came before",
        "en_us/test.tsv line 10: left out, no reference for 99.wav",
        "en_us/test.tsv line 11: left out, 7 fields in UTF-8 expected to be 7",
        "en_us/test: no audio for 1 utterances: 97.wav",
    ]
    assert not list(tmp_path.rglob("up.wav"))


def test_a_damaged_archive_loses_only_what_follows(tmp_path: Path, rows: list[Row]) -> None:
    fleurs(tmp_path / "corpus", "en_us", rows)
    archive = tmp_path / "corpus/en_us/audio/test.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    lines, problems = manifest(read(tmp_path / "corpus"), str(tmp_path / "out"))
    there = list((tmp_path / "out/datasets/fleurs/en_us/test").iterdir())
    assert len(lines) == 5 and 1 <= len(there) < 5
    assert "en_us/audio/test.tar.gz is damaged, what follows is lost" in problems[0]
    assert f"no audio for {5 - len(there)} utterances" in problems[1]
    archive.write_bytes(whole)  # mended: what is missing is unpacked
    assert manifest(read(tmp_path / "corpus"), str(tmp_path / "out"))[1] == []
    assert len(list((tmp_path / "out/datasets/fleurs/en_us/test").iterdir())) == 5


def test_clips_without_a_line_are_named(tmp_path: Path, rows: list[Row]) -> None:
    fleurs(tmp_path / "corpus", "en_us", rows)
    table = tmp_path / "corpus/en_us/test.tsv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:4]))
    _, problems = manifest(read(tmp_path / "corpus"), str(tmp_path / "out"))
    assert problems == [f"en_us/test.tsv has no line for 1 clips: {rows[4]['file']}"]


def test_a_damaged_parquet_file_is_named(tmp_path: Path, rows: list[Row]) -> None:
    fleurs_parquet(tmp_path / "corpus", "en_us", rows[:3])
    folder = tmp_path / "corpus/parquet-data/en_us"
    (folder / "test-00001-of-00002.parquet").write_bytes(b"PAR1 and no more")
    lines, problems = manifest(read(tmp_path / "corpus"), str(tmp_path / "out"))
    assert len(lines) == 3
    assert problems and all("test-00001-of-00002.parquet cannot be read" in problem for problem in problems)
    table = pq.read_table(folder / "test-00000-of-00001.parquet")
    pq.write_table(table.drop_columns(["transcription"]), folder / "test-00000-of-00001.parquet")
    with pytest.raises(ConfigurationError, match="transcription"):
        read(tmp_path / "corpus")


def test_what_is_not_there_is_said(tmp_path: Path, rows: list[Row]) -> None:
    fleurs(tmp_path, "en_us", rows)
    for arguments, words in (
        ((str(tmp_path), "de_de", "test", "transcription"), "no FLEURS configuration de_de"),
        ((str(tmp_path), "en_us", "dev", "transcription"), "with a split dev"),
        ((str(tmp_path), "en_us", "tset", "transcription"), "--split tset: FLEURS has train, dev"),
        ((str(tmp_path), "en_us", "test", "words"), "--reference words: FLEURS has id"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            FLEURS.read(*arguments)
    empty = Part("en_us", "test", "en", [], ["en_us/test.tsv line 1: broken"])
    with pytest.raises(ConfigurationError, match=r"no utterances .*line 1: broken"):
        write_manifest("fleurs", [empty], str(tmp_path / "out"), Sampling())


def test_common_voice(tmp_path: Path, rows: list[Row]) -> None:
    corpora.common_voice(tmp_path, "pt-BR", rows)
    table = tmp_path / "pt-BR/test.tsv"
    table.write_text(table.read_text("utf-8") + "someone\t../x.mp3\tUm.\t1\nsomeone\tshort.mp3\n", "utf-8")
    part = CORPORA["common-voice"].read(str(tmp_path), "pt-BR", "test", "sentence")
    assert part.language == "pt" and [x.reference for x in part.utterances] == [row["raw"] for row in rows]
    assert all(os.path.exists(x.uri or "") for x in part.utterances)
    assert part.problems == [
        "pt-BR/test.tsv line 7: left out, 4 fields of 4, clip '../x.mp3'",
        "pt-BR/test.tsv line 8: left out, 2 fields of 4, clip 'short.mp3'",
    ]
    for config, reference, words in (
        ("de", "sentence", "no Common Voice de/test.tsv"),
        ("pt-BR", "text", "column text"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            CORPORA["common-voice"].read(str(tmp_path), config, "test", reference)


def test_multilingual_librispeech(tmp_path: Path, rows: list[Row]) -> None:
    corpora.mls(tmp_path, "german", rows)
    table = tmp_path / "mls_german/test/transcripts.txt"
    table.write_text(table.read_text() + "../../12\ttext\n")
    part = CORPORA["mls"].read(str(tmp_path), "german", "test", "transcript")
    assert part.language == "de" and [x.reference for x in part.utterances] == [row["text"] for row in rows]
    assert all(os.path.exists(x.uri or "") for x in part.utterances)
    assert part.problems == ["mls_german/test/transcripts.txt line 6: left out, not id and text"]
    for config, words in (("dutch", "no mls_dutch/test"), ("klingon", "MLS has dutch, english")):
        with pytest.raises(ConfigurationError, match=words):
            CORPORA["mls"].read(str(tmp_path), config, "test", "transcript")
