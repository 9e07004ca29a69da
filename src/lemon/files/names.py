"""Rules for names, and for paths that the workflow passes on.

Names become folders, files, Snakemake wildcards and words of a shell command, and must not be
interpreted in any of them.
"""

from __future__ import annotations

import re

LONGEST_NAME = 64
NAME = rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}$"
LINE = r"^[^$]*$"  # text in figures, where $...$ would be read as a formula

# Snakemake puts paths into quoted shell words, format strings and Python strings. Quotes, $ and
# backquotes end or expand those; braces and backslashes have a meaning in format strings.
UNSAFE = "'\"`$\\{}"


def name_fault(name: str) -> str | None:
    """Why a text is not a legal name, and how to fix it; None if it is legal."""
    if re.fullmatch(NAME, name):
        return None
    return (
        f"{shown(name)} is no name; take letters, digits and . _ - alone, a letter or digit first, "
        f"at most {LONGEST_NAME} in all"
    )


def path_fault(path: str) -> str | None:
    """Why a text is not a legal path, and how to fix it; None if it is legal."""
    if not path:
        return "is empty; name a file or folder"
    if path.startswith("-"):
        return f"{shown(path)} begins with -, like an option; write ./{path[:40]}"
    bad = next((c for c in path if c in UNSAFE or not c.isprintable()), None)
    if bad is not None:
        return (
            f"{shown(path)} holds {shown(bad)}, which shells or Snakemake read as more than a "
            "character; rename that file or folder"
        )
    return None


def shown(value: object, longest: int = 60) -> str:
    """A value for a message: escaped, in quotes if it is text, and cut to `longest`."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."
