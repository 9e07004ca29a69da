"""What a table will run and cost, before anything starts.

Only matrix products are counted; a step is taken to reach `EFFICIENCY` of the machine's rate, and
jobs to follow one another. So the minutes are an order of magnitude, the counts are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

from lemon.architecture import Axis, LlamaShape, tensor_specs
from lemon.configuration.paper import TableSpec
from lemon.configuration.project import Project
from lemon.configuration.tasks import ABLATION, TASKS
from lemon.machine import chosen_device, free_bytes, matmul_rate
from lemon.radii import Radii

EFFICIENCY = 0.6  # of the rate of a large matrix product, by a whole forward or backward pass
JOB_SECONDS = 10.0  # to start a job: importing torch, lm-eval, reading weights
BYTES = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class RunCost:
    """What one run takes: jobs, optimiser steps, training tokens, floating-point operations."""

    run_id: str
    shape: LlamaShape
    jobs: int
    steps: int
    tokens: int
    learning_flops: float
    evaluation_flops: float

    def seconds(self, rate: float) -> float:
        """Estimated time at this rate of matrix products, in FLOP/s."""
        flops = self.learning_flops + self.evaluation_flops
        return flops / (rate * EFFICIENCY) + self.jobs * JOB_SECONDS


def forward_flops(shape: LlamaShape, sequence_length: int) -> float:
    """Floating-point operations of a forward pass, per token: weights, causal attention, head."""
    weights = sum(spec.num_elements for spec in tensor_specs(shape) if len(spec.shape) == 2)
    if not shape.tie_word_embeddings:
        weights -= shape.vocab_size * shape.hidden_size  # the lookup is no product
    query = shape.num_attention_heads * shape.head_dim
    return 2 * weights + 2 * shape.num_hidden_layers * sequence_length * query


def learning_flops(project: Project, run_id: str) -> float:
    """Floating-point operations of a run's learning: teacher, student, fusing, held-out losses.

    Under masks the student has the source's size; layers that are skipped once their gate is shut
    are counted all the same, since that depends on what is learned.
    """
    method = project.run(run_id).method
    source, target = project.fused_shape(run_id), project.target_shape(run_id)
    text, settings = project.preset.text, project.learning(run_id)
    steps, length = project.steps(run_id), text.sequence_length
    again = 1 if settings.recompute else 0
    student = forward_flops(source if method.prunes else target, length)
    taught_by = project.source_shape() if project.taught_by_source(run_id) else source
    teacher = forward_flops(taught_by, length) if method.teaches else 0.0
    per_token = teacher + (3 + again) * student
    fuse, learns = fusing_flops(source, target, project.radii(run_id)), method.learns_operators
    mapped = learns or (project.changes_widths(run_id) and not method.prunes)
    passes = (1 + again + learns + method.trains_weights) if mapped else 0
    microbatches = ceil(settings.batch_sequences / settings.microbatch_sequences)
    heldout = settings.heldout_sequences * len(text.domains) * length
    evaluations = steps // settings.evaluate_every + 1
    every = project.preset.pruning.loading.update_every
    updates = steps // every + 1 if method.prunes and every else 0
    return steps * (
        settings.batch_sequences * length * per_token + microbatches * passes * fuse
    ) + heldout * (evaluations * forward_flops(target, length) + updates * student)


def fusing_flops(source: LlamaShape, target: LlamaShape, radii: Radii) -> float:
    """Floating-point operations of building a small model's layers once.

    Widths go through the hidden axis first; a size that stays costs nothing.
    """
    layer = [spec for spec in tensor_specs(source) if spec.layer == 0]
    if source.with_depth(target.num_hidden_layers) == target:
        elements = sum(spec.num_elements for spec in layer)
        return 2.0 * elements * source.num_hidden_layers * target.num_hidden_layers
    total = 0.0
    for spec in layer:
        sizes = {axis: source.axis_size(axis) for axis in spec.axes}
        for axis in sorted(sizes, key=lambda axis: axis is not Axis.HIDDEN):
            radius = radii.of(Axis.KEY_VALUE if axis is Axis.QUERY else axis)
            small = target.axis_size(axis)
            if small != sizes[axis]:
                total += 2.0 * prod(sizes.values()) * small / radius
                sizes[axis] = small
    return total * source.num_hidden_layers


def evaluation_flops(project: Project, run_id: str, suites: Sequence[str]) -> float:
    """Floating-point operations of scoring a run on some suites, the held-out text included.

    Examples before the questions count once where all questions share them, as they do unless
    they are drawn; MMLU has its own for each of 57 subjects.
    """
    preset, shape = project.preset, project.target_shape(run_id)
    tokens = 0
    for suite in map(project.suite, suites):
        for task in suite.tasks:
            rows = min(TASKS[task].rows, suite.limit_of(task) or TASKS[task].rows)
            apart = rows if preset.evaluation.fewshot == "drawn" else 1
            contexts = min(57, rows) if task == "mmlu" else apart
            tokens += (rows + TASKS[task].shots * contexts) * TASKS[task].tokens
        if suite.has_heldout:
            text = preset.text
            tokens += text.heldout_sequences * len(text.domains) * text.sequence_length
    return tokens * forward_flops(shape, preset.text.sequence_length)


def run_cost(project: Project, run_id: str, suites: Sequence[str] = (ABLATION,)) -> RunCost:
    """The cost of one run from its start to its outcomes in these suites."""
    method = project.run(run_id).method
    steps = project.steps(run_id)
    settings = project.learning(run_id)
    return RunCost(
        run_id,
        project.target_shape(run_id),
        2 * method.needs_target + len(suites),  # build or learn, fuse, evaluate
        steps,
        steps * settings.batch_sequences * project.preset.text.sequence_length,
        learning_flops(project, run_id) if method.learned else 0.0,
        evaluation_flops(project, run_id, suites),
    )


def disk_bytes(project: Project, run_ids: Sequence[str]) -> int:
    """What the runs leave on disk: source, text, fused models, trained source weights."""
    preset = project.preset
    width = BYTES[preset.source.dtype]
    text = preset.text
    rows = (text.train_sequences + text.heldout_sequences) * len(text.domains)
    total = project.source_shape().num_parameters * width + rows * (text.sequence_length + 1) * 2
    for run_id in run_ids:
        method = project.run(run_id).method
        if project.run(run_id).row.method != "source":
            total += project.target_shape(run_id).num_parameters * width
        if method.trains_weights:
            total += project.source_shape().num_parameters * width
    return total


def plan(project: Project, tables: Sequence[str]) -> str:
    """The plan of some tables as text."""
    run_ids = list(dict.fromkeys(run for table in tables for run in project.table_runs(table)))
    heading = f"{', '.join(tables)} with preset {project.preset_name}: {project.preset.description}"
    if not run_ids:
        return f"{heading}\n\nno runs: sizes are computed from the shapes alone, in seconds"
    costs = [run_cost(project, run, _suites_of(project, tables, run)) for run in run_ids]
    compute = project.preset.compute
    device = chosen_device(compute.device)
    rate = matmul_rate(compute.dtype, device)
    width = max(len(cost.run_id) for cost in costs)
    minutes = [cost.seconds(rate) / 60 if rate else None for cost in costs]
    lines = [
        heading,
        "",
        f"{'run':{width}}  layers  parameters  steps      tokens      FLOP  minutes",
    ]
    for cost, time in zip(costs, minutes, strict=True):
        flops = cost.learning_flops + cost.evaluation_flops
        lines.append(
            f"{cost.run_id:{width}}  {cost.shape.num_hidden_layers:6d}  "
            f"{cost.shape.num_parameters / 1e6:8.1f} M  {cost.steps:5d}  {cost.tokens:10,d}  "
            f"{flops:8.1e}  {'-' if time is None else format(time, '.1f'):>7}"
        )
    sizes = [project.assets[name].megabytes for name in project.needed_assets()]
    unstated = sum(size is None for size in sizes)
    free = free_bytes(Path.cwd())
    lines += [
        "",
        f"{len(costs)} runs, {sum(cost.steps > 0 for cost in costs)} of them learned; "
        f"{sum(cost.steps for cost in costs):,} steps, {sum(cost.tokens for cost in costs):,} "
        "training tokens",
        f"time      about {sum(time or 0 for time in minutes):.0f} minutes, one job after another, "
        f"at {EFFICIENCY:.0%} of {rate / 1e9:,.0f} GFLOP/s ({compute.dtype} on {device}, now)"
        if rate
        else f"time      unknown: there is no {device} device here to measure",
        f"download  {sum(size or 0 for size in sizes):,} MB"
        + (f" and {unstated} assets of unstated size" if unstated else ""),
        f"disk      about {disk_bytes(project, run_ids) / 1e9:.1f} GB besides the download; "
        f"{free / 1e9:.1f} GB are free here",
        *(f"not yet run: {row}" for table in tables for row in _empty_rows(project, table)),
    ]
    return "\n".join(lines)


def _suites_of(project: Project, tables: Sequence[str], run_id: str) -> list[str]:
    """The suites in which these tables show a run."""
    asked = (
        suite
        for table in tables
        if run_id in project.table_runs(table)
        for suite in project.table_suites(table)
    )
    return list(dict.fromkeys(asked))


def _empty_rows(project: Project, table: str) -> list[str]:
    """The rows of a table that no run fills yet; what shows no scores has none."""
    spec = project.entry(table)
    rows = spec.rows if isinstance(spec, TableSpec) else ()
    return [f"{table}, {row.label} at {row.target}" for row in rows if not row.runs]
