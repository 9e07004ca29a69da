"""`lemon fetch` and `lemon prepare`: the inputs of all runs."""

from __future__ import annotations

import argparse

from lemon.commands.options import (
    Commands,
    add_command,
    add_path,
    add_preset,
    project_of,
    require_file,
    require_model_with_tokenizer,
    require_output,
    require_writable,
)
from lemon.configuration.preset import SourceSettings
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.ownership import owner_of_prepared, require_replaceable


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    parser = add_command(
        commands,
        "fetch",
        _fetch,
        "download the assets of a preset, the only step that touches a network",
        "lemon fetch --preset laptop --out data/laptop/assets.lock.json",
        "  lemon fetch --preset gpu --mirror DIR\n"
        "  lemon fetch --preset gpu --source DIR --out data/gpu/assets.lock.json\n\n"
        "The last two copy the assets to a machine without a network. The first of them runs "
        "where there is one.",
    )
    add_preset(parser)
    for name, metavar, words in (
        ("--out", "FILE", "lock file with the hash of everything fetched"),
        (
            *("--mirror", "DIR"),
            "write model, text and task rows to a folder for another machine instead",
        ),
        ("--source", "DIR", "take everything from such a folder; no network is touched"),
        (
            *("--cache", "DIR"),
            "where downloads are kept for all presets (default: $LEMON_CACHE or ~/.cache/lemon)",
        ),
    ):
        add_path(parser, name, words, metavar, required=False)
    prepare = commands.add_parser(
        "prepare", help="turn fetched assets into model, text and benchmark rows"
    )
    steps = prepare.add_subparsers(required=True, metavar="STEP")
    for name, run, summary in (
        ("source", _source, "write the source model as a Hugging Face folder"),
        ("second-size", _second_size, "the same for a second size, where the preset has one"),
        ("text", _text, "tokenise and pack the text, training and held-out"),
        ("tasks", _tasks, "write the benchmark rows in the layout of the Hub"),
    ):
        source = " --source data/laptop/source" if name == "text" else ""
        preset = "gpu" if name == "second-size" else "laptop"
        example = (
            f"lemon prepare {name} --preset {preset} --assets data/{preset}/assets.lock.json"
            f"{source} --out data/{preset}/{name}"
        )
        parser = add_command(steps, name, run, summary, example)
        add_preset(parser)
        add_path(parser, "--assets", "lock file that `lemon fetch` wrote", "FILE")
        if name == "text":
            add_path(parser, "--source", "model folder whose tokenizer is used")
        add_path(parser, "--out", "folder to write")


def _fetch(arguments: argparse.Namespace) -> None:
    out, mirror, source = arguments.out, arguments.mirror, arguments.source
    if (out is None) == (mirror is None):
        raise BadInput("give either --out FILE (to fetch for here) or --mirror DIR (to carry away)")
    if mirror is not None and (source is not None or arguments.cache is not None):
        raise BadInput("--mirror takes neither --source nor --cache; leave them out")
    project = project_of(arguments, to_fetch=True)
    require_writable(mirror) if out is None else require_output(out, ".json", '"assets"')
    needed = project.needed_assets()
    # Packaged rows come from an asset; for a random source rows are generated.
    rows, random = project.preset.evaluation.source, project.preset.source.kind == "random"
    tasks = () if rows == "packaged" or random else project.preset.evaluation.tasks
    if mirror is not None:
        from lemon.data.mirror.make import make_mirror

        make_mirror(project.assets, needed, tasks, mirror)
    elif source is not None:
        from lemon.data.mirror.use import fetch_from_mirror

        fetch_from_mirror(project.assets, needed, tasks, source, out, arguments.cache)
    else:
        from lemon.data.fetch.assets import fetch

        fetch(project.assets, needed, out, arguments.cache)


def _source(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    owner = owner_of_prepared("source", project.preset_name)
    _model(arguments, project, project.preset.source, owner)


def _second_size(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    second_size = project.preset.second_size
    if second_size is None:
        raise BadInput(
            f"preset {project.preset_name} has no second size; describe one in second_size"
        )
    owner = owner_of_prepared("source", f"{project.preset_name}, second size")
    _model(arguments, project, second_size, owner)


def _model(
    arguments: argparse.Namespace, project: Project, settings: SourceSettings, owner: str
) -> None:
    _require_inputs(arguments, owner)
    from lemon.configuration.given_models import default_cache
    from lemon.data.fetch.assets import read_lock
    from lemon.data.source_model import prepare_source

    prepare_source(
        settings,
        lock=read_lock(arguments.assets),
        cache=default_cache(),
        out=arguments.out,
        seed=project.preset.seed,
        owner=owner,
    )


def _text(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    owner = owner_of_prepared("text", project.preset_name)
    _require_inputs(arguments, owner)
    require_model_with_tokenizer(arguments.source)
    from lemon.configuration.given_models import default_cache
    from lemon.data.fetch.assets import read_lock
    from lemon.data.text.domains import prepare_text

    prepare_text(
        project.preset.text,
        lock=read_lock(arguments.assets),
        cache=default_cache(),
        source=arguments.source,
        out=arguments.out,
        seed=project.preset.seed,
        owner=owner,
    )


def _tasks(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    owner = owner_of_prepared("tasks", project.preset_name)
    _require_inputs(arguments, owner)
    from lemon.configuration.given_models import default_cache
    from lemon.data.benchmarks.prepare import prepare_tasks
    from lemon.data.fetch.assets import read_lock

    prepare_tasks(
        project.preset,
        lock=read_lock(arguments.assets),
        cache=default_cache(),
        out=arguments.out,
        owner=owner,
    )


def _require_inputs(arguments: argparse.Namespace, owner: str) -> None:
    require_file(arguments.assets, "lock file", "`lemon fetch` writes it")
    require_writable(arguments.out)
    require_replaceable(arguments.out, owner)
