"""What `from=` leaves of the workflow: asked of the real rules, most jobs done by the stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished_runs import write_finished
from workspaces import DrivenWorkspace, Workspace, copy_workflow

from lemon.bundles.pack import pack
from lemon.configuration.load import load_project

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished runs of table3 of the smoke preset."""
    folder = tmp_path_factory.mktemp("made")
    project = load_project("smoke", Path(__file__).parents[2] / "config")
    pack(project, write_finished(project, "table3", folder), folder / "runs.bundle")
    return folder / "runs.bundle"


@pytest.fixture
def driven(tmp_path: Path, bundle: Path) -> DrivenWorkspace:
    """A fresh clone with the bundle among its results."""
    results = copy_workflow(tmp_path).path / "results" / "smoke"
    results.mkdir(parents=True)
    (results / "runs.bundle").write_bytes(bundle.read_bytes())
    return DrivenWorkspace(tmp_path)


def planned(workspace: Workspace, target: str = "table3") -> dict[str, int]:
    """The rules that a dry run shows, with the number of their jobs."""
    shown = workspace.snakemake(target, "--dry-run")
    assert shown.returncode == 0, shown.stdout
    lines = shown.stdout.partition("Job stats:")[2].splitlines()
    found = [line.split() for line in lines if len(line.split()) == 2]
    return {rule: int(count) for rule, count in found if count.isdigit() and rule != "total"}


def test_from_the_bundle_only_table_and_track_are_left(driven):
    driven.taken = "bundle"
    assert planned(driven) == {"unpack": 1, "table": 1, "track": 1, "table3": 1}
    assert driven.jobs() == ["unpack", "table table3", "track table3"]
    assert planned(driven) == {}
    drawn = {"figure_numbers": 1, "figure": 1, "track": 1, "figure5": 1}
    assert planned(driven, "figure5") == drawn
    (driven.path / "results/smoke/tables/table3.csv").unlink()
    assert planned(driven) == {"table": 1, "track": 1, "table3": 1}
    (driven.path / "runs/smoke/cut-75/outcomes/sciq.parquet").unlink()
    assert driven.jobs() == ["unpack", "table table3", "track table3"]


def test_a_table_shows_as_many_seeds_as_the_bundle_was_packed_with(driven, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two-seeds")
    project = load_project("smoke", driven.path / "config", seeds=2)
    finished = write_finished(project, "table3", folder)
    pack(project, finished, driven.path / "results" / "smoke" / "runs.bundle")

    def shown(**given: str) -> str:
        for name, value in given.items():
            setattr(driven, name, value)
        return driven.snakemake("table3", "--dry-run", "--printshellcmds").stdout

    assert "--preset smoke --seeds 1" in shown()
    assert "--preset smoke --seeds 2" in shown(taken="bundle")
    assert "--preset smoke --seeds 1" in shown(seeds="1")
    words = shown(seeds="3")  # a row has a third seed that the bundle lacks
    assert "results/smoke/runs.bundle: can't give table3" in words
    for wrong in ("0", "-1", "two", "1.5"):
        assert f"seeds={wrong} is no whole number from 1 on" in shown(seeds=wrong)


def test_committed_results_are_checked_in_a_folder_of_their_own(driven):
    driven.target, driven.taken, driven.folder = "check_results", "operators", "checks"
    before = {file for file in driven.path.rglob("*") if "/results/" in str(file)}
    prepared = ["fetch", "prepare source", "prepare text", "prepare tasks"]
    runs = ["lemon-cut-75", "lemon-prune-75"]
    scored = [f"{job} {run}" for job in ("fuse", "evaluate") for run in runs]
    assert sorted(driven.jobs("check_results")) == sorted(["unpack", *prepared, *scored])
    assert not [room for room in ("runs", "data", "logs") if (driven.path / room).exists()]
    assert {file for file in driven.path.rglob("*") if "/results/" in str(file)} == before
    assert planned(driven, "check_results") == {}


def test_after_unpacking_by_hand_only_table_and_track_are_left(driven):
    from lemon.cli import main

    driven.taken = "bundle"
    config = ["--config", str(driven.path / "config"), "unpack", "--preset", "smoke"]
    bundle = str(driven.path / "results" / "smoke" / "runs.bundle")
    assert main([*config, "--bundle", bundle, "--folder", str(driven.path)]) == 0
    assert planned(driven) == {"table": 1, "track": 1, "table3": 1}


def test_from_operators_models_are_fused_and_scored_and_nothing_is_learned(driven):
    project = load_project("smoke", driven.path / "config")
    shown = [project.run(run) for run in project.table_runs("table3")]
    fused = [run for run in shown if run.method.needs_target and run.own_weights is None]
    driven.taken = "operators"
    jobs = driven.jobs()
    expected = ["unpack", "fetch", "prepare source", "prepare text", "prepare tasks"]
    expected += [f"fuse {run.id}" for run in fused]
    expected += [f"evaluate {run.id}" for run in fused] + ["evaluate source"]
    expected += ["table table3", "track table3"]
    assert sorted(jobs) == sorted(expected)
    assert driven.jobs() == []


def test_what_the_bundle_lacks_is_refused_by_name_or_made_as_the_rest(driven):
    def change(values):
        values["rates"]["operators-pruned"] = {"layer_rate": 0.004}

    driven.change_preset(change)
    for scope in ("bundle", "operators"):
        driven.taken = scope
        done = driven.snakemake("table3", "--dry-run")
        assert done.returncode == 2
        words = "runs/lemon-prune-75 was made with other settings than the preset has now"
        assert words in done.stdout and "FROM=rest" in done.stdout
    driven.taken = "bundle"
    done = driven.snakemake("figure6", "--dry-run")
    assert done.returncode == 2
    assert "runs/source/similarity/weights/plain/q_proj is not in it (and 5 others)" in done.stdout
    driven.taken = "rest"
    made = [
        job for job in driven.jobs() if job.split()[0] in ("build", "learn", "fuse", "evaluate")
    ]
    stages = ("learn", "fuse", "evaluate")
    assert sorted(made) == sorted(f"{s} lemon-prune-{depth}" for s in stages for depth in (75, 50))


def test_a_bundle_by_its_path_and_one_that_is_not_there(driven, bundle):
    driven.taken = str(bundle)
    assert planned(driven) == {"unpack": 1, "table": 1, "track": 1, "table3": 1}
    driven.taken = "bundel"
    done = driven.snakemake("table3", "--dry-run")
    assert done.returncode == 2
    assert "error: bundel: no such bundle; `lemon bundle` writes one" in done.stdout


def test_a_run_of_ones_own_is_refused_untouched(driven):
    own = driven.path / "runs" / "smoke" / "cut-75"
    own.mkdir(parents=True)
    (own / "config.yaml").write_text("mine: 1\n")
    driven.taken = "bundle"
    driven.environment = driven.stand_in()
    driven.calls.write_text("")
    done = driven.snakemake("table3")
    assert done.returncode == 1
    assert "cut-75/config.yaml: differs from the one in results/smoke/runs.bundle" in done.stdout
    assert (own / "config.yaml").read_text() == "mine: 1\n"
    assert not list((driven.path / "runs").rglob("*.parquet"))
