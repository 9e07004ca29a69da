"""The committed tables of memory are those of the presets, and what does not fit is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lemon.cli import main
from lemon.configuration.load import load_project
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.memory import fit
from lemon.memory.fit import label, row
from lemon.memory.kinds import Kind, kind_of, kinds
from lemon.memory.training import TrainingMemory

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
MOST_GB = {"gpu": 22, "paper": 70}
GB = 10**9


@pytest.fixture(scope="module")
def projects() -> dict[str, Project]:
    return {preset: load_project(preset, CONFIG) for preset in MOST_GB}


def committed_rows(preset: str) -> list[str]:
    """The lines of kinds in a committed table."""
    text = (ROOT / "docs" / "memory" / f"{preset}.md").read_text(encoding="utf-8")
    return re.findall(r"^\| .* \|$", text, re.M)[1:]


@pytest.mark.parametrize("preset", MOST_GB)
def test_every_kind_of_run_has_a_line(preset: str, projects: dict[str, Project]) -> None:
    project = projects[preset]
    found = kinds(project, project.runs.values(), project.preset.compute.devices)
    labels = [row[2:].rsplit(" | ", 2)[0] for row in committed_rows(preset)]
    assert labels == [label(runs) for runs in found.values()]


@pytest.mark.parametrize("preset", MOST_GB)
def test_every_kind_of_run_fits(preset: str, projects: dict[str, Project]) -> None:
    room = fit.room(projects[preset])
    assert room is not None and room <= MOST_GB[preset] * GB
    for line in committed_rows(preset):
        held, peak = map(float, line.strip("| ").split(" | ")[-2:])
        assert 0 < held < peak <= room / GB


@pytest.mark.parametrize(
    ("preset", "run"),
    [
        ("gpu", "scratch-small"),
        *(
            pytest.param(preset, run, marks=pytest.mark.slow)
            for preset, runs in {
                "gpu": ("lemon-cut-trained-75", "cut-tuned-75"),
                "paper": ("shear-small", "lemon-width-2-2"),
            }.items()
            for run in runs
        ),
    ],
)
def test_a_kind_takes_what_is_committed(
    preset: str, run: str, projects: dict[str, Project]
) -> None:
    project = projects[preset]
    (found,) = fit.memory_of(project, [project.run(run)])
    numbers = row(found).rsplit(" | ", 2)[1:]
    (there,) = (line for line in committed_rows(preset) if re.search(rf"\| {run}[ ,]", line))
    assert there.rsplit(" | ", 2)[1:] == numbers


def test_the_largest_of_runs_that_differ_in_depth_or_radii_stands_for_all(
    projects: dict[str, Project],
) -> None:
    project = projects["gpu"]

    def kind(run: str, devices: int = 1) -> Kind:
        return kind_of(project, project.run(run), devices)

    assert kind("lemon-cut-75") == kind("lemon-prune-50-s1") == kind("lemon-random-75")
    assert kind("shear-75") == kind("shear-time-50")
    assert kind("lemon-width-2-2") == kind("lemon-width-128-16")
    different = [
        *("lemon-cut-75", "lemon-cut-trained-75", "cut-tuned-75", "shear-75", "shear-width"),
        *("lemon-width-2-2", "lemon-width-small", "lemon-come-75", "scratch-width"),
        *("lemon-small-width-first", "come-hierarchical-75", "average-tuned-75"),
    ]
    assert len({kind(run) for run in different}) == len(different)
    assert kind("shear-75", 8) != kind("shear-75")
    found = kinds(project, project.runs.values(), 1)
    assert found[kind("lemon-cut-75")][0].id == "lemon-cut-93"
    assert found[kind("lemon-width-2-2")][0].id == "lemon-width-2-2"


class TestRefusal:
    """What a kind takes is stood in for: 1 GB a sequence at once, and 16 that devices divide."""

    @pytest.fixture(autouse=True)
    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def memory(_: Project, run: PlannedRun, devices: int) -> TrainingMemory:
            held = 16 * GB // devices
            return TrainingMemory(held, held + run.training.microbatch_sequences * GB)

        monkeypatch.setattr(fit, "training_memory", memory)

    def messages(self, project: Project, memory: int, microbatch: int = 4) -> list[str]:
        compute = project.preset.compute.model_copy(update={"memory": memory})
        run = project.run("shear-75")
        learning = run.learning.model_copy(update={"microbatch_sequences": microbatch})
        run = replace(run, learning=learning)
        project = replace(project, preset=project.preset.model_copy(update={"compute": compute}))
        return list(fit.misfits(project, fit.memory_of(project, [run])))

    def test_what_fits_is_not_refused(self, projects: dict[str, Project]) -> None:
        assert self.messages(projects["gpu"], 24) == []

    @pytest.mark.parametrize(
        ("memory", "advice"),
        [
            (20, "with learning.microbatch_sequences: 1 it would take 17.0 GB"),
            (8, "with compute.devices: 8 it would take 6.0 GB"),
            (4, "1 and learning.layers_per_segment: 1 and compute.devices: 8 it would take 3.0 GB"),
            (2, "no setting makes it fit; take a smaller source model, or devices with more"),
        ],
    )
    def test_the_setting_that_helps_is_named(
        self, projects: dict[str, Project], memory: int, advice: str
    ) -> None:
        (message,) = self.messages(projects["gpu"], memory)
        assert message.startswith("shear-75: training takes up to 20.0 GB of the device, and ")
        assert f"{memory * 7 / 8:.1f} of its {memory} GB (compute.memory) may be taken; " in message
        assert advice in message

    def test_a_plan_that_does_not_fit_ends_with_an_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        preset = tmp_path / "mine.yaml"
        preset.write_text("base: gpu\ndescription: small\ncompute: {memory: 20}\n")
        arguments = ["--config", str(CONFIG), "plan", "--preset", str(preset), "--table", "table3"]
        assert main(arguments) == 2
        told = capsys.readouterr()
        assert "lemon-cut-75" in told.out  # the plan itself is there
        refused = [line for line in told.err.splitlines() if "(compute.memory)" in line]
        assert len(refused) == 2
        assert "shear-75, shear-50: training takes up to 24.0 GB" in told.err

    def test_memory_that_is_not_stated_is_not_looked_at(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--config", str(CONFIG), "plan", "--preset", "smoke", "--memory"]) == 2
        assert "compute.memory" in capsys.readouterr().err
