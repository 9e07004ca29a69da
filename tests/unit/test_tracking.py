"""The replay into MLflow: complete, the same twice, brought up to date, comparable."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from drawn_figures import falling_map, write_maps
from fabricated_runs import write_metrics, write_outcomes, write_runs, write_scored
from mlflow.tracking import MlflowClient

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.reporting.figures.figure import write_figure
from lemon.tracking.records import step_metrics, table_records
from lemon.tracking.replay import TAG_PREFIX, track

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project("laptop", CONFIG)


@pytest.fixture(scope="module")
def tracked(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with runs, a table and a store that holds them."""
    folder = tmp_path_factory.mktemp("tracked")
    write_runs(project, "table3", folder / "runs", documents=20)
    write_scored(project, "table3", folder / "runs", folder / "results" / "tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        replay(project, folder)
    return folder


@pytest.fixture
def workplace(tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to change."""
    folder = tmp_path / "workplace"
    shutil.copytree(tracked, folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)
    return folder


def replay(project: Project, folder: Path) -> dict:
    track(project, "table3", folder / "runs", folder / "results", folder / "track.json")
    return json.loads((folder / "track.json").read_text())


def content(folder: Path) -> list[str]:
    """Every row of every table of the store."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        return sorted(store.iterdump())


def runs_by_key(folder: Path) -> dict:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("table3 (laptop)")
    found = client.search_runs([experiment.experiment_id])
    assert len({run.data.tags["lemon.key"] for run in found}) == len(found)
    return {run.data.tags["lemon.key"]: run for run in found}


def test_one_run_a_row_and_seed_and_one_a_published_row(tracked: Path, project: Project) -> None:
    runs = runs_by_key(tracked)
    sources = [run.data.tags["source"] for run in runs.values()]
    assert sources.count("reproduced") == len(project.table_runs("table3"))
    assert sources.count("paper") == 13
    assert sources.count("table") == 1
    assert all(run.info.status == "FINISHED" for run in runs.values())
    state = json.loads((tracked / "track.json").read_text())
    assert state["status"] == "tracked"
    assert state["store"] == "sqlite:///mlflow.db"
    assert state["runs"] == {key: run.info.run_id for key, run in runs.items()}


def test_ours_and_the_papers_share_the_names_of_their_metrics(tracked: Path) -> None:
    runs = runs_by_key(tracked)
    ours, paper = runs["laptop/table3/lemon-cut-75"], runs["paper/table3/LEMON-Cut/24"]
    assert paper.data.metrics["mean"] == 62.0
    assert paper.data.metrics["acc/logiqa"] == 26.9
    assert set(paper.data.metrics) <= set(ours.data.metrics)
    assert ours.data.tags["method"] == paper.data.tags["method"] == "LEMON-Cut"
    assert (ours.data.tags["layers"], paper.data.tags["layers"]) == ("22", "24")


def test_settings_scores_and_learning_curve_of_a_run(tracked: Path, project: Project) -> None:
    run = runs_by_key(tracked)["laptop/table3/lemon-cut-75"]
    assert run.info.run_name == "LEMON-Cut, 22 layers"
    expected = {
        **{"method": "lemon", "start": "cut", "target": "depth-75", "seed": "0"},
        "steps": str(project.run("lemon-cut-75").steps),
        "learning.layer_rate": str(project.run("lemon-cut-75").learning.layer_rate),
    }
    assert {name: run.data.params[name] for name in expected} == expected
    assert run.data.tags["git_commit"] == "abc"
    assert run.data.metrics["perplexity"] > 1
    client = MlflowClient(f"sqlite:///{tracked / 'mlflow.db'}")
    curve = client.get_metric_history(run.info.run_id, "train/loss")
    steps = project.run("lemon-cut-75").steps
    assert [metric.step for metric in curve] == list(range(1, steps + 1))
    assert curve[-1].timestamp - curve[0].timestamp == 2000 * (steps - 1)


def test_the_table_is_an_artifact(tracked: Path) -> None:
    run = runs_by_key(tracked)["laptop/table3"]
    client = MlflowClient(f"sqlite:///{tracked / 'mlflow.db'}")
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    kinds = ("csv", "md", "tex", "html", "png", "manifest.json")
    assert names == {f"table3.{kind}" for kind in kinds}


def test_the_page_of_a_figure_says_what_it_shows(workplace: Path, project: Project) -> None:
    write_maps(project, "figure2", workplace / "runs", {"source": falling_map(30)})
    write_figure(project, "figure2", workplace / "runs", workplace / "results" / "figures")
    track(project, "figure2", workplace / "runs", workplace / "results", workplace / "track.json")
    client = MlflowClient(f"sqlite:///{workplace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("figure2 (laptop)")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.tags["C22"] == "holds"
    description = run.data.tags["mlflow.note.content"]
    assert "C22, Neighbouring layers have more similar attention weights" in description
    assert "**holds**" in description
    assert description.endswith("(paper LLaMA2-7B).")


def test_the_store_has_a_view_of_the_table(tracked: Path) -> None:
    client = MlflowClient(f"sqlite:///{tracked / 'mlflow.db'}")
    tags = client.get_experiment_by_name("table3 (laptop)").tags
    state = json.loads(json.loads(tags[TAG_PREFIX + "table3"])["state"])
    assert "metrics.`mean`" in state["selectedColumns"]
    assert state["searchFilter"] == "tags.source != 'table'"


def test_tracking_twice_changes_nothing(workplace: Path, project: Project) -> None:
    before, first = content(workplace), json.loads((workplace / "track.json").read_text())
    second = replay(project, workplace)
    assert content(workplace) == before
    assert second == first


def test_a_changed_run_is_brought_up_to_date_and_the_others_stay(
    workplace: Path, project: Project
) -> None:
    before = runs_by_key(workplace)
    answers = {task: [True] * 20 for task in project.table("table3").tasks}
    write_outcomes(workplace / "runs" / "cut-75", answers, loss=1.0)
    replay(project, workplace)
    after = runs_by_key(workplace)
    assert after["laptop/table3/cut-75"].data.metrics["mean"] == 100.0
    changed = {k for k in after if after[k].info.run_id != before[k].info.run_id}
    assert set(after) == set(before)
    assert changed == {"laptop/table3/cut-75"}


def test_a_users_own_run_in_the_experiment_is_left_alone(workplace: Path, project: Project) -> None:
    client = MlflowClient(f"sqlite:///{workplace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("table3 (laptop)").experiment_id
    own = client.create_run(experiment, run_name="mine").info.run_id
    replay(project, workplace)
    assert client.get_run(own).info.lifecycle_stage == "active"


def test_events_before_a_resume_are_dropped(tmp_path: Path) -> None:
    write_metrics(tmp_path)
    losses = [m for m in step_metrics(tmp_path / "metrics.jsonl") if m.name == "train/loss"]
    assert [m.step for m in losses] == list(range(1, 21))
    assert losses[3].value == pytest.approx(10 * 0.9**4)
    assert losses[5].value == pytest.approx(10 * 0.9**6 + 0.01)  # what the resumed process wrote


def test_a_damaged_line_is_named_and_a_cut_last_line_forgiven(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    event = json.dumps({"step": 1, "tokens": 9, "wall_s": 1.0, "name": "train/loss", "value": 2.0})
    path.write_text(f"{event}\n{event[:20]}")
    assert len(step_metrics(path)) == 1
    path.write_text(f"{event[:20]}\n{event}\n")
    with pytest.raises(BadInput, match=r"metrics\.jsonl:1: is not JSON"):
        step_metrics(path)


def test_a_table_that_is_not_rendered_is_refused(tracked: Path, project: Project) -> None:
    with pytest.raises(BadInput, match="not rendered"):
        table_records(project, "table3", tracked / "runs", tracked / "nowhere")
