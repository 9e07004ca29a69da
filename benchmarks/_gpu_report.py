"""The report of the check on a GPU: what was found, beside what, and whether it holds."""

from __future__ import annotations

import platform
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import torch

from lemon.gpus import said_of_gpus
from lemon.provenance import code_state, host, without_private_parts

TRIED = "A try of the check itself on the CPU: **nothing here was measured on a GPU.**"
ABOUT = (
    "Written by `make gpu-check`. A line that fails under *As on the CPU* or *Two processes* fails "
    "the check; the others say how near the GPU is to what the project assumes."
)


@dataclass(frozen=True)
class Line:
    """One figure of the report.

    Attributes:
        what: what was measured.
        found, beside: it, and what it is compared with.
        bound: what is asked of it; empty if nothing is.
        holds: whether that is so.
        decides: whether the check fails if it is not.
    """

    what: str
    found: str
    beside: str
    bound: str = ""
    holds: bool = True
    decides: bool = False


@dataclass(frozen=True)
class Section:
    """Lines under a title, after some words."""

    title: str
    words: str
    lines: Sequence[Line]


def tried(what: str, find: Callable[[], Iterable[Line]], *, decides: bool = False) -> list[Line]:
    """The lines that are found, or one that says why they are not: time on a GPU is rare."""
    try:
        return list(find())
    except Exception as error:  # whatever a device that was never tried does
        traceback.print_exc(file=sys.stderr)
        said = (str(error).strip() or "no message").splitlines()[0].replace("|", "/")[:200]
        found = without_private_parts(f"{type(error).__name__}: {said}")
        return [Line(what, found, "", "runs", holds=False, decides=decides)]


def machine_facts(device: torch.device) -> Mapping[str, str]:
    """What the figures depend on; no name of the machine."""
    here, code = host(), code_state()
    facts = {"device": f"{here['cpu']}, {here['cores']} cores"}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        drivers = said_of_gpus("driver_version")
        facts = {
            "device": f"{card.name}, {card.total_memory / 1e9:.1f} GB",
            "GPUs": str(torch.cuda.device_count()),
            "driver": drivers[0] if drivers else "unknown",
            "CUDA of torch": str(torch.version.cuda),
        }
    changed = ", with uncommitted changes" if code["dirty"] else ""
    return facts | {
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "code": f"{code['commit'] or 'unknown'}{changed}",
        "date": date.today().isoformat(),
    }


def report(device: torch.device, facts: Mapping[str, str], sections: Iterable[Section]) -> str:
    """The report in Markdown."""
    text = ["# On a GPU: as on the CPU, how fast, how much memory", ""]
    text += [ABOUT if device.type == "cuda" else TRIED, "", "| | |", "|---|---|"]
    text += [f"| {name} | {value} |" for name, value in facts.items()]
    for section in sections:
        text += ["", f"## {section.title}", "", section.words]
        if section.lines:
            text += ["", "| | found | beside | asked | |", "|---|---|---|---|---|"]
            text += [_row(line) for line in section.lines]
    return "\n".join(text) + "\n"


def _row(line: Line) -> str:
    verdict = ("passes" if line.holds else "**fails**") if line.bound else ""
    return f"| {line.what} | {line.found} | {line.beside} | {line.bound} | {verdict} |"
