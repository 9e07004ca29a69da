"""What may be a name, and what may stand in a path that the workflow hands on.

Names become folders, files, wildcards and words of a shell command; in all of them a name must
stand for itself alone.
"""

from __future__ import annotations

import re

LONGEST_NAME = 64
NAME = rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}$"
LINE = r"^[^$]*$"  # text that figures print: what stands between two $ they read as a formula

# Snakemake hands paths on in quotes to shells, as formats and as Python text: quotes, $ and
# backquotes end or fill such a text, braces and backslashes are read by formats.
UNSAFE = "'\"`$\\{}"


def name_fault(name: str) -> str | None:
    """Why a text is no name, and how to fix it; None where it is one."""
    if re.fullmatch(NAME, name):
        return None
    return (
        f"{shown(name)} is no name; take letters, digits and . _ - alone, a letter or digit first, "
        f"at most {LONGEST_NAME} in all"
    )


def path_fault(path: str) -> str | None:
    """Why a text can't be handed on as a path, and how to fix it; None where it can."""
    if not path:
        return "is empty; name a file or folder"
    if path.startswith("-"):
        return f"{shown(path)} begins with -, like an option; write ./{path[:40]}"
    bad = next((character for character in path if not is_plain(character)), None)
    if bad is not None:
        return (
            f"{shown(path)} holds {shown(bad)}, which shells or Snakemake read as more than a "
            "character; rename that file or folder"
        )
    return None


def is_plain(character: str) -> bool:
    """Whether a character of a path is printed as it is, and read as itself by every shell."""
    return character.isprintable() and character not in UNSAFE


def shown(value: object, longest: int = 60) -> str:
    """A value in a message: escaped, in quotes if it is text, cut where it is long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."
