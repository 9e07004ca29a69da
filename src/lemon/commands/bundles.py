"""`lemon bundle`, `unpack` and `compare`: finished runs as one file, without weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemon.bundles.taken import SCOPES, seeds_from
from lemon.commands.options import (
    Commands,
    add_command,
    add_path,
    add_preset,
    project_of,
    require_writable,
)
from lemon.errors import WorkFailed


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    bundle = add_command(
        commands,
        _bundle,
        "pack the finished runs of a preset into one file, without weights",
        "lemon bundle --preset laptop --out results/laptop/runs.bundle",
        "\nSelections, layer operators, losses, outcomes, maps and manifests are packed. The same "
        "runs give the same bytes. Without --seeds an earlier bundle in its place says how many.",
    )
    add_preset(bundle)
    add_path(bundle, "--out", "file to write", "FILE")
    unpack = add_command(
        commands,
        _unpack,
        "lay the runs of a bundle into runs/ and data/; what lies there is never replaced",
        "lemon unpack --preset laptop --bundle results/laptop/runs.bundle --take bundle",
        "\n`make table3 FROM=bundle` does this and renders the table.",
    )
    add_preset(unpack)
    add_path(unpack, "--bundle", "file that `lemon bundle` wrote", "FILE")
    words = (
        "bundle: everything, to render tables from; operators: to fuse and score models anew; "
        "rest: to make what the bundle lacks (default: bundle)"
    )
    unpack.add_argument("--take", choices=SCOPES, default="bundle", help=words)
    words = "table or figure that is then made (default: any)"
    unpack.add_argument("--for", dest="entry", metavar="NAME", help=words)
    compare = add_command(
        commands,
        _compare,
        "hold scores made anew against those of a bundle; fail where they differ",
        "lemon compare --preset laptop --bundle results/laptop/runs.bundle --folder checks",
        "\n`make check-results` fuses and scores two rows of Table 3 in checks/, and does this.",
    )
    add_preset(compare)
    add_path(compare, "--bundle", "file that `lemon bundle` wrote", "FILE")
    words = "the folder with runs/ and data/ (default: here)"
    for parser in (bundle, unpack, compare):
        parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help=words)


def _bundle(arguments: argparse.Namespace) -> None:
    project, out = project_of(arguments), arguments.out
    require_writable(out)
    from lemon.bundles.pack import pack

    seeds = arguments.seeds or (seeds_from(project, str(out)) if out.is_file() else None)
    parts, refused = pack(project, arguments.folder, out, seeds)
    size = out.stat().st_size / 1e6
    print(f"{out}: {len(parts)} parts of finished runs, {size:.2f} MB")
    print(f"tables from it show {seeds or project.preset.seeds} seeds of a learned row at most")
    for name, why in refused.items():
        print(f"not packed: {name} {why}")


def _unpack(arguments: argparse.Namespace) -> None:
    project, entry = project_of(arguments), arguments.entry
    if entry is not None:
        project.entry(entry)
    from lemon.bundles.unpack import unpack

    taken, written = unpack(project, arguments.bundle, arguments.take, arguments.folder, entry)
    print(f"{arguments.bundle}: {len(taken.files)} parts taken, {written} files written")


def _compare(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    from lemon.bundles.compare import compare, in_words

    found = compare(project, arguments.bundle, arguments.folder)
    print("\n\n".join(map(in_words, found)))
    if differing := [one.run for one in found if not one.agrees]:
        raise WorkFailed(
            f"{', '.join(differing)}: scored anew, differs from {arguments.bundle}; see above. "
            "docs/guide/reproduce-a-table.md says what to do"
        )
