"""The parameters of a run in a tracker: the settings that determine it, as flat text."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.provenance import without_private_parts


def run_parameters(project: Project, run: PlannedRun, suites: Collection[str]) -> dict[str, str]:
    """The settings of a run that was scored in these suites, without those that it doesn't use."""
    preset = project.preset
    settings: dict[str, Any] = run.row.model_dump(mode="json", exclude={"id"})
    settings |= {
        "steps": run.steps,
        "source_model": preset.source.label,
        "layers": run.target_shape.num_hidden_layers,
        "dtype": preset.compute.dtype,
    }
    if suites:
        apart = {"tasks", "limit", "limits", "dense"}
        settings["evaluation"] = preset.evaluation.model_dump(mode="json", exclude=apart)
        for suite in map(project.suite, suites):
            rows = {"tasks": list(suite.tasks), "limit": suite.limit, "limits": dict(suite.limits)}
            settings["evaluation"][suite.name] = rows
    if run.row.radii:
        settings["receptive_fields"] = vars(run.radii)
    if run.method.learned:
        section = "pretraining" if run.method.pretrains else "learning"
        settings[section] = run.training.model_dump(mode="json", exclude={"snapshots"})
        settings["text"] = preset.text.model_dump(include={"sequence_length"})
        settings["text"]["domains"] = list(preset.text.domains)
    return texts(dict(_flat(settings)))


def texts(values: dict[str, Any]) -> dict[str, str]:
    """The values as strings, without None and private paths."""
    kept = {name: str(value) for name, value in values.items() if value is not None}
    return {name: str(text) for name, text in without_private_parts(kept).items()}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{name}", text
