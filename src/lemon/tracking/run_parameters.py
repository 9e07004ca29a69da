"""The settings behind a run as a tracker wants them: flat, and as texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lemon.configuration.project import Project
from lemon.provenance import without_private_parts


def run_parameters(project: Project, run_id: str, suites: tuple[str, ...]) -> dict[str, str]:
    """The settings that decide a run, flat; what its method doesn't use is left out."""
    run, preset = project.run(run_id), project.preset
    settings: dict[str, Any] = run.row.model_dump(mode="json", exclude={"id"})
    settings |= {
        "steps": project.steps(run_id),
        "source_model": preset.source.label,
        "layers": project.target_shape(run_id).num_hidden_layers,
        "dtype": preset.compute.dtype,
        "evaluation": _evaluation(project, suites),
    }
    if run.row.radii:
        settings["receptive_fields"] = vars(project.radii(run_id))
    if run.method.learned:
        settings["learning"] = project.learning(run_id).model_dump(mode="json")
        settings["text"] = {
            "sequence_length": preset.text.sequence_length,
            "domains": list(preset.text.domains),
        }
    return texts(dict(_flat(settings)))


def _evaluation(project: Project, names: tuple[str, ...]) -> dict[str, Any]:
    """The settings of the suites that a table shows."""
    settings = project.preset.evaluation.model_dump(
        mode="json", exclude={"tasks", "limit", "limits", "dense"}
    )
    chosen = [project.suite(name) for name in names]
    return {
        **settings,
        "tasks": [task for suite in chosen for task in suite.tasks],
        "limit": chosen[0].limit,
        "limits": {task: rows for suite in chosen for task, rows in suite.limits.items()},
    }


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ", ".join(value) if isinstance(value, list) else value


def texts(values: dict[str, Any]) -> dict[str, str]:
    """As texts, without the empty ones, and free of private paths."""
    kept = {name: str(value) for name, value in values.items() if value is not None}
    return {name: str(text) for name, text in without_private_parts(kept).items()}
