"""What reruns what: asked of the real rules with a command that only notes its calls."""

import os
import shutil

import pytest

pytestmark = pytest.mark.workflow


def test_every_stage_runs_once_for_every_run(driven):
    from lemon.configuration.load import load_project

    project = load_project("laptop", driven.path / "config")
    runs = project.table_runs("table3")
    info = {run: project.run(run).method for run in runs}
    expected = ["fetch", "prepare source", "prepare text", "prepare tasks"]
    expected += [f"build {run}" for run in runs if info[run].needs_target and not info[run].learned]
    expected += [f"learn {run}" for run in runs if info[run].learned]
    expected += [f"fuse {run}" for run in runs if info[run].needs_target]
    expected += [f"evaluate {run}" for run in runs]
    expected += ["table table3", "track table3"]
    assert sorted(driven.first_jobs) == sorted(expected)
    assert driven.jobs() == []


def test_touched_and_reordered_files_rerun_nothing(driven):
    for folder in ("workflow", "config"):
        for file in (driven.path / folder).rglob("*"):
            os.utime(file)
    os.utime(driven.path / "Snakefile")
    driven.change_preset(
        lambda values: values.update({key: values.pop(key) for key in sorted(values)})
    )
    assert driven.jobs() == []


def test_a_changed_learning_rate_reruns_only_the_runs_that_name_it(driven):
    driven.change_preset(
        lambda values: values["rates"].update({"operators-pruned": {"layer_rate": 0.004}})
    )
    *jobs, table, track = driven.jobs()
    assert sorted(jobs) == sorted(
        f"{stage} lemon-prune-{depth}"
        for stage in ("learn", "fuse", "evaluate")
        for depth in (75, 50)
    )
    assert [table, track] == ["table table3", "track table3"]


def test_every_trial_runs_once_and_a_new_one_alone(driven):
    file = driven.path / "config" / "trials" / "laptop.tsv"
    header = file.read_text().splitlines()[0]
    cells = {"rates": "weights", "run": "cut-tuned-75", "weight_rate": "{}"}
    line = "\t".join(cells.get(column, "-") for column in header.split("\t")) + "\n"
    file.write_text(f"{header}\n{line.format(0.1)}{line.format(0.2)}")
    rendered = ["table tuning", "track tuning"]
    jobs = driven.jobs("tuning")
    assert sorted(jobs[:-2]) == ["try weights/1", "try weights/2"] and jobs[-2:] == rendered
    assert driven.jobs("tuning") == []
    file.write_text(f"{file.read_text()}{line.format(0.3)}")
    assert driven.jobs("tuning") == ["try weights/3", *rendered]
    assert driven.jobs("table3") == []


def test_a_changed_pruning_budget_reruns_what_starts_from_it(driven):
    driven.change_preset(lambda values: values["budgets"].update(pruning=7))
    changed = {"shear-75", "shear-50", "lemon-prune-75", "lemon-prune-50"}
    jobs = [job.split() for job in driven.jobs()]
    assert {run for stage, run in jobs if stage in ("build", "learn")} == changed
    assert {run for stage, run in jobs if stage == "evaluate"} == changed
    order = [run for stage, run in jobs if stage in ("build", "learn")]
    assert order.index("shear-75") < order.index("lemon-prune-75")


def test_a_changed_limit_evaluates_and_trains_nothing(driven):
    driven.change_preset(lambda values: values["evaluation"].update(limit=17))
    stages = {job.split()[0] for job in driven.jobs()}
    assert stages == {"evaluate", "table", "track"}


def test_a_pending_replay_is_tried_again_until_it_succeeds(driven):
    (driven.path / "runs/laptop/tracking/table3.json").unlink()
    assert driven.jobs(TRACKER="pending") == ["track table3"]
    assert driven.jobs(TRACKER="pending") == ["track table3"]
    assert driven.jobs() == ["track table3"]
    driven.jobs()  # the value of the pending state has to leave Snakemake's records once
    assert driven.jobs() == []


def test_a_damaged_state_of_a_replay_is_made_again(driven):
    state = driven.path / "runs/laptop/tracking/table3.json"
    state.write_bytes(b"[1]")  # of every damage in tests/faults/test_tracking_state.py
    assert driven.jobs() == ["track table3"]
    state.unlink()
    state.mkdir()
    assert driven.jobs() == ["track table3"]
    driven.jobs()  # as above
    assert driven.jobs() == []


def test_committed_results_do_not_pass_for_made_ones(driven, workspace):
    """A fresh clone has the tables in results/ and nothing else: all the work is still ahead."""
    workspace.preset = "laptop"
    shutil.copytree(driven.path / "results", workspace.path / "results")
    planned = workspace.snakemake("table3", "--dry-run").stdout
    for rule in ("fetch", "learn", "evaluate", "table", "track"):
        assert f"\n{rule} " in planned, planned


def test_two_stages_follow_each_other_and_a_figure_is_drawn_last(driven):
    jobs = driven.jobs("small")
    for run, first in (
        ("lemon-small-width-first", "lemon-width-small"),
        ("lemon-small-depth-first", "lemon-cut-75"),
    ):
        assert f"learn {run}" in jobs
        if f"fuse {first}" in jobs:  # the other one was made for table3
            assert jobs.index(f"fuse {first}") < jobs.index(f"learn {run}")
    assert "learn lemon-cut-75" not in jobs
    assert jobs[-2:] == ["table small", "track small"]
    drawn = driven.jobs("figure4-right")
    assert len([job for job in drawn if job.startswith("learn lemon-width-")]) == 9
    assert drawn[-3:] == ["figure figure4-right", "notebook figure4-right", "track figure4-right"]
    assert driven.jobs("figure4-right") == []


def test_table2_adds_the_other_six_tasks_to_runs_that_have_the_five(driven):
    from lemon.configuration.load import load_project

    jobs = driven.jobs("table2")
    runs = load_project("laptop", driven.path / "config").table_runs("table2")
    assert {f"evaluate {run} main" for run in runs} <= set(jobs)
    assert not {"evaluate source", "evaluate lemon-cut-75"} & set(jobs)  # table3 made these
    assert jobs[-2:] == ["table table2", "track table2"]
    assert driven.jobs("table2") == []


def test_a_setting_of_the_other_six_tasks_leaves_the_five_as_they_are(driven):
    driven.jobs("table2")
    changed = {"limits": {"mmlu": 57}, "fewshot": "drawn"}
    driven.change_preset(lambda values: values["evaluation"].update(changed))
    jobs = driven.jobs("table2")
    scored = [job for job in jobs if job.startswith("evaluate")]
    assert scored and all(job.endswith(" main") for job in scored)
    assert jobs[len(scored) :] == ["table table2", "track table2"]
    assert driven.jobs() == []


def test_the_dense_source_is_one_more_job_of_the_source_alone(driven):
    assert driven.jobs("dense") == ["evaluate source dense", "table dense", "track dense"]
    driven.change_preset(lambda values: values["evaluation"].update(dense={"limit": 900}))
    assert driven.jobs("table2") == []
    assert driven.jobs("dense") == ["evaluate source dense", "table dense", "track dense"]


def test_an_edited_notebook_draws_its_figure_anew_and_nothing_else(driven):
    driven.jobs("figure7")
    notebook = driven.path / "analysis" / "figure7.ipynb"
    notebook.write_text(notebook.read_text() + "\n")
    assert driven.jobs("figure7") == ["notebook figure7", "track figure7"]
    assert driven.jobs("figure2")[-1] == "track figure2"
    assert driven.jobs("figure7") == []


def test_committed_numbers_and_pictures_alone_are_no_made_figure(workspace):
    """As in a fresh clone: the results of an earlier run lie there, and none of what they show."""
    folder = workspace.path / "results" / "smoke" / "figures"
    folder.mkdir(parents=True)
    for ending in ("csv", "facts.json", "png", "svg", "pdf", "manifest.json"):
        (folder / f"figure7.{ending}").write_text("{}")
    planned = workspace.snakemake("figure7", "--dry-run").stdout
    for rule in ("prepare_source", "cka", "figure_numbers", "figure", "track"):
        assert f"\n{rule} " in planned, planned


def test_tables_of_sizes_need_no_run(driven):
    assert driven.jobs("table1") == ["table table1", "track table1"]
    assert driven.jobs("table5") == ["table table5", "track table5"]
