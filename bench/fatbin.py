"""The GPU code in a compiled extension: keep that of one architecture. The rest becomes zeros, which compress to
nothing, and all addresses in the file stay as they are.

`.nv_fatbin` is a row of containers, each a header (magic, version, header bytes, payload bytes) and entries of one
kernel file: kind (1 PTX, 2 machine code), version, header bytes, payload bytes, ..., architecture at byte 28. CUDA's
driver takes the machine code of its own architecture and compiles PTX where there is none.
"""

from __future__ import annotations

import struct
from pathlib import Path

MAGIC = 0xBA55ED50
PTX, MACHINE_CODE = 1, 2


def keep(path: Path, architecture: int) -> int:
    """Rewrite a file with the machine code of one architecture (90 of compute capability 9.0), and PTX only where that
    is missing; the bytes that became zeros."""
    data, zeroed = bytearray(path.read_bytes()), 0
    at, end = _section(data, b".nv_fatbin")
    while at < end:
        magic, _, header, payload = struct.unpack_from("<IHHQ", data, at)
        if magic != MAGIC:  # containers are aligned to 8 bytes
            at += 8
            continue
        entries, entry, at = list[tuple[int, int, int, int]](), at + header, at + header + payload
        while entry < at:
            kind, _, own, size = struct.unpack_from("<HHIQ", data, entry)
            entries.append((kind, struct.unpack_from("<I", data, entry + 28)[0], entry + own, size))
            entry += own + size
        compiled = any(kind == MACHINE_CODE and of == architecture for kind, of, _, _ in entries)
        for kind, of, start, size in entries:
            if of != architecture if kind == MACHINE_CODE else compiled:
                data[start : start + size] = bytes(size)
                zeroed += size
    path.write_bytes(data)
    return zeroed


def _section(elf: bytearray, wanted: bytes) -> tuple[int, int]:
    """Where a section of a 64-bit ELF file begins and ends; (0, 0) of a file without it."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    each, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, table + each * number) for number in range(count)]
    for name, _, _, _, offset, size, *_ in sections:
        start = sections[names][4] + name
        if elf[start : elf.index(b"\0", start)] == wanted:
            return offset, offset + size
    return 0, 0
