"""The command line: parse, set up the process, run one command, turn errors into exit codes.

Exit codes: 0 done, 1 the work failed, 2 bad input (one message, before torch is imported),
130 interrupted, 143 ended by SIGTERM after a step of training, whose checkpoint was written.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lemon import __version__
from lemon.commands import bundles, measures, models, overview, preparation, results
from lemon.errors import LemonError
from lemon.files.storage import storage_error
from lemon.redaction import without_secrets

DESCRIPTION = "Smaller language models from larger ones by linear parameter fusion."
EPILOGUE = """\
the usual order is that of `make table3`:
  fetch -> prepare source, text, tasks -> build | learn -> fuse -> evaluate -> table -> track
`lemon COMMAND --help` shows an example of each.
"""
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="lemon",
        description=DESCRIPTION,
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"lemon {__version__}")
    root.add_argument(
        "--config",
        type=Path,
        default=Path("config"),
        metavar="DIR",
        help="folder with presets, runs.tsv, paper.yaml and assets.yaml (default: config)",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (preparation, models, measures, results, bundles, overview):
        group.add(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    _forbid_calls_home(arguments)
    # Sleeping threads cost little on an idle machine; spinning ones on a busy machine occupy the
    # cores that other threads wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        arguments.run_command(arguments)
    except LemonError as error:
        print(f"lemon: {_where()}error: {without_secrets(str(error))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        told = storage_error(error, Path(error.filename or "."))
        print(f"lemon: error: {without_secrets(str(told))}", file=sys.stderr)
        return told.exit_code
    except MemoryError:
        print("lemon: error: the memory of this machine is full; close what else runs, or take a "
              "machine with more", file=sys.stderr)  # fmt: skip
        return 1
    except KeyboardInterrupt:
        print("lemon: interrupted; run the same command to continue", file=sys.stderr)
        return 130
    return 0


def _where() -> str:
    """Which of several processes that train together speaks, where it is not the first."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"process {rank}: "


def _forbid_calls_home(arguments: argparse.Namespace) -> None:
    """Keep Hugging Face libraries offline, except in commands that download from the Hub."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    source = getattr(arguments, "source", None)
    reaches_hub = (arguments.command == "fetch" and source is None) or (
        arguments.command == "evaluate" and source == "hub"
    )
    if not reaches_hub:
        os.environ.update(dict.fromkeys(OFFLINE, "1"))


if __name__ == "__main__":
    sys.exit(main())
