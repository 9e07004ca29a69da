"""`lemon fetch` and `lemon prepare`: the inputs of all runs."""

from __future__ import annotations

import argparse
from functools import partial

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
from lemon.configuration.given_models import default_cache
from lemon.errors import BadInput
from lemon.files.ownership import owner_of_prepared, require_replaceable


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    parser = add_command(
        commands,
        _fetch,
        "download the assets of a preset, the only step that touches a network",
        "lemon fetch --preset laptop --out data/laptop/assets.lock.json",
        "  lemon fetch --preset gpu --mirror DIR\n"
        "  lemon fetch --preset gpu --source DIR --out data/gpu/assets.lock.json\n\n"
        "The last two copy the assets to a machine without a network. The first of them runs "
        "where there is one.",
    )
    add_preset(parser)
    optional = partial(add_path, parser, required=False)
    optional("--out", "lock file with the hash of everything fetched", "FILE")
    optional("--mirror", "write model, text and task rows to a folder for another machine instead")
    optional("--source", "take everything from such a folder; no network is touched")
    words = "where downloads are kept for all presets (default: $LEMON_CACHE or ~/.cache/lemon)"
    optional("--cache", words)
    prepare = commands.add_parser(
        "prepare", help="turn fetched assets into model, text and benchmark rows"
    )
    steps = prepare.add_subparsers(required=True, metavar="STEP")
    for step, summary in (
        ("source", "write the source model as a Hugging Face folder"),
        ("second-size", "the same for a second size, where the preset has one"),
        ("text", "tokenise and pack the text, training and held-out"),
        ("tasks", "write the benchmark rows in the layout of the Hub"),
    ):
        source = " --source data/laptop/source" if step == "text" else ""
        preset = "gpu" if step == "second-size" else "laptop"
        example = (
            f"lemon prepare {step} --preset {preset} --assets data/{preset}/assets.lock.json"
            f"{source} --out data/{preset}/{step}"
        )
        parser = add_command(steps, _prepare, summary, example, name=step)
        parser.set_defaults(step=step)
        add_preset(parser)
        add_path(parser, "--assets", "lock file that `lemon fetch` wrote", "FILE")
        if step == "text":
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
    evaluation = project.preset.evaluation
    tasks = () if evaluation.prepares_rows else evaluation.tasks
    cache = arguments.cache or default_cache()
    if mirror is not None:
        from lemon.data.mirror.make import make_mirror

        make_mirror(project.assets, needed, tasks, mirror)
    elif source is not None:
        from lemon.data.mirror.use import fetch_from_mirror

        fetch_from_mirror(project.assets, needed, tasks, source, out, cache)
    else:
        from lemon.data.fetch.assets import fetch

        fetch(project.assets, needed, out, cache)


def _prepare(arguments: argparse.Namespace) -> None:
    """Make one of the inputs, after checks of what is read and of the folder to write."""
    project, step = project_of(arguments), arguments.step
    preset, model, owner = project.preset, None, owner_of_prepared(step, project.preset_name)
    if step == "source":
        model = preset.source
    elif step == "second-size":
        model = preset.second_size
        if model is None:
            raise BadInput(
                f"preset {project.preset_name} has no second size; describe one in second_size"
            )
        owner = owner_of_prepared("source", f"{project.preset_name}, second size")
    require_file(arguments.assets, "lock file", "`lemon fetch` writes it")
    require_writable(arguments.out)
    require_replaceable(arguments.out, owner)
    if step == "text":
        require_model_with_tokenizer(arguments.source)
    from lemon.data.fetch.assets import read_lock

    shared = {
        "lock": read_lock(arguments.assets),
        "cache": default_cache(),
        "out": arguments.out,
        "owner": owner,
    }
    if model is not None:
        from lemon.data.source_model import prepare_source

        prepare_source(model, seed=preset.seed, **shared)
    elif step == "text":
        from lemon.data.text.domains import prepare_text

        prepare_text(preset.text, source=arguments.source, seed=preset.seed, **shared)
    else:
        from lemon.data.benchmarks.prepare import prepare_tasks

        prepare_tasks(preset, **shared)
