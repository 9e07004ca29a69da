"""The project of this preset, and the checks of a call: what is typed is checked before a shell or a
format reads it, and one call at a time works in a folder.
"""

import difflib
import fcntl
import os
import re
import sys

from lemon.bundles.taken import seeds_from, taken_from
from lemon.configuration.load import load_project
from lemon.configuration.preset_checks import require_rows
from lemon.errors import BadInput, LemonError
from lemon.files.names import path_fault


def stop(error):
    """End with the one message of `error` instead of a traceback."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


def checked(question, *arguments, **options):
    """The answer to a question about the project; a refusal ends with its message."""
    try:
        return question(*arguments, **options)
    except LemonError as error:
        stop(error)


def require_plain(what, text):
    """Stop at a text that a shell or a format would read as more than a name or path."""
    fault = path_fault(str(text))
    if fault:
        stop(BadInput(f"{what} {fault}"))


def given(name, otherwise):
    """A setting as it was typed: read as YAML, some names would be numbers, and others cut."""
    for word in reversed(SETTINGS):
        if word.startswith(f"{name}="):
            return word.partition("=")[2].strip("'")
    return str(config.get(name, otherwise))


# Snakemake writes all of these into commands of its own, for jobs in other processes.
SETTINGS = list(workflow.config_settings.config_args or ())
require_plain("the working folder", os.getcwd())
require_plain("the workflow's folder", workflow.basedir)
for word in SETTINGS:
    # A single quote alone does no harm: Snakemake then takes double ones around the word.
    require_plain("--config:", word.replace("'", ""))
for key in set(config) - {"preset", "seeds", "target", "from", "folder"}:
    stop(
        BadInput(
            f"--config: no setting {key}; it takes preset=NAME, seeds=N, target=NAME, "
            "from=WHAT and folder=DIR"
        )
    )

PRESET = given("preset", "laptop")
PROJECT = checked(load_project, PRESET)
checked(require_rows, PROJECT.preset)
FROM = given("from", "")
# Runs shown of each learned row: as typed, else the bundle's number, else the preset's.
SEEDS = given("seeds", "")
if SEEDS and not re.fullmatch("[1-9][0-9]?", SEEDS):
    stop(BadInput(f"--config: seeds={SEEDS} is no whole number from 1 on"))
SEEDS = int(SEEDS) if SEEDS else checked(seeds_from, PROJECT, FROM)
if SEEDS != PROJECT.preset.seeds:
    PROJECT = checked(load_project, PRESET, seeds=SEEDS)
# What a bundle of finished runs gives, so that no job makes it.
TARGET = given("target", "all")
ENTRY = TARGET if TARGET in PROJECT.tables else None
TAKEN = checked(taken_from, PROJECT, FROM, entry=ENTRY)
# The folder with data/, runs/, results/ and logs/; empty where it is the working folder.
FOLDER = given("folder", "")


def hold_folder():
    """Keep a second invocation out of this folder. Snakemake's own lock outlives a killed process
    and then asks for --unlock; the kernel drops this one by itself.
    """
    lock = os.open(
        ".snakemake/in-use", os.O_CREAT | os.O_WRONLY
    )  # open until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stop(BadInput("another snakemake works in this folder; wait for it or end it"))


def check_target(target):
    """Stop at a mistyped target and name the nearest; `make` hands its own over in the config."""
    known = [rule.name for rule in workflow.rules]
    if target in known or "/" in target:
        return
    near = difflib.get_close_matches(target, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    targets = ", ".join(["all", "everything", *PROJECT.tables])
    stop(BadInput(f"no target {target}; {hint}the targets are {targets}"))


onstart:
    hold_folder()
