"""Files with one bit flipped for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lemon.files import manifest


def places(path: Path, count: int) -> list[int]:
    """Positions in a file: the first sixteen bytes, the last ones, and others evenly between."""
    size = path.stat().st_size
    between = range(0, size, max(1, size // count))
    return sorted({*range(min(16, size)), *between, *range(max(0, size - 16), size)})


@contextmanager
def flipped(path: Path, place: int) -> Iterator[None]:
    """Flip one bit, another one at every place, as long as the block lasts."""
    sound = path.read_bytes()
    damaged = bytearray(sound)
    damaged[place] ^= 1 << place % 8
    path.write_bytes(damaged)
    forget_digests()
    try:
        yield
    finally:
        path.write_bytes(sound)
        forget_digests()


def forget_digests() -> None:
    """A process computes a digest once as long as inode, size and time of a file are the same.

    Here a file changes several times between two ticks of the clock that files are dated by.
    """
    manifest._in_state.cache_clear()
