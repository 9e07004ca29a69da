"""What tables of sizes are made of: every preset of the folder, and where Table 4 has operators."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lemon.configuration.methods import METHODS
from lemon.configuration.preset import Preset
from lemon.configuration.preset_checks import check_preset
from lemon.configuration.yaml_files import (
    Problem,
    preset_files,
    raise_problems,
    read_yaml,
    validate,
)

if TYPE_CHECKING:
    from lemon.configuration.project import Project

DIMENSION_TABLE = "table4"


def siblings(project: Project) -> list[Project]:
    """Every preset of the config folder, by name, with the runs and tables of this one.

    The preset itself is among them. Of the others only what they say themselves is checked, not
    what the runs ask of them.

    Raises:
        BadInput: one message with every mistake in the other presets.
    """
    problems: list[Problem] = []
    found = {project.preset_name: project}
    for path in preset_files(project.config_dir, problems):
        if path.stem == project.preset_name:
            continue
        file = read_yaml(path, problems)
        preset = validate(file, Preset, problems) if file else None
        if file and preset:
            problems += check_preset(preset, file, project.runs, project.assets)
            found[path.stem] = replace(project, preset_name=path.stem, preset=preset)
    raise_problems(problems)
    return [found[name] for name in sorted(found)]


def dimension_cases(project: Project) -> list[tuple[str, str]]:
    """The (target, radii) at which Table 4 learns dimension operators, in its order.

    Raises:
        BadInput: `paper.yaml` has no such table.
    """
    runs = [project.run(run_id) for run_id in project.table_runs(DIMENSION_TABLE)]
    return list(
        dict.fromkeys(
            (run.target, run.radii)
            for run in runs
            if run.target and run.radii and "operators" in METHODS[run.method].learns
        )
    )
