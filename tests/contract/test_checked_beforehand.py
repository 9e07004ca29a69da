"""What is checked before any job starts is what the jobs themselves can do."""

from __future__ import annotations

import re
from pathlib import Path

from lemon.configuration import preset_checks, rendering_checks, table_checks
from lemon.configuration.figure_specs import BLOCKS, CLAIMS, OF_CURVES, OUTPUTS, PAIRED, SIZES
from lemon.configuration.tasks import ABLATION, FOLDERS
from lemon.published.tables import published_table

ROOT = Path(__file__).parents[2]


def test_what_can_be_generated() -> None:
    from lemon.data import synthetic

    assert set(preset_checks.GENERATED_DOMAINS) == set(synthetic.DOMAINS)
    assert set(preset_checks.GENERATED_TASKS) == set(synthetic.ROWS)


def test_the_claims_of_figures() -> None:
    from lemon.reporting.claims import curves
    from lemon.reporting.claims.similarity import MEASURED
    from lemon.reporting.figures.figure import RENDERERS

    assert set(CLAIMS["weight_similarity"]) == set(MEASURED) - {OUTPUTS}
    assert set(CLAIMS["activation_similarity"]) == set(MEASURED) - {BLOCKS}
    assert {*PAIRED, BLOCKS, OUTPUTS, SIZES} <= set(MEASURED)
    assert set(OF_CURVES) == set(curves.MEASURED)
    without = {"receptive_field_grid", "scores_by_tokens", "tune_curves", "quality_by_cost"}
    without |= {"layer_merges"}
    assert set(CLAIMS) == set(RENDERERS) - without


def test_the_smallest_models() -> None:
    from lemon.similarity import cka, layer_pairs

    assert rendering_checks.FEWEST_LAYERS == layer_pairs.FEWEST_LAYERS
    assert rendering_checks.FEWEST_ROWS == cka.FEWEST_COORDINATES


def test_the_names_that_no_table_can_have() -> None:
    rules = {"all", *(f"evaluate_{suite}" for suite in FOLDERS if suite != ABLATION), "evaluate"}
    # Made in a loop, like suites.
    rules |= {"pretrain", "pretrain_with_snapshots", "check_results", "everything"}
    for file in (ROOT / "workflow").rglob("*.smk"):
        rules |= set(re.findall(r"^ *rule (\w+):", file.read_text(), flags=re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony
    assert rules | set(phony[1].split()) == table_checks.RULES


def test_the_columns_of_published_files() -> None:
    from lemon.configuration.paper import TableSpec

    kinds = TableSpec.model_fields["renderer"].annotation
    assert set(table_checks.COLUMNS) == set(kinds.__args__)  # type: ignore[union-attr]
    published = [path.stem for path in (ROOT / "src/lemon/published").glob("*.csv")]
    for columns in table_checks.COLUMNS.values():
        assert any(columns <= published_table(name)[0].keys() for name in published)
