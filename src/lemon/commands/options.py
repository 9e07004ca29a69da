"""Options and checks shared by several commands; a failed check raises BadInput."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lemon.checkpoint import Checkpoint
from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.errors import BadInput

MARKED_CHARACTERS = 1 << 16
Commands = Any  # what argparse's add_subparsers returns; its type is private


def add_command(
    commands: Commands,
    run: Callable[[argparse.Namespace], None],
    summary: str,
    example: str,
    epilogue: str = "",
    name: str | None = None,
) -> argparse.ArgumentParser:
    """Add a subcommand, named like `run` by default, with a one-line summary and an example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name or run.__name__.strip("_"),
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}\n{epilogue}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run_command=run)
    return parser


def add_preset(parser: argparse.ArgumentParser) -> None:
    """Add the options `--preset` and `--seeds`."""
    words = "name of a file in CONFIG/presets, or a path to one (default: laptop)"
    parser.add_argument("--preset", default="laptop", metavar="NAME", help=words)
    words = "runs of each learned row of a table, one a seed (default: the preset's)"
    parser.add_argument("--seeds", type=int, metavar="N", help=words)


def add_path(
    parser: argparse.ArgumentParser,
    name: str,
    help: str,
    metavar: str = "DIR",
    required: bool = True,
) -> None:
    """Add an option that takes a path."""
    parser.add_argument(name, required=required, type=Path, metavar=metavar, help=help)


def project_of(arguments: argparse.Namespace, to_fetch: bool = False) -> Project:
    """The checked project of `--preset`, `--seeds` and `--config`; see `load_project`."""
    return load_project(arguments.preset, arguments.config, to_fetch, arguments.seeds)


def require_model(folder: Path) -> None:
    """Check by its headers that a folder holds a model, and no tensor is missing or truncated."""
    if not (folder / "config.json").is_file():
        raise BadInput(
            f"{folder}: no Hugging Face model folder (config.json is missing); "
            "`lemon prepare source` makes one"
        )
    Checkpoint(folder)


def require_model_with_tokenizer(folder: Path) -> None:
    """As `require_model`; and every token of a `tokenizer.json` there has its embedding."""
    from lemon.data.text.tokenization import require_tokenizer

    require_model(folder)
    if (folder / "tokenizer.json").is_file():
        require_tokenizer(folder)


def require_file(path: Path, what: str, made_by: str) -> None:
    """Check that a file exists; if not, say what it should be and which command makes it."""
    if not path.is_file():
        raise BadInput(f"{path}: no such {what}; {made_by}")


def require_packed_text(folder: Path) -> None:
    """Check that a folder holds the manifest of packed text."""
    made_by = "`lemon prepare text` writes it"
    require_file(folder / "manifest.json", "manifest of packed text", made_by)


def require_output(path: Path, suffix: str, mark: str) -> None:
    """Check that a file can be written without replacing one of another kind.

    Files of this kind have the `suffix`, and the text `mark` among their first characters.

    Raises:
        BadInput: the suffix differs, the file exists without the mark, or no permission to write.
    """
    if path.suffix != suffix or path.is_dir():
        raise BadInput(f"{path}: the file to write is a {suffix} file; end its name with {suffix}")
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            if mark not in file.read(MARKED_CHARACTERS):
                raise BadInput(
                    f"{path}: holds something else than this command writes; nothing was changed. "
                    "Move it away, or name another file"
                )
    require_writable(path)


def require_writable(path: Path) -> None:
    """Check that the nearest existing parent of a path is a writable folder."""
    parent = path.absolute()
    while not parent.exists():
        parent = parent.parent
    if parent.is_file() and parent != path.absolute():
        raise BadInput(f"{path}: {parent} is a file, not a folder; choose another place")
    if not os.access(parent, os.W_OK):
        raise BadInput(
            f"{path}: no permission to write in {parent}; choose another place or change its owner"
        )
