"""The replay into MLflow: complete, the same twice, brought up to date, comparable."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_figures import falling_map, write_maps
from fabricated_runs import write_metrics, write_outcomes, write_runs, write_scored
from mlflow.tracking import MlflowClient

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.reporting.figures.figure import write_figure
from lemon.tracking.metrics import curve
from lemon.tracking.pages import TAG_PREFIX
from lemon.tracking.records import table_records
from lemon.tracking.replay import track

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tracked(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with runs, a table and a store that holds them."""
    folder = tmp_path_factory.mktemp("tracked")
    for table in ("table3", "controls"):
        write_runs(project, table, folder / "runs", documents=20)
    for table in ("table3", "controls"):
        write_scored(project, table, folder / "runs", folder / "results" / "tables")
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


def replay(project: Project, folder: Path, table: str = "table3") -> dict:
    track(project, table, folder / "runs", folder / "results", folder / "track.json")
    return json.loads((folder / "track.json").read_text())


def content(folder: Path) -> list[str]:
    """Every row of every table of the store."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        return sorted(store.iterdump())


def runs_by_key(folder: Path) -> dict:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("LEMON (laptop)")
    found = client.search_runs([experiment.experiment_id])
    assert len({run.data.tags["lemon.key"] for run in found}) == len(found)
    return {run.data.tags["lemon.key"]: run for run in found}


def test_one_run_a_run_one_a_published_row_and_one_a_row_of_seeds(
    tracked: Path, project: Project
) -> None:
    runs = runs_by_key(tracked)
    rows = project.table("table3").rows
    several = [row for row in rows if len(row.runs) > 1]
    assert several
    sources = [run.data.tags["source"] for run in runs.values()]
    assert sources.count("reproduced") == len(project.table_runs("table3")) + len(several)
    assert sources.count("paper") == 13
    assert sources.count("table") == 1
    assert all(run.info.status == "FINISHED" for run in runs.values())
    state = json.loads((tracked / "track.json").read_text())
    assert state["status"] == "tracked"
    assert state["store"] == "sqlite:///mlflow.db"
    assert state["runs"] == {key: run.info.run_id for key, run in runs.items()}


def test_ours_and_the_papers_share_the_names_of_their_metrics_and_their_row(tracked: Path) -> None:
    runs = runs_by_key(tracked)
    ours, paper = runs["laptop/runs/lemon-cut-75"], runs["paper/table3/LEMON-Cut/24"]
    assert paper.data.metrics["acc/mean-5"] == 62.0
    assert paper.data.metrics["acc/logiqa"] == 26.9
    assert set(paper.data.metrics) <= set(ours.data.metrics)
    assert ours.data.tags["method"] == paper.data.tags["method"] == "LEMON-Cut"
    assert (ours.data.tags["layers"], paper.data.tags["layers"]) == ("22", "24")
    row = [run.data.tags["row/table3"] for run in (ours, paper)]
    assert row == ["07 LEMON-Cut, depth-75"] * 2
    others = [run for key, run in runs.items() if run not in (ours, paper)]
    assert row[0] not in [run.data.tags.get("row/table3") for run in others]


def test_what_is_published_stands_beside_ours_with_the_difference(tracked: Path) -> None:
    ours = runs_by_key(tracked)["laptop/runs/lemon-cut-75"].data.metrics
    for name, published in (("acc/mean-5", 62.0), ("acc/logiqa", 26.9)):
        assert ours[f"published/{name}"] == published
        assert ours[f"delta/{name}"] == pytest.approx(ours[name] - published, abs=1e-3)


def test_seeds_are_children_of_their_mean(tracked: Path) -> None:
    runs = runs_by_key(tracked)
    seeds = [f"random-75-s{seed}" for seed in range(3)]
    mean = runs[f"laptop/seeds/{' '.join(seeds)}"]
    children = [runs[f"laptop/runs/{seed}"] for seed in seeds]
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {mean.info.run_id}
    row = "03 Random, depth-75"
    assert runs["paper/table3/Random/24"].data.tags["row/table3"] == row
    assert mean.data.tags["row/table3"] == row
    assert [c.data.tags["row/table3"] for c in children] == [f"{row}, seed {n}" for n in range(3)]
    assert mean.info.run_name == "Random, 22 layers, mean of 3 seeds"
    assert "mlflow.parentRunId" not in runs["laptop/runs/cut-75"].data.tags
    each = [child.data.metrics for child in children]
    accuracies = [metrics["acc/sciq"] for metrics in each]
    assert mean.data.metrics["acc/sciq"] == pytest.approx(sum(accuracies) / 3, rel=1e-4)
    product = each[0]["ppl/heldout"] * each[1]["ppl/heldout"] * each[2]["ppl/heldout"]
    assert mean.data.metrics["ppl/heldout"] == pytest.approx(product ** (1 / 3), rel=1e-4)
    assert mean.data.params["method"] == "random" and "seed" not in mean.data.params


def test_a_run_of_two_tables_stands_once(workplace: Path, project: Project) -> None:
    before = runs_by_key(workplace)
    replay(project, workplace, "controls")
    both, cut = runs_by_key(workplace), "laptop/runs/cut-75"
    assert both[cut].info.run_id == before[cut].info.run_id
    assert {name for name in both[cut].data.tags if name.startswith("row/")} >= {
        "row/table3",
        "row/controls",
    }
    replay(project, workplace)
    assert {key: run.info.run_id for key, run in runs_by_key(workplace).items()} == {
        key: run.info.run_id for key, run in both.items()
    }


def test_a_row_that_leaves_a_table_leaves_its_runs_to_the_others(
    workplace: Path, project: Project
) -> None:
    replay(project, workplace, "controls")
    before = runs_by_key(workplace)
    left = ["cut-75", "shear-75"]
    spec = project.table("table3")
    rows = tuple(row for row in spec.rows if not {*left} & {*row.runs})
    kept = {run for row in rows for run in row.runs}
    pairs = tuple(p for p in spec.comparisons if {p.first, p.second} <= kept and p.than is None)
    smaller = spec.model_copy(update={"rows": rows, "comparisons": pairs})
    fewer = replace(project, tables={**project.tables, "table3": smaller})
    replay(fewer, workplace)
    after = runs_by_key(workplace)
    in_controls = {run for row in project.table("controls").rows for run in row.runs}
    for run in left:
        key = f"laptop/runs/{run}"
        assert (key in after) == (run in in_controls)
        if key in after:
            assert "row/table3" not in after[key].data.tags
            assert "row/controls" in after[key].data.tags
    assert "paper/table3/Cut/24" in before and "paper/table3/Cut/24" not in after


def test_settings_scores_and_learning_curve_of_a_run(tracked: Path, project: Project) -> None:
    run = runs_by_key(tracked)["laptop/runs/lemon-cut-75"]
    assert run.info.run_name == "LEMON-Cut, 22 layers"
    expected = {
        **{"method": "lemon", "start": "cut", "target": "depth-75", "seed": "0"},
        "steps": str(project.run("lemon-cut-75").steps),
        "learning.layer_rate": str(project.run("lemon-cut-75").learning.layer_rate),
    }
    assert {name: run.data.params[name] for name in expected} == expected
    assert run.data.tags["git_commit"] == "abc"
    assert run.data.metrics["ppl/heldout"] > 1
    client = MlflowClient(f"sqlite:///{tracked / 'mlflow.db'}")
    curve = client.get_metric_history(run.info.run_id, "loss/train")
    steps = project.run("lemon-cut-75").steps
    assert [metric.step for metric in curve] == list(range(1, steps + 1))
    assert curve[-1].timestamp - curve[0].timestamp == 2000 * (steps - 1)


def test_a_run_names_its_data_and_its_model_and_keeps_its_manifest(tracked: Path) -> None:
    run = runs_by_key(tracked)["laptop/runs/lemon-cut-75"]
    used = {
        one.dataset.name: (one.tags[0].value, one.dataset.source)
        for one in run.inputs.dataset_inputs
    }
    assert used["heldout"] == ("evaluation", "text")
    assert used["sciq"] == ("evaluation", "rows-sciq")
    assert len(used) == 6  # the five tasks, and the held-out text
    page = run.data.tags["mlflow.note.content"]
    assert "It stands in `table3`, row 7" in page
    assert "folder `runs/laptop/lemon-cut-75/model`" in page
    later = runs_by_key(tracked)["laptop/runs/lemon-prune-75"].data.tags["mlflow.note.content"]
    assert " steps, from run `shear-75`." in later
    client = MlflowClient(f"sqlite:///{tracked / 'mlflow.db'}")
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"manifest.json"}
    assert run.data.metrics["system/peak_memory_bytes"] == 10**9  # learning's; scoring took half


def test_the_table_is_an_artifact(tracked: Path) -> None:
    run = runs_by_key(tracked)["laptop/tables/table3"]
    client = MlflowClient(f"sqlite:///{tracked / 'mlflow.db'}")
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    kinds = ("csv", "md", "tex", "html", "png", "manifest.json")
    assert names == {f"table3.{kind}" for kind in kinds}


def test_the_page_of_a_figure_says_what_it_shows(workplace: Path, project: Project) -> None:
    write_maps(project, "figure2", workplace / "runs", {"source": falling_map(30)})
    write_figure(project, "figure2", workplace / "runs", workplace / "results" / "figures")
    track(project, "figure2", workplace / "runs", workplace / "results", workplace / "track.json")
    run = runs_by_key(workplace)["laptop/tables/figure2"]
    assert run.data.tags["C22"] == "holds"
    description = run.data.tags["mlflow.note.content"]
    assert "C22, Neighbouring layers have more similar attention weights" in description
    assert "**holds**" in description
    assert description.endswith("(paper LLaMA2-7B).")


def test_the_store_has_a_view_of_the_table(tracked: Path) -> None:
    client = MlflowClient(f"sqlite:///{tracked / 'mlflow.db'}")
    tags = client.get_experiment_by_name("LEMON (laptop)").tags
    state = json.loads(json.loads(tags[TAG_PREFIX + "table3"])["state"])
    assert "metrics.`acc/mean-5`" in state["selectedColumns"]
    assert state["orderByKey"] == "tags.`row/table3`"
    experiment = client.get_experiment_by_name("LEMON (laptop)").experiment_id
    found = client.search_runs([experiment], state["searchFilter"], order_by=[state["orderByKey"]])
    rows = [run.data.tags["row/table3"] for run in found]
    assert rows == sorted(rows)
    assert len(found) == len(runs_by_key(tracked)) - 1  # all but the table's own files


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
    assert after["laptop/runs/cut-75"].data.metrics["acc/mean-5"] == 100.0
    changed = {k for k in after if after[k].info.run_id != before[k].info.run_id}
    assert set(after) == set(before)
    assert changed == {"laptop/runs/cut-75"}


def test_a_name_is_no_longer_than_a_database_server_takes(
    workplace: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    [record] = table_records(project, "table3", workplace / "runs", workplace / "results")[:1]
    long = [replace(record, name="a name " * 50)]
    monkeypatch.setattr("lemon.tracking.replay.table_records", lambda *_: long)
    ids = replay(project, workplace)["runs"]
    assert MlflowClient().get_run(ids[record.key]).info.run_name == ("a name " * 50)[:250]


def test_a_users_own_run_in_the_experiment_is_left_alone(workplace: Path, project: Project) -> None:
    client = MlflowClient(f"sqlite:///{workplace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("LEMON (laptop)").experiment_id
    own = client.create_run(experiment, run_name="mine").info.run_id
    replay(project, workplace)
    assert client.get_run(own).info.lifecycle_stage == "active"


def test_events_before_a_resume_are_dropped(tmp_path: Path) -> None:
    write_metrics(tmp_path)
    losses = [m for m in curve(tmp_path / "metrics.jsonl") if m.name == "loss/train"]
    assert [m.step for m in losses] == list(range(1, 21))
    assert losses[3].value == pytest.approx(10 * 0.9**4, rel=1e-4)
    assert losses[5].value == pytest.approx(
        10 * 0.9**6 + 0.01, rel=1e-4
    )  # what the resumed process wrote


def test_a_damaged_line_is_named_and_a_cut_last_line_forgiven(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    event = json.dumps({"step": 1, "tokens": 9, "wall_s": 1.0, "name": "train/loss", "value": 2.0})
    path.write_text(f"{event}\n{event[:20]}")
    assert len(curve(path)) == 1
    path.write_text(f"{event[:20]}\n{event}\n")
    with pytest.raises(BadInput, match=r"metrics\.jsonl:1: is not JSON"):
        curve(path)


def test_a_table_that_is_not_rendered_is_refused(tracked: Path, project: Project) -> None:
    with pytest.raises(BadInput, match="not rendered"):
        table_records(project, "table3", tracked / "runs", tracked / "nowhere")
