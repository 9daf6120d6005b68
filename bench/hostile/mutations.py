"""Mutants of media files: damaged where demuxers look, in headers, lengths and the order of chunks.

`mutant` gives the same bytes for the same files, seed and number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

Mutation = Callable[[bytearray, np.random.Generator], bytearray]
# Values at which counters overflow, signs change and loops never end.
EXTREMES = (0, 1, 2, 7, 8, 15, 16, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HUGE = (1 << 36, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
TAG = re.compile(rb"[A-Za-z0-9 ]{4}")  # the name of a chunk or box
MASTER = re.compile(rb"\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|\xae|\xa3")
MAX_BYTES = 1 << 20
HEAD_BYTES = 4_096


def mutant(files: Mapping[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """A file name and content: one of the files, with one to four mutations."""
    rng = np.random.default_rng((seed, number))
    names = sorted(files)
    name = names[number % len(names)]
    data = bytearray(files[name])
    if rng.random() < 0.1:
        data = _spliced(data, files[names[rng.integers(len(names))]], rng)
    for _ in range(1 + min(3, int(rng.exponential(0.8)))):
        data = MUTATIONS[rng.integers(len(MUTATIONS))](data, rng)[:MAX_BYTES]
    if data[:4] == b"OggS" and rng.random() < 0.7:  # pages with a wrong sum would be skipped
        data = _resealed(data)
    suffix = names[rng.integers(len(names))] if rng.random() < 0.05 else name
    return f"{number:06}-{name.rpartition('.')[0]}.{suffix.rpartition('.')[2]}", bytes(data)


def _at(data: bytearray, rng: np.random.Generator) -> int:
    """A position: in the head mostly, at its beginning more often; a quarter each in the tail or anywhere."""
    size = max(1, len(data))
    where = rng.random()
    if where < 0.5:
        return int(min(size, HEAD_BYTES) ** rng.random()) - 1
    return int(rng.integers(size)) if where < 0.75 else size - int(min(size, HEAD_BYTES) ** rng.random())


def _some(data: bytearray, rng: np.random.Generator) -> slice:
    """A stretch of 1 byte to all of it, short ones more often."""
    at = _at(data, rng)
    return slice(at, at + int(max(1, len(data)) ** rng.random()))


def _chunks(data: bytearray) -> list[int]:
    """Where chunks begin, as far as their names tell; in the head and in the tail."""
    far = max(HEAD_BYTES, len(data) - HEAD_BYTES)
    return [match.start() for match in TAG.finditer(data) if match.start() < HEAD_BYTES or match.start() > far]


def _flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(rng.integers(1, 9)):
        if data:
            data[_at(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def _noise(data: bytearray, rng: np.random.Generator) -> bytearray:
    stretch = _some(data, rng)
    data[stretch] = rng.bytes(len(data[stretch]))
    return data


def _extreme(data: bytearray, rng: np.random.Generator) -> bytearray:
    return _write(data, _at(data, rng), rng)


def _length(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Beside the name of a chunk: boxes have their length before it, RIFF and IFF behind it, and fields follow."""
    if rng.random() < 0.2 and (found := [match.end() for match in MASTER.finditer(data[:HEAD_BYTES])]):
        return _write(data, found[rng.integers(len(found))], rng)  # a variable length, of EBML
    chunks = _chunks(data)
    if not chunks:
        return _extreme(data, rng)
    at = chunks[rng.integers(len(chunks))] + (-4, 4, 8, 12, 16, 20, 24)[rng.integers(7)]
    return _write(data, max(0, at), rng)


def _write(data: bytearray, at: int, rng: np.random.Generator) -> bytearray:
    size = (1, 2, 4, 4, 8)[rng.integers(5)]
    value = (*EXTREMES, *HUGE, len(data), len(data) - 1, len(data) + 1)[rng.integers(len(EXTREMES) + len(HUGE) + 3)]
    if rng.random() < 0.2:  # near what is there
        value = int.from_bytes(data[at : at + size], "big") + int(rng.integers(-2, 3))
    order = "big" if rng.random() < 0.5 else "little"
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)[: max(0, len(data) - at)]
    return data


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: _at(data, rng)]


def _delete(data: bytearray, rng: np.random.Generator) -> bytearray:
    del data[_some(data, rng)]
    return data


def _repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    stretch = _some(data, rng)
    data[stretch.start : stretch.start] = data[stretch] * int(100 ** rng.random())
    return data


def _move(data: bytearray, rng: np.random.Generator) -> bytearray:
    stretch = _some(data, rng)
    taken = data[stretch]
    del data[stretch]
    at = _at(data, rng)
    data[at:at] = taken
    return data


def _chunk(data: bytearray, rng: np.random.Generator) -> bytearray:
    """One chunk deleted, doubled, renamed as another, or put elsewhere."""
    chunks = _chunks(data)
    if len(chunks) < 3:
        return _move(data, rng)
    first = int(rng.integers(len(chunks) - 1))
    begin, end = (max(0, chunks[at] - (4 if rng.random() < 0.5 else 0)) for at in (first, first + 1))
    other = chunks[rng.integers(len(chunks))]
    match rng.integers(4):
        case 0:
            del data[begin:end]
        case 1:
            data[begin:begin] = data[begin:end]
        case 2:
            data[chunks[first] : chunks[first] + 4] = data[other : other + 4]
        case _:
            data[other:other] = data[begin:end]
    return data


def _pad(data: bytearray, rng: np.random.Generator) -> bytearray:
    at, size = _at(data, rng), int(HEAD_BYTES ** rng.random())
    data[at:at] = bytes(size) if rng.random() < 0.5 else rng.bytes(size)
    return data


MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _noise,
    _extreme,
    _extreme,
    _length,
    _length,
    _length,
    _cut,
    _delete,
    _repeat,
    _move,
    _chunk,
    _pad,
)


def _spliced(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """Two files in one: one after another, one inside the other, or the head of one with the rest of the other."""
    at, there = _at(data, rng), _at(bytearray(other), rng)
    match rng.integers(3):
        case 0:
            return data + other
        case 1:
            return data[:at] + other + data[at:]
        case _:
            return data[:at] + other[there:]


def _resealed(data: bytearray) -> bytearray:
    """The checksum of every Ogg page made right."""
    starts = [match.start() for match in re.finditer(b"OggS", data)]
    for begin, end in zip(starts, [*starts[1:], len(data)], strict=True):
        if end - begin >= 27:
            data[begin + 22 : begin + 26] = bytes(4)
            data[begin + 22 : begin + 26] = _crc(bytes(data[begin:end])).to_bytes(4, "little")
    return data


def _crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ CRC_TABLE[crc >> 24 ^ byte]
    return crc


def _crc_entry(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


CRC_TABLE = [_crc_entry(byte) for byte in range(256)]
