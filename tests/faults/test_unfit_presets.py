"""Presets that can't fill a table or figure: known before any job, and said of that one alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_mistakes import edit

from lemon.configuration.load import load_project
from lemon.configuration.rendering_checks import require_renderable
from lemon.errors import BadInput

SMOKE = "presets/smoke.yaml"
UNFIT = {
    "no task of the table": (
        r"tasks: \[sciq, .*\]",
        "tasks: [mmlu]",
        {"table3": "table3.tasks: the preset scores none of them (its evaluation.tasks are mmlu)"},
        ["table2", "dense", "figure2", "table1"],
    ),
    "thirds without pairs": (
        r"num_hidden_layers: 6",
        "num_hidden_layers: 5",
        {"figure2": "figure2.panels[0]: source is about 5 layers; at least 6 are needed"},
        ["table3", "figure5", "figure7", "figure8"],
    ),
    "maps of two layers": (
        r"(^targets:.*\n)((.*\n)*?  small: \{)",
        r"\1  depth-75: {num_hidden_layers: 2}\n\2num_hidden_layers: 2, ",
        {"figure6": "figure6.panels[1]: lemon-cut-75 is about 2 layers; at least 3 are needed"},
        ["table3", "figure2", "figure5"],
    ),
    "tokens too few": (
        r"(  sequence_length:) 32",
        r"\1 1",
        {
            "figure-activations": "panels: the held-out text gives 0 tokens; at least 4 are needed",
            "figure-matching": "panels: half of the held-out text gives 0 tokens; at least 2",
        },
        ["table3", "figure2"],
    ),
    "one held-out sequence": (
        r"(  heldout_sequences:) 8((.*\n)*?.*tune_sequences:) 2((.*\n)*?.*tune_sequences:) 2",
        r"\1 1\2 1\4 1",
        {"figure-matching": "panels: half of the held-out text gives 0 tokens; at least 2"},
        ["table3", "figure-activations"],
    ),
    "receptive fields alike": (
        r"(^radii:.*\n)",
        r"\1  '2-4': {ffn: 2}\n",
        {
            "figure4-right": "rows[7]: lemon-width-2-4 has r_a 2 and r_i 2 in this preset, as "
            "lemon-width-2-2 has"
        },
        ["table4", "table3"],
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_preset_is_refused_where_it_matters(name: str, config: Path) -> None:
    pattern, text, unfit, fit = UNFIT[name]
    edit(config / SMOKE, pattern, text)
    project = load_project("smoke", config)
    for entry, expected in unfit.items():
        with pytest.raises(BadInput) as refused:
            require_renderable(project, entry)
        assert f"{config}/paper.yaml:" in str(refused.value)
        assert expected in str(refused.value)
    for entry in fit:
        require_renderable(project, entry)


def test_a_grid_needs_operators(config: Path) -> None:
    paper = config / "paper.yaml"
    head, _, tail = paper.read_text().partition("figure4-right:")
    grid, _, rest = tail.partition("# Weights alone")
    kept = [part for part in grid.split("    - {") if "runs: [lemon-" not in part]
    paper.write_text(f"{head}figure4-right:{'    - {'.join(kept)}# Weights alone{rest}")
    with pytest.raises(BadInput, match="none of them learns dimension operators"):
        require_renderable(load_project("smoke", config), "figure4-right")


@pytest.mark.parametrize("preset", ["smoke", "laptop", "gpu", "paper"])
def test_the_committed_presets_fill_everything(preset: str) -> None:
    project = load_project(preset, Path(__file__).parents[2] / "config")
    for entry in project.tables:
        require_renderable(project, entry)
