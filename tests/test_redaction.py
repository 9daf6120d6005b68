from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import transcribe
from pipeline.redaction import is_signed, redacted
from tests.conftest import CANARY, SCRIPTED, published, told

HOLDING = [
    f"https://user:{CANARY}@host/x.wav",
    f"https://{CANARY}@host/x.wav",
    f"s3://AKIAEXAMPLE:{CANARY}@bucket/x.wav",
    f"s3://AKIAEXAMPLE:ab/{CANARY}@bucket/x.wav",
    f"https://host/x.wav?a=1&X-Amz-Credential={CANARY}%2F20261126&X-Amz-Signature={CANARY}",
    f"s3://bucket/x.wav?AWSAccessKeyId={CANARY}&Signature={CANARY}",
    f"https://host/x.wav?sv=2024&sig={CANARY}",
    f"https://host/x.wav?token={CANARY}",
    f"https://host/x.wav?key={CANARY}",
    f"api_key='{CANARY}', n=3",
    f'model_loader_extra_config={{"s3_secret_access_key": "{CANARY}"}}',
]
PLAIN = [
    "s3://bucket/calls/a@b.wav: it does not exist",
    "http://host:8000/v1/a@b",
    "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/a@b.wav",
    "--engine.max-tokens-per-s=16, max_num_batched_tokens=8192, token: 3",
    "https://host/x.wav?part=3&monkey=4",
    "no AWS credentials found (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role)",
]


@pytest.mark.parametrize("text", HOLDING)
def test_secrets_are_masked_and_nothing_else(text: str) -> None:
    masked = redacted(f"--input {text}: access denied")
    assert CANARY not in masked and "***" in masked
    assert masked.startswith("--input ") and masked.endswith(": access denied")
    assert redacted({"said": [text, 3, None]})["said"][1:] == [3, None]
    assert CANARY not in str(redacted({"said": [{"it": (text,)}]}))


@pytest.mark.parametrize("text", PLAIN)
def test_texts_without_secrets_stay_as_they_are(text: str) -> None:
    assert redacted(text) == text
    assert not is_signed(text)


@given(st.text(alphabet="ab:/@?&=*. \"'", max_size=40) | st.sampled_from(HOLDING + PLAIN))
def test_what_is_redacted_stays_so(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


def leaky_flags(folder: Path) -> list[list[str]]:
    usual = ["--input", str(folder / "in"), "--output", str(folder / "out"), *SCRIPTED]
    return [
        *([*usual, "--input", uri] for uri in HOLDING[:8]),
        *([*usual, "--output", uri] for uri in HOLDING[:8]),
        *([*usual, "--input", str(folder / "in.jsonl"), "--allow", uri] for uri in HOLDING[:4]),
        *([*usual, "--words", "--alignment.model", uri] for uri in HOLDING[:6]),
        *([*usual, "--engine.family", "auto", "--engine.model", uri] for uri in HOLDING[:6]),
        *([*usual[:4], "--engine.server", uri] for uri in HOLDING[:8]),
        *([*usual, "--limit", uri] for uri in HOLDING[:4]),
        [*usual, HOLDING[0]],
        [*usual, "--engine.vllm", f"hf_token={CANARY}"],
    ]


def test_no_message_repeats_a_secret_of_a_setting(
    speech_wav: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    speech_wav()
    (tmp_path / "in.jsonl").write_text('{"path": "in/speech.wav"}\n')
    for number, flags in enumerate(leaky_flags(tmp_path)):
        form = ("text", "json")[number % 2]
        assert transcribe.main([*flags, "--log-format", form, "--dry-run"]) == 2, flags
        shown = capfd.readouterr()
        assert CANARY not in shown.out + shown.err, flags
        assert "error" in shown.err


def test_nothing_that_a_run_writes_or_says_has_a_secret(
    shared_ray: None, speech_wav: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of those in a manifest's URLs, in a setting, and in the environment (conftest.SECRETS)."""
    speech_wav()
    manifest, out = tmp_path / "in.jsonl", tmp_path / "out"
    names = ["in/speech.wav", *(text for text in HOLDING[:9])]
    manifest.write_text("".join(f"{json.dumps({'uri': name})}\n" for name in names))
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)
    arguments = ["--input", str(manifest), "--output", str(out), *SCRIPTED, "--log-format", "json"]
    arguments += ["--allow", f"{tmp_path},s3://bucket/x?token={CANARY}"]
    assert transcribe.main(arguments) == 0
    rows = published(str(out), "transcripts")
    assert sorted(row["outcome"] for row in rows) == ["failed"] * 9 + ["ok"]
    assert all("***" in row["failure_detail"] for row in rows if row["outcome"] == "failed")
    (started,), (report,) = out.glob("started/*.json"), out.glob("runs/*.json")
    for path in (started, report):
        assert json.loads(path.read_text())["settings"]["allow"][1] == "s3://bucket/x?token=***"
    shown = capfd.readouterr()
    assert not told(tmp_path / "out") and CANARY not in shown.out + shown.err


LONG = [
    ("a", 200_000),
    ("secre", 40_000),
    ("a-token", 30_000),
    ("toke_", 40_000),
    ("secret", 20_000),
    ("://a:b", 20_000),
]


@pytest.mark.parametrize("text", [part * times for part, times in LONG])
def test_long_words_take_no_longer_than_they_are(text: str) -> None:
    """A manifest may hold anything, and what is wrong with its rows is redacted: its square would take an hour."""
    assert redacted(f"{text} password=hunter2").endswith("password=***")
