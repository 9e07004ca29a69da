"""The settings that determine a table or figure, beside the files of its runs (`stages.py`)."""

from __future__ import annotations

from typing import Any

from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.load import siblings
from lemon.configuration.methods import SECOND_SIZE
from lemon.configuration.paper import SizesSpec, TrialsSpec
from lemon.configuration.preset_checks import radii_in_numbers
from lemon.configuration.project import Project, dimension_cases


def table_fields(project: Project, key: str) -> dict[str, Any]:
    """The settings that a table shows or depends on, beside the files of its runs."""
    entry = project.entry(key)
    fields: dict[str, Any] = {"table": entry.model_dump(mode="json")}
    if isinstance(entry, SizesSpec):
        return fields | _sizes(project, entry)
    if isinstance(entry, TrialsSpec):
        return fields | _trials(project)
    runs = [project.run(run) for run in project.table_runs(key)]
    fields |= {
        "source_label": project.preset.source.label,
        "runs": {run.id: run.row.model_dump(mode="json") for run in runs},
    }
    second = project.preset.second_size
    if second is not None and any(run.row.method == SECOND_SIZE for run in runs):
        fields["second_size_label"] = second.label
    return fields


def _sizes(project: Project, entry: SizesSpec) -> dict[str, Any]:
    """Every preset's sizes and radii, and the cases of Table 4, or its settings; no runs."""
    if entry.renderer == "hyper_parameters":
        sections = {"budgets", "learning", "pruning", "pretraining", "rates", "targets"}
        return {
            "runs": [run.row.model_dump(mode="json") for run in project.runs.values()],
            "presets": {
                sibling.preset_name: {
                    **sibling.preset.model_dump(mode="json", include=sections),
                    "sequence_length": sibling.preset.text.sequence_length,
                }
                for sibling in siblings(project)
            },
        }
    return {
        "preset": project.preset_name,
        "dimension_cases": dimension_cases(project),
        "presets": {
            sibling.preset_name: {
                "source_label": sibling.preset.source.label,
                "source": sibling.source_shape().sizes(),
                "targets": {
                    name: sibling.shape_of(name).sizes() for name in sibling.preset.targets
                },
                "radii": {
                    name: vars(radii_in_numbers(settings))
                    for name, settings in sibling.preset.radii.items()
                },
            }
            for sibling in siblings(project)
        },
    }


def _trials(project: Project) -> dict[str, Any]:
    return {
        "trials": {
            name: [[trial.run, trial.rates_in_numbers] for trial in trials]
            for name, trials in project.trials.items()
        },
        "rates": {
            name: values.model_dump(exclude_none=True)
            for name, values in project.preset.rates.items()
        },
    }


def figure_fields(project: Project, key: str) -> dict[str, Any]:
    """As `table_fields`, with what a figure draws of its runs' shapes."""
    fields = table_fields(project, key)
    if not isinstance(project.entry(key), FigureSpec):
        runs = [run for run in map(project.run, project.table_runs(key)) if run.method.needs_target]
        fields["radii"] = {run.id: vars(run.radii) for run in runs}
        fields["fused_shapes"] = {run.id: run.fused_shape.sizes() for run in runs}
        fields["target_shapes"] = {run.id: run.target_shape.sizes() for run in runs}
    return fields
