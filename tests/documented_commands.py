"""The commands that a document shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path


def commands(document: Path) -> Iterator[tuple[str, bool]]:
    """The lines of a document's shell blocks, which are whole commands, and those in sentences."""
    text = document.read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        yield from ((line, True) for line in block.splitlines() if line)
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    for span in re.findall(r"`([^`]+)`", prose):
        if re.match(r"(make|snakemake|lemon) ", span):
            yield " ".join(span.split()), False
