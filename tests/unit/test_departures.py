"""What a preset does otherwise than the paper, setting by setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from chained_table import PRUNING_STEPS, chained
from replanned import replanned

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.published.models import TARGET_MODELS, published_shape
from lemon.reporting.facts import departures
from lemon.reporting.facts.radii import radii_settings
from lemon.reporting.tables.sections import radii_section

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def project(laptop: Project) -> Project:
    return chained(laptop)


def found(project: Project) -> dict[str, tuple[str, str]]:
    return {d.setting: (d.here, d.paper) for d in departures.departures(project, "table3")}


def test_settings_that_differ_are_listed_beside_the_papers(project: Project) -> None:
    listed = found(project)
    assert listed["source model"] == (project.preset.source.label, "LLaMA2-7B")
    assert listed["layers of the small models"] == ("22", "24")
    assert listed["weight of the LM loss"][1] == "not stated"


def test_steps_and_tokens_of_learning(project: Project) -> None:
    fusion = project.run("lemon-prune-75").steps
    batch = project.preset.learning.batch_sequences * project.preset.text.sequence_length
    listed = found(project)
    assert listed["steps of fusion"] == (f"{PRUNING_STEPS} / {fusion}", "1,200")
    tokens = f"{PRUNING_STEPS * batch:,} / {fusion * batch:,}"
    assert listed["tokens of fusion"] == (tokens, f"{1200 * 32 * 4096:,}")


def test_a_kind_of_learning_has_its_own_length(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruning = ("pruning", lambda method: method.trains_weights)
    monkeypatch.setattr(departures, "KINDS", (pruning, *departures.KINDS))
    listed = found(project)
    assert listed["steps of pruning"] == (str(PRUNING_STEPS), "6,400")
    assert listed["steps of fusion"] == (str(project.run("lemon-prune-75").steps), "1,200")


def test_a_length_that_is_the_papers_is_not_listed(project: Project) -> None:
    preset = project.preset
    same = preset.model_copy(
        update={
            "budgets": {name: 1200 if steps else 0 for name, steps in preset.budgets.items()},
            "text": preset.text.model_copy(update={"sequence_length": 4096}),
            "learning": preset.learning.model_copy(update={"batch_sequences": 32}),
        }
    )
    listed = found(replanned(project, preset=same))
    assert not {"steps of fusion", "tokens of fusion", "sequences a step"} & set(listed)


def listed(project: Project, table: str) -> dict[str, tuple[str, str]]:
    return {d.setting: (d.here, d.paper) for d in departures.departures(project, table)}


def test_widths_are_listed_where_the_table_changes_them(laptop: Project) -> None:
    widths = listed(laptop, "table4")
    assert widths["widths of the source"] == (
        "576, FFN 1536, 9 heads of 64 (3 key/value)",
        "4096, FFN 11008, 32 heads of 128",
    )
    assert widths["widths of the small models"] == (
        "384, FFN 1024, 6 heads of 64 (2 key/value)",
        "2560, FFN 6912, 20 heads of 128",
    )
    rate = laptop.run("lemon-width-2-2").learning.dimension_rate
    assert widths["rate of the dimension operators"] == (f"{rate:g}", "0.00005")
    assert not {"layers of the small models", "rate of the layer operator"} & set(widths)
    depth = listed(laptop, "table3")
    assert depth["layers of the small models"] == ("22 / 15", "24 / 16")
    assert not any("width" in setting or "dimension" in setting for setting in depth)


def test_pre_training_departs_in_its_own_rate_and_batch(laptop: Project) -> None:
    trained = listed(laptop, "figure4-left")
    assert trained["sequences a step of pre-training"] == ("4", "256")
    names = ("pretraining-lemon", "pretraining", "pretraining-cut", "scratch")
    found = [f"{laptop.preset.rates[name].weight_rate:g}" for name in names]
    rates = " / ".join(dict.fromkeys(found))
    assert trained["rate of pre-training"] == (rates, "0.0001")
    assert trained["sequences a step"] == ("4", "32")  # of fusion and pruning
    assert "rate of pre-training" not in listed(laptop, "table4")


def test_two_stages_depart_in_both(laptop: Project) -> None:
    both = listed(laptop, "small")
    assert both["layers of the small models"] == ("22", "24")
    assert both["widths of the small models"][1] == "2048, FFN 5504, 16 heads of 128"
    assert {"rate of the layer operator", "rate of the dimension operators"} <= set(both)
    budgets = laptop.preset.budgets
    steps = f"{budgets['fusion']} / {budgets['fusion-width']}"
    assert both["steps of fusion"] == (steps, "1,200")


@pytest.fixture(scope="module")
def paper(laptop: Project) -> Project:
    """The runs and tables with the settings of the preset `paper`."""
    return replanned(laptop, preset_name="paper", preset=load_project("paper", CONFIG).preset)


def test_the_papers_own_preset_has_the_papers_sizes(paper: Project) -> None:
    for table in ("table3", "table4", "small"):
        assert not any("widths" in name or "layers of" in name for name in listed(paper, table))
    for target, model in TARGET_MODELS.items():
        run = next(run.id for run in paper.runs.values() if run.row.target == target)
        assert published_shape(model) == paper.run(run).target_shape
    assert published_shape("LEMON-2.7B").num_parameters == 2_701_560_320  # calc_params of Table 5


def test_the_mapping_of_the_radii_and_its_reason(laptop: Project) -> None:
    found = radii_section(radii_settings(laptop, "table4"), laptop.source_shape().head_dim)
    [group] = found.groups
    lines = {name.text: [cell.text for cell in cells] for name, *cells in group.rows}
    assert {name: tuple(cells[:3]) for name, cells in lines.items()} == {
        "128-2": ("64", "2", "2"),
        "2-4": ("2", "4", "4"),
        "2-2": ("2", "2", "2"),
    }
    small = 49152 * 384 + 30 * (384 * (2 * 384 + 2 * 128) + 3 * 384 * 1024 + 2 * 384) + 384
    share = f"{100 * 30 * 512 * 768 / small:.1f} %"
    in_paper = f"{100 * 32 * 3456 * 5504 / 2_701_560_320:.1f} %"
    assert lines["2-2"][3:] == [share, in_paper]
    assert "r_a 128 is the head size of the paper's models" in found.note
    assert f"r_i = 2: {share} of the small model here, {in_paper} in the paper" in found.note
    assert radii_settings(laptop, "table3") == []


def test_the_papers_own_radii_need_no_reason(paper: Project) -> None:
    found = radii_settings(paper, "table4")
    assert all(one.share == one.paper_share for one in found)
    section = radii_section(found, paper.source_shape().head_dim)
    assert section.note == "The paper states no r_h; here it is r_i."


def test_the_weight_of_the_lm_loss_is_of_runs_that_have_it(laptop: Project) -> None:
    for run, listed in (("come-hierarchical-75", False), ("cut-tuned-75", True)):
        found = departures.learned_departures(laptop, [laptop.run(run)], {})
        assert ("weight of the LM loss" in {one.setting for one in found}) == listed
