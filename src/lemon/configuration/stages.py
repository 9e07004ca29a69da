"""The settings that determine the output of each stage of the workflow.

Snakemake reruns a rule when its `params` change. They are exactly these fields, so a changed
comment, order of keys or file time reruns nothing, and a changed learning rate reruns its run.
"""

from __future__ import annotations

from typing import Any

from lemon.configuration.entry_fields import figure_fields, table_fields
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.preset import SourceSettings
from lemon.configuration.project import Project, canonical_json
from lemon.configuration.tasks import ABLATION, TASKS

# Raise a stage's number by hand when a change of its code changes its output.
RULE_VERSIONS: dict[str, int] = {
    "fetch": 1,
    "source": 1,
    "second_size": 1,
    "text": 2,
    "tasks": 1,
    "build": 1,
    "learn": 2,
    "pretrain": 1,
    "trial": 1,
    "fuse": 1,
    "evaluate": 3,
    "cka": 1,
    "match": 1,
    "time": 1,
    "table": 12,
    "figure_numbers": 5,
    "figure": 7,
    "claims": 1,
    "report": 2,
    "track": 8,
    "unpack": 1,
}
# Version of `learn` for runs that train weights; raising it reruns only these.
WEIGHTS_VERSION = 2
# The same for runs over widths that a teacher teaches.
WIDTHS_VERSION = 2


def stage_params(
    project: Project, stage: str, key: str | None = None, suite: str | None = None
) -> str:
    """The `params` of a stage's Snakemake rule, as canonical JSON: its fields and rule version.

    `key` is the run id for stages of a run, the name in paper.yaml for tables and figures,
    RATES/NUMBER for a trial; `suite` is of an evaluation, by default the ablation suite.
    """
    fields = _fields(project, stage, key or "", suite or ABLATION)
    return canonical_json({"rule_version": RULE_VERSIONS[stage], **fields})


def _fields(project: Project, stage: str, key: str, suite: str) -> dict[str, Any]:
    """The fields that determine a stage's output; none where its input files alone do."""
    preset = project.preset
    match stage:
        case "fetch":
            return {"assets": {name: _asset(project, name) for name in project.needed_assets()}}
        case "source":
            return _given_model(project, preset.source)
        case "second_size" if preset.second_size is not None:
            return _given_model(project, preset.second_size)
        case "text":
            return {**_text(project), "tokenizer": _given_model(project, preset.source)}
        case "tasks":
            return _tasks(project)
        case "build":
            return _chosen(project, project.run(key))
        case "learn":
            return _learned(project, project.run(key))
        case "pretrain":
            return _pretrained(project, project.run(key))
        case "trial":
            return _trial(project, *key.split("/"))
        case "fuse":
            return {"target_shape": project.run(key).target_shape.sizes()}
        case "evaluate":
            return _evaluate(project, suite)
        case "time":
            return _timed(project)
        case "table" | "track":
            return table_fields(project, key)
        case "figure_numbers" | "figure":
            return figure_fields(project, key)
        case "claims" | "report":
            return {"entries": list(project.tables), "preset": project.preset_name}
    return {}


def _asset(project: Project, name: str | None) -> dict[str, Any] | None:
    """The fields that determine an asset's bytes."""
    if name is None:
        return None
    return project.assets[name].model_dump(mode="json", exclude={"licence", "what", "megabytes"})


def _given_model(project: Project, model: SourceSettings) -> dict[str, Any]:
    fields = model.model_dump(mode="json", exclude={"label", "asset"})
    if model.kind == "random":
        fields["seed"] = project.preset.seed
    return {**fields, "asset": _asset(project, model.asset)}


def _text(project: Project) -> dict[str, Any]:
    text = project.preset.text.model_dump(mode="json")
    for domain in text["domains"].values():
        domain["asset"] = _asset(project, domain["asset"])
    return {**text, "seed": project.preset.seed}


def _compute(project: Project) -> dict[str, Any]:
    """Device and format; with other devices, or more of them, results differ by rounding alone."""
    return project.preset.compute.model_dump(mode="json", include={"device", "dtype"})


def _tasks(project: Project) -> dict[str, Any]:
    evaluation = project.preset.evaluation
    fields = {"tasks": list(evaluation.tasks), "source": _rows_source(project)}
    if evaluation.source == "generated":
        return {**fields, "seed": project.preset.seed}
    if evaluation.source == "packaged":
        assets = {task: _asset(project, TASKS[task].asset) for task in evaluation.tasks}
        return {**fields, "tasks": assets}
    return fields


def _rows_source(project: Project) -> str:
    """`evaluation.source`; prepared rows have one name, whether packaged or generated."""
    evaluation = project.preset.evaluation
    return "packaged" if evaluation.prepares_rows else evaluation.source


def _made(project: Project, run: PlannedRun) -> dict[str, Any]:
    """The fields that determine a run's operators, or its weights after pre-training."""
    by_stage = {"build": _chosen, "learn": _learned, "pretrain": _pretrained}
    return by_stage[run.method.stage](project, run)


def _chosen(project: Project, run: PlannedRun) -> dict[str, Any]:
    """The fields that determine a run's operators before learning, with its source and start."""
    fields: dict[str, Any] = {
        "run": run.row.model_dump(mode="json", exclude={"id", "steps", "rates"}),
        "target_shape": run.target_shape.sizes(),
        "source": _given_model(project, project.preset.source),
    }
    fusion = project.preset.fusion
    if run.tied_ffn_layers > 1:
        fields["tied_ffn_layers"] = run.tied_ffn_layers
    if run.method.chooses:
        fields["tune_sequences"] = run.learning.tune_sequences
        if run.calibration.window_stride > 1:  # 1 was not a setting at first
            fields["window_stride"] = run.calibration.window_stride
    if run.method.calibrates:
        fields |= {
            "calibration": run.calibration.model_dump(mode="json", exclude={"window_stride"}),
            "compute": _compute(project),
            "text": _text(project),
        }
    if run.start is not None:
        fields["start"] = _made(project, run.start)
    if run.row.radii is not None:
        fields |= {"radii": vars(run.radii), "rotary_halves": fusion.rotary_halves}
    if run.first_stage is not None:
        fields["first_stage"] = _made(project, run.first_stage)
        choice = run.method.teaches and not run.method.matches_states  # else there is one teacher
        if choice and run.first_stage.method.fuses:
            fields["stage_teacher"] = fusion.stage_teacher
    return fields


def _learned(project: Project, run: PlannedRun) -> dict[str, Any]:
    """As `_chosen`, with the learning settings that the method uses."""
    method = run.method
    unused = {"checkpoint_every"}
    if not method.trains_weights:
        unused.add("weight_rate")
    if run.changes_widths or not method.learns_operators:
        unused |= {"layer_rate", "norm_rate"}
    if method.prunes or not (run.changes_widths and method.learns_operators):
        unused.add("dimension_rate")
    if method.prunes:
        unused |= {"lm_weight", "recompute", "layers_per_segment"}
    if method.matches_states:
        unused.add("lm_weight")
    fields = _chosen(project, run) | {
        "steps": run.steps,
        "learning": run.learning.model_dump(mode="json", exclude=unused),
        "compute": _compute(project),
        "text": _text(project),
    }
    if method.trains_weights:
        fields["weights_version"] = WEIGHTS_VERSION
    if run.changes_widths and method.teaches:
        fields["widths_version"] = WIDTHS_VERSION
    if method.prunes:
        fields["pruning"] = run.pruning.model_dump(mode="json")
    return fields


def _pretrained(project: Project, run: PlannedRun) -> dict[str, Any]:
    """The fields that determine the weights of a run after pre-training."""
    return _chosen(project, run) | {
        "steps": run.steps,
        "pretraining": run.pretraining.model_dump(
            mode="json", exclude={"checkpoint_every", "recompute", "snapshots"}
        ),
        "snapshots": list(run.snapshots.values()),
        "compute": _compute(project),
        "text": _text(project),
    }


def _timed(project: Project) -> dict[str, Any]:
    return {
        "shapes": [shape.sizes() for shape in project.timed_shapes()],
        "prompt": project.preset.text.sequence_length,
        "compute": _compute(project),
    }


def _trial(project: Project, rates: str, number: str) -> dict[str, Any]:
    trial = project.trials_of(rates)[int(number) - 1]
    tried = project.trying(trial)
    run = tried.run(trial.run)
    return {**_made(tried, run), f"{run.method.stage}_version": RULE_VERSIONS[run.method.stage]}


def _evaluate(project: Project, name: str) -> dict[str, Any]:
    """The fields of one suite, the same for every run."""
    preset, suite = project.preset, project.suite(name)
    fields: dict[str, Any] = {
        "tasks": {task: [TASKS[task].shots, suite.limit_of(task)] for task in suite.tasks},
        "source": _rows_source(project),
        "batch_size": preset.evaluation.batch_size,
        "compute": _compute(project),
    }
    if suite.has_fewshot:
        fields["fewshot"] = preset.evaluation.fewshot
    if suite.has_heldout:
        fields["heldout"] = {
            "sequence_length": preset.text.sequence_length,
            "sequences": preset.text.heldout_sequences,
            "domains": sorted(preset.text.domains),
        }
    return fields
