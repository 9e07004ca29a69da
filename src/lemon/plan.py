"""Estimate the work left for a table, before anything starts.

The matrix products of training, of passes over text that builders make, and of scoring are counted,
at a share of the rate of the machine or of the stated devices, all of which are kept busy. So
minutes are rough. Not counted are preparation, reading and fusing weights, what builders compute
besides passes (above all the matching of neurons), trials of rates, similarity maps, times of
inference, and tables and figures. The numbers of runs, steps and tokens are exact. Where the preset
states the memory of its devices, that of training is compared with it (`lemon.memory`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lemon.configuration.paper import TableSpec, TrialsSpec
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.preset import ComputeSettings
from lemon.configuration.project import Project
from lemon.configuration.trials import Trial
from lemon.files.manifest import MANIFEST
from lemon.machine import chosen_device, free_bytes, matmul_rate
from lemon.memory.fit import KindMemory, in_gb, memory_of, misfits
from lemon.work_left import EFFICIENCY, RunCost, run_costs, written_bytes

UTILISATION = 0.4  # rate of a pass relative to what the device's maker states (MFU)


@dataclass(frozen=True)
class Speed:
    """How fast large matrix products are, in FLOP/s, None if unknown, and what that rests on."""

    rate: float | None
    words: str


def speed_of(compute: ComputeSettings) -> Speed:
    """The speed of all devices of a preset: measured where they are, or as it states."""
    device = chosen_device(compute.device)
    rate = matmul_rate(compute.dtype, device)
    several = f" on {compute.devices} devices" if compute.devices > 1 and device != "cpu" else ""
    count = compute.devices if several else 1
    if rate is not None:
        words = f"{EFFICIENCY:.0%} of {rate / 1e9:,.0f} GFLOP/s ({compute.dtype} on {device}, now)"
        return Speed(rate * count, words + several)
    if compute.teraflops is not None:
        words = f"{UTILISATION:.0%} of {compute.teraflops:,.0f} TFLOP/s (compute.teraflops)"
        return Speed(compute.teraflops * 1e12 * UTILISATION / EFFICIENCY * count, words + several)
    return Speed(None, f"there is no {device} device here to measure, and no compute.teraflops")


def _trials_left(project: Project, table: str, folder: Path) -> list[Trial]:
    """The trials of a table of trials that are not finished; none for other tables."""
    if not isinstance(project.entry(table), TrialsSpec):
        return []
    runs = folder / "runs" / project.preset_name
    trials = project.every_trial
    return [trial for trial in trials if not (runs / trial.folder / MANIFEST).is_file()]


class Plan(NamedTuple):
    """The plan as text, and what does not fit the devices, a message each."""

    text: str
    faults: list[str]


def plan(project: Project, tables: Sequence[str], folder: Path = Path()) -> Plan:
    """The plan of some tables; `folder` is the workflow's working folder."""
    heading = f"{', '.join(tables)} with preset {project.preset_name}: {project.preset.description}"
    costs = run_costs(project, tables, folder)
    trials = [t for name in tables for t in _trials_left(project, name, folder)]
    tried = {trial.run: project.run(trial.run) for trial in trials}
    trained = {cost.run.id: cost.run for cost in costs if cost.steps}
    memory = training_memories(project, (trained | tried).values())
    if trials:
        steps = sum(project.run(trial.run).steps for trial in trials)
        heading += f"\n\n{len(trials)} trials of rates to do; {steps:,} steps"
    if costs:
        text = "\n".join([heading, "", *_lines(project, tables, folder, costs, memory)])
    elif any(isinstance(project.entry(name), TrialsSpec) for name in tables):
        text = heading
    else:
        text = f"{heading}\n\nno runs: sizes are computed from the shapes alone, in seconds"
    return Plan(text, list(misfits(project, memory)))


def training_memories(project: Project, runs: Iterable[PlannedRun]) -> list[KindMemory]:
    """The memory of runs that train, if the preset states that of its devices."""
    return [] if project.preset.compute.memory is None else memory_of(project, runs)


def _lines(
    project: Project,
    tables: Sequence[str],
    folder: Path,
    costs: Sequence[RunCost],
    memory: Sequence[KindMemory],
) -> Iterator[str]:
    speed = speed_of(project.preset.compute)
    left = [cost for cost in costs if cost.jobs]
    finished = [cost.run.id for cost in costs if not cost.jobs]
    if len(tables) > 1:
        yield from _by_table(project, tables, folder, speed.rate)
    if left:
        yield from _by_run(left, speed.rate, memory)
    yield (
        f"{len(left)} runs to do, {sum(cost.steps > 0 for cost in left)} of them learned; "
        f"{sum(cost.steps for cost in left):,} steps, {sum(cost.tokens for cost in left):,} "
        "training tokens"
    )
    if finished:
        yield f"done      {len(finished)} runs: {', '.join(finished)}"
    if speed.rate is None:
        yield f"time      unknown: {speed.words}"
    else:
        yield (
            f"time      about {duration(_minutes(left, speed.rate))}, one job after another, at "
            f"{speed.words}"
        )
    yield f"download  {_download(project, folder)}"
    written = written_bytes(project, left, folder)
    learned = max((cost.checkpoints for cost in left), default=0)
    yield (
        f"disk      about {written / 1e9:.1f} GB besides the download, and up to "
        f"{learned / 1e9:.1f} GB of checkpoints while a run learns; "
        f"{free_bytes(folder.absolute()) / 1e9:.1f} GB are free here"
    )
    for table in tables:
        yield from (f"not yet run: {row}" for row in _empty_rows(project, table))


def duration(minutes: float) -> str:
    """In minutes, or in hours from three on."""
    return f"{minutes:.0f} minutes" if minutes < 180 else f"{minutes / 60:.0f} hours"


def _by_table(
    project: Project, tables: Sequence[str], folder: Path, rate: float | None
) -> Iterator[str]:
    """What is left of each table by itself, so that a run of several tables counts in each."""
    width = max(map(len, tables))
    yield f"{'table':{width}}  runs to do  learned  minutes"
    for table in tables:
        left = [cost for cost in run_costs(project, [table], folder) if cost.jobs]
        learned = sum(cost.steps > 0 for cost in left)
        minutes = f"{_minutes(left, rate):.1f}" if rate else "-"
        yield f"{table:{width}}  {len(left):10d}  {learned:7d}  {minutes:>7}"
    yield ""


def _minutes(costs: Sequence[RunCost], rate: float) -> float:
    return sum(cost.seconds(rate) for cost in costs) / 60


def _by_run(
    costs: Sequence[RunCost], rate: float | None, memory: Sequence[KindMemory]
) -> Iterator[str]:
    width = max(len(cost.run.id) for cost in costs)
    own = {run.id: in_gb(kind.memory.peak) for kind in memory for run in kind.runs}
    head = f"{'run':{width}}  layers  parameters  steps      tokens      FLOP  minutes"
    yield head + ("  GB a device" if memory else "")
    for cost in costs:
        yield _line(cost, width, rate) + (f"  {own.get(cost.run.id, '-'):>11}" if memory else "")
    yield ""
    yield from dict.fromkeys(_target(cost.run) for cost in costs if cost.run.row.target)
    yield ""


def _line(cost: RunCost, width: int, rate: float | None) -> str:
    shape = cost.run.target_shape
    minutes = f"{_minutes([cost], rate):.1f}" if rate else "-"
    return (
        f"{cost.run.id:{width}}  {shape.num_hidden_layers:6d}  "
        f"{cost.run.num_parameters / 1e6:8.1f} M  {cost.steps:5d}  {cost.tokens:10,d}  "
        f"{cost.flops:8.1e}  {minutes:>7}"
    )


def _target(run: PlannedRun) -> str:
    shape, tied = run.target_shape, run.tied_ffn_layers
    return (
        f"{run.row.target:<18} {shape.num_hidden_layers} layers, width {shape.hidden_size}, FFN "
        f"{shape.intermediate_size}, {shape.num_attention_heads} query and "
        f"{shape.num_key_value_heads} key/value heads of {shape.head_dim}"
        + (f", {tied} of the layers sharing one FFN" if tied > 1 else "")
    )


def _download(project: Project, folder: Path) -> str:
    if (folder / "data" / project.preset_name / "assets.lock.json").is_file():
        return "nothing, all assets are fetched"
    sizes = [project.assets[name].megabytes for name in project.needed_assets()]
    unstated = sizes.count(None)
    more = f" and {unstated} assets of unstated size" if unstated else ""
    return f"{sum(filter(None, sizes)):,} MB{more}"


def _empty_rows(project: Project, table: str) -> Iterator[str]:
    """The rows of a table that no run fills yet; entries without scores have no rows."""
    spec = project.entry(table)
    for row in spec.rows if isinstance(spec, TableSpec) else ():
        if not row.runs:
            yield f"{table}, {row.label} at {row.target}"
