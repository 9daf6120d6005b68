"""On a host that cannot reach a package registry: check the pieces that bench.gpu_bundle made, join and unpack them.

    python3 bench/gpu_install.py PIECES FOLDER

The standard library alone. Ends with status 1 and says so while a piece is missing or damaged: bring it, and call
again. Then PYTHONPATH=FOLDER has the packages.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

SUMS = "SHA256SUMS"  # in the form of sha256sum: `sha256sum -c SHA256SUMS` checks it, too


def split(archive: Path, folder: Path, piece_bytes: int) -> list[Path]:
    """Write pieces of at most so many bytes and their checksums into a folder."""
    pieces = list[Path]()
    with archive.open("rb") as whole:
        while content := whole.read(piece_bytes):
            pieces.append(folder / f"piece.{len(pieces):02}")
            pieces[-1].write_bytes(content)
    lines = (f"{_digest(piece)}  {piece.name}\n" for piece in pieces)
    (folder / SUMS).write_text("".join(lines), "utf-8")
    return pieces


def wrong(folder: Path) -> list[str]:
    """What is missing or damaged, by name."""
    if not (sums := folder / SUMS).is_file():
        return [SUMS]
    expected = [line.split() for line in sums.read_text("utf-8").splitlines()]
    return [name for digest, name in expected if not (folder / name).is_file() or _digest(folder / name) != digest]


def install(pieces: Path, folder: Path) -> None:
    """Join the pieces and unpack them.

    Raises:
        ValueError: some are missing or damaged.
    """
    if names := wrong(pieces):
        raise ValueError(f"missing or damaged: {', '.join(names)}")
    with tempfile.TemporaryFile() as whole:
        for piece in sorted(pieces.glob("piece.*")):
            with piece.open("rb") as part:
                shutil.copyfileobj(part, whole)
        whole.seek(0)
        with tarfile.open(fileobj=whole, mode="r:xz") as archive:
            archive.extractall(folder, filter="data")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    try:
        install(Path(sys.argv[1]), Path(sys.argv[2]))
    except ValueError as error:
        sys.exit(str(error))
