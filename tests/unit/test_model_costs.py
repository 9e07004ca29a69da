"""What the models of a table cost: from shapes and settings, in a section and in the CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fabricated_runs import write_runs, write_scored

from lemon.configuration.project import Project
from lemon.flops import forward_flops, training_flops
from lemon.reporting.facts.inference_times import InferenceTime
from lemon.reporting.facts.model_costs import ModelCost, model_cost, start_tokens
from lemon.reporting.numbers import with_prefix

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rendered(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model-costs")
    for table in ("methods", "methods-trained"):
        write_runs(project, table, folder / table, documents=6)
        write_scored(project, table, folder / table, folder / "tables")
    return folder / "tables"


def cost_of(project: Project, run: str) -> ModelCost:
    """The cost of a run, with times that do not matter."""
    times = dict.fromkeys(project.timed_shapes(), InferenceTime(*[1.0] * 6))
    return model_cost(project, project.run(run), times)


def test_a_cut_model_by_hand(project: Project) -> None:
    """22 of 30 layers: 8 of them are spared."""
    cost, source = cost_of(project, "cut-75"), project.source_shape()
    layer = 576 * (2 * 576 + 2 * 192) + 3 * 576 * 1536 + 2 * 576
    assert cost.parameters == source.num_parameters - 8 * layer
    # Two FLOP for each weight but the norms, and attention over 128 tokens on average.
    spared = 8 * (2 * (layer - 2 * 576) + 4 * 128 * 576)
    assert cost.flops == forward_flops(source, 256) - spared
    assert cost.flops_share == pytest.approx(cost.flops / forward_flops(source, 256))
    assert (cost.layers, cost.start_tokens, cost.training_tokens, cost.training_flops) == (
        22,
        *[0] * 3,
    )


def test_tied_models_have_fewer_parameters_and_compute_as_much(project: Project) -> None:
    run = project.run("ff-merge-75")
    cost = cost_of(project, run.id)
    spared = (run.tied_ffn_layers - 1) * 3 * 576 * 1536
    assert cost.parameters == project.source_shape().num_parameters - spared
    assert cost.layers == 30 and cost.flops_share == 1


@pytest.mark.parametrize(
    ("run", "sequences"),
    [
        ("cut-75", 0),
        ("shortgpt-75", 32),
        ("sleb-75", 8),
        ("laco-75", 8),
        ("come-posterior-75", 32),
        ("window-drop-75", 3 * 8),  # of the tune text: 8 of each of the 3 domains
        ("ff-merge-75", 32 + 3 * 8),
        ("lemon-sleb-75", 0),  # its start read them
    ],
)
def test_what_builders_read(project: Project, run: str, sequences: int) -> None:
    assert start_tokens(project.run(run)) == 256 * sequences


def test_what_was_built_and_learned_before_counts(project: Project) -> None:
    cost = cost_of(project, "lemon-aligned-75")
    assert cost.start_tokens == 256 * 32
    assert cost.training_tokens == (80 + 80) * 4 * 256
    assert cost.training_flops == training_flops(project, project.run("lemon-prune-75"))
    assert cost_of(project, "lemon-sleb-75").start_tokens == 256 * 8
    assert cost_of(project, "come-tuned-75").start_tokens == 256 * 32


def test_the_csv_has_the_costs_of_every_row(project: Project, rendered: Path) -> None:
    lines = pd.read_csv(rendered / "methods-trained.csv")
    costs = lines[lines["task"] == "cost"].pivot(index="run", columns="metric", values="value")
    assert len(costs) == sum(bool(row.runs) for row in project.table("methods-trained").rows)
    assert costs.loc["ff-merge-75", "flops"] == costs.loc["source", "flops"]
    assert costs.loc["lemon-prune-75", "training_flops"] == pytest.approx(
        training_flops(project, project.run("lemon-prune-75"))
    )


def test_tied_models_have_all_layers_below_the_heading_of_their_target(rendered: Path) -> None:
    lines = pd.read_csv(rendered / "methods-trained.csv").groupby("run")["layers"].unique()
    for run in ("ff-merge-75", "lemon-ff-merge-50", "ff-merge-tuned-75"):
        assert list(lines[run]) == [30]
    assert list(lines["sleb-75"]) == [22]
    text = (rendered / "methods-trained.md").read_text()
    assert "22 of 30 layers" in text
    learning = text[text.index("Training cost") :]
    tied, after = learning.index("| 30 | FF-merge, weights |"), learning.index("| LEMON-Prune |")
    assert tied < after  # in one group, whose factors are to its first row
    assert "×1.00" not in learning[tied : tied + 10]


def test_every_form_has_the_section(rendered: Path) -> None:
    for suffix in ("md", "html", "tex"):
        text = (rendered / f"methods.{suffix}").read_text()
        section = text[text.index("Cost of the models") :]
        assert "219 M" in section and "Memory is not measured" in section
    text = (rendered / "methods.md").read_text()
    computed = "| ShortGPT | 22 | 106 M | 78.9 % | 219 M | 78.8 % |"
    # 32 rows of 256 tokens through 30 layers of 7.37 MFLOP a token.
    assert f"{computed} 73.3 % | 73.3 % | 8,192 | 1.81 T | 0 | 0 |" in text


def test_other_tables_stay_as_they_were(project: Project, tmp_path: Path) -> None:
    assert {name for name in project.tables if getattr(project.entry(name), "costs", False)} == {
        "methods",
        "methods-trained",
        "starts",
    }
    runs = write_runs(project, "small", tmp_path / "runs", documents=4)
    write_scored(project, "small", runs, tmp_path / "tables")
    assert "Cost of the models" not in (tmp_path / "tables" / "small.md").read_text()
    assert ",cost," not in (tmp_path / "tables" / "small.csv").read_text()


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (999, "999"), (1234, "1.23 k"), (999_600, "1.00 M"), (8.13e13, "81.3 T")],
)
def test_metric_prefixes(number: float, words: str) -> None:
    assert with_prefix(number) == words
