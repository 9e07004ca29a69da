"""What a preset does otherwise than the paper, setting by setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from chained_table import PRUNING_STEPS, chained

from lemon.presets import Project, load_project
from lemon.reporting import departures

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def project() -> Project:
    return chained(load_project("laptop", CONFIG))


def found(project: Project) -> dict[str, tuple[str, str]]:
    return {d.setting: (d.here, d.paper) for d in departures.departures(project, "table3")}


def test_settings_that_differ_are_listed_beside_the_papers(project: Project) -> None:
    listed = found(project)
    assert listed["source model"] == (project.preset.source.label, "LLaMA2-7B")
    assert listed["layers of the small models"] == ("22", "24")
    assert listed["weight of the LM loss"][1] == "not stated"


def test_steps_and_tokens_of_learning(project: Project) -> None:
    fusion = project.steps("lemon-prune-75")
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
    assert listed["steps of fusion"] == (str(project.steps("lemon-prune-75")), "1,200")


def test_a_length_that_is_the_papers_is_not_listed(project: Project) -> None:
    preset = project.preset
    same = preset.model_copy(
        update={
            "budgets": {name: 1200 if steps else 0 for name, steps in preset.budgets.items()},
            "text": preset.text.model_copy(update={"sequence_length": 4096}),
            "learning": preset.learning.model_copy(update={"batch_sequences": 32}),
        }
    )
    listed = found(replace(project, preset=same))
    assert not {"steps of fusion", "tokens of fusion", "sequences a step"} & set(listed)
