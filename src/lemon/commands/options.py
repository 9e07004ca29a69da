"""Options and checks that several commands share. Everything here is cheap and needs no torch."""

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
Runner = Callable[[argparse.Namespace], None]


def add_command(
    commands: Commands, name: str, run: Runner, summary: str, example: str, epilogue: str = ""
) -> argparse.ArgumentParser:
    """A subcommand with its one-line summary and an example of its use."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}\n{epilogue}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run_command=run)
    return parser


def add_preset(parser: argparse.ArgumentParser) -> None:
    """`--preset`, as every command of the workflow takes it."""
    parser.add_argument(
        "--preset",
        default="laptop",
        metavar="NAME",
        help="name of a file in CONFIG/presets, or a path to one (default: laptop)",
    )


def add_path(
    parser: argparse.ArgumentParser,
    name: str,
    help: str,
    metavar: str = "DIR",
    required: bool = True,
) -> None:
    """An option that takes a path."""
    parser.add_argument(name, required=required, type=Path, metavar=metavar, help=help)


def project_of(arguments: argparse.Namespace, to_fetch: bool = False) -> Project:
    """The checked project that `--preset` and `--config` name; see `load_project`."""
    return load_project(arguments.preset, arguments.config, to_fetch)


def require_model(folder: Path) -> Path:
    """The folder, once its headers are seen to be those of a whole model.

    Raises:
        BadInput: it holds none, or a tensor is missing, misshapen or cut short.
    """
    if not (folder / "config.json").is_file():
        raise BadInput(
            f"{folder}: no Hugging Face model folder (config.json is missing); "
            "`lemon prepare source` makes one"
        )
    Checkpoint(folder)
    return folder


def require_model_with_tokenizer(folder: Path) -> Path:
    """As `require_model`, and every token of the tokenizer has a row of the embedding.

    Raises:
        BadInput: as `require_model`, or the tokenizer is missing or another model's.
    """
    from lemon.data.text.tokenization import require_tokenizer

    require_model(folder)
    if (folder / "tokenizer.json").is_file():
        require_tokenizer(folder)
    return folder


def require_file(path: Path, what: str, made_by: str) -> Path:
    """The path, once it is seen to be a file.

    Raises:
        BadInput: there is no such file; says what it should be and where it comes from.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such {what}; {made_by}")
    return path


def require_packed_text(folder: Path) -> Path:
    """The folder, once it is seen to hold packed text.

    Raises:
        BadInput: its manifest is missing.
    """
    made_by = "`lemon prepare text` writes it"
    require_file(folder / "manifest.json", "manifest of packed text", made_by)
    return folder


def require_output(path: Path, suffix: str, mark: str) -> Path:
    """The path of a file that is to be written, once it is seen to replace none of another kind.

    Args:
        path: the file.
        suffix: that files of this kind have.
        mark: that the beginning of every file of this kind holds.

    Raises:
        BadInput: the name ends otherwise, another file lies there, or the folder may not be
            written.
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
    return require_writable(path)


def require_writable(path: Path) -> Path:
    """The path, once its nearest existing parent is seen to take files.

    Raises:
        BadInput: the parent is a file, or may not be written.
    """
    parent = path.absolute()
    while not parent.exists():
        parent = parent.parent
    if parent.is_file() and parent != path.absolute():
        raise BadInput(f"{path}: {parent} is a file, not a folder; choose another place")
    if not os.access(parent, os.W_OK):
        raise BadInput(
            f"{path}: no permission to write in {parent}; choose another place or change its owner"
        )
    return path
