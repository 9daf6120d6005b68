from __future__ import annotations

from email.message import Message
from pathlib import Path
from typing import Any, cast

import pytest

from infra.licences import Pinned, licence, main
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("fields", "said", "wants"),
    [
        ({"License-Expression": ["MPL-2.0 AND MIT"], "License": ["x"]}, "MPL-2.0 AND MIT", "copyleft"),
        ({"License": ["MIT License\n\nCopyright (c) 2022 Somebody\n..."]}, "MIT License", None),
        (
            {"License": ["Copyright (c) Somebody"], "Classifier": ["License :: OSI Approved :: BSD License"]},
            "BSD License",
            None,
        ),
        ({"License": ["UNKNOWN"], "Classifier": ["Topic :: System", "License :: OSI Approved"]}, "", "unknown"),
        ({"License": ["GPLv2"]}, "GPLv2", "copyleft"),
        ({"Classifier": ["License :: Other/Proprietary License"]}, "Other/Proprietary License", "not open"),
    ],
)
def test_a_licence_is_what_the_metadata_say(fields: dict[str, list[str]], said: str, wants: str | None) -> None:
    metadata = Message()
    for name, values in fields.items():
        for value in values:
            metadata[name] = value
    found = licence(cast(Any, metadata))
    assert (found, Pinned("x", "1", found).wants) == (said, wants)


def test_a_lock_is_listed_with_what_wants_a_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("numpy==0.1 \\\n    --hash=sha256:0\nwindows-only==1 ; sys_platform == 'win32'\n")
    main([str(lock), str(ROOT / "requirements/dev.txt")])
    said = capsys.readouterr().out
    assert "pytest" in said and "windows-only" not in said
    assert "copyleft: " in said and "    hypothesis" in said
