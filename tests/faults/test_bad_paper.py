"""What may be wrong in `paper.yaml`: tables and figures that would fail when all runs are made."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_mistakes import PAPER, Mistake, edit, refusal, require_named

MISTAKES: dict[str, Mistake] = {
    "table without rows": (
        (
            PAPER,
            r"^  rows:\n    - {label: Source, runs: \[source\]}\n\ntable3",
            "  rows: []\n\ntable3",
        ),
        "dense.rows: is empty; a table has at least one row",
    ),
    "rows of an unknown table": (
        (PAPER, r"rows_of: \[methods, methods-trained, starts\]", "rows_of: [method]"),
        "figure-cost.rows_of: no table method, did you mean methods?",
    ),
    "rows of a figure": (
        (PAPER, r"rows_of: \[methods, methods-trained, starts\]", "rows_of: [figure2]"),
        "rows_of: figure2 is no accuracy_table, the only kind whose rows are shown",
    ),
    "figure of costs without tables": (
        (PAPER, r"  rows_of: \[methods, methods-trained, starts\]", "  rows_of: []"),
        "figure-cost.rows_of: names no table; name at least one",
    ),
    "figure of costs with rows": (
        (
            PAPER,
            r"  rows_of: \[methods",
            "  rows: [{label: S, runs: [source]}]\n  rows_of: [methods",
        ),
        "figure-cost.rows: has the rows of the tables in rows_of; leave rows out",
    ),
    "rows of tables in a table": (
        (PAPER, r"  costs: true", "  rows_of: [table3]"),
        "starts.rows_of: goes with quality_by_cost alone",
    ),
    "costs in a figure": (
        (PAPER, r"  rows_of: \[methods", "  costs: true\n  rows_of: [methods"),
        "figure-cost.costs: goes with accuracy_table alone",
    ),
    "table of an unknown run": (
        (PAPER, r"runs: \[cut-50\]", "runs: [ctu-50]"),
        "runs: no run ctu-50, did you mean cut-50?",
    ),
    "comparison of a run in no row": (
        (PAPER, r"second: cut-50", "second: cutt-50"),
        "second: cutt-50 fills no row of the table, did you mean cut-50?",
    ),
    "comparison of a row with itself": (
        (PAPER, r"second: cut-75", "second: lemon-cut-75"),
        "second: lemon-cut-75 and lemon-cut-75 fill the same row",
    ),
    "comparison with an unknown claim": (
        (PAPER, r"claim: C10", "claim: C100"),
        "claim: claims.csv has no C100, did you mean C10?",
    ),
    "comparison against the paper's order": (
        (PAPER, r"first: lemon-cut-75, second: cut-75", "first: cut-75, second: lemon-cut-75"),
        "first: the paper has it below the second (57.2 against 62.0)",
    ),
    "run in two rows": (
        (PAPER, r"runs: \[average-75\]", "runs: [cut-75]"),
        "runs: cut-75 fills more than one place",
    ),
    "task of a table named twice": (
        (PAPER, r"\[sciq, piqa, winogrande, arc_easy, logiqa\]", "[sciq, piqa, sciq]"),
        "table3.tasks: sciq is named 2 times; name it once",
    ),
    "run of another target": (
        (PAPER, r"runs: \[cut-50\]", "runs: [cut-small]"),
        "runs: cut-small has target small in runs.tsv, the row depth-50; they must be the same",
    ),
    "row of two methods": (
        (PAPER, r"runs: \[cut-50\]", "runs: [cut-50, average-50]"),
        "runs: average-50 is not cut-50 at another seed; give it a row of its own",
    ),
    "second size in a table": (
        (PAPER, r"runs: \[cut-50\]", "runs: [second-size]"),
        "runs: second-size is a second size, which figures compare and no table scores",
    ),
    "dense scores of another run": (
        (
            PAPER,
            r"^    - {label: Source, runs: \[source\]}\n\ntable3",
            "    - {label: C, target: depth-75, runs: [cut-75]}\n\ntable3",
        ),
        "dense.rows[0].runs: cut-75 is not the source model",
    ),
    "comparison named twice": (
        (
            PAPER,
            r"{claim: C14, first: cut-50, second: average-50}",
            "{first: lemon-cut-50, second: cut-50}",
        ),
        "second: compares the same rows as comparison ",
    ),
    "equivalence without a margin": (
        (PAPER, r"relation: equivalent\n      margin: .*\n", "relation: equivalent\n"),
        "relation: needs a margin, within which the rows count as equally good",
    ),
    "margin of an order": (
        (PAPER, r"      relation: equivalent\n", ""),
        "margin: goes with relation: equivalent alone",
    ),
    "two sizes without a margin": (
        (PAPER, r"claims: \[C27\]\n  margin: 0.1\n", "claims: [C27]\n"),
        "figure8.claims: C27 needs a margin, within which two sizes count as alike",
    ),
    "claim that is not of the figure": (
        (PAPER, r'          C27: "no second size', '          C26: "no second size'),
        "not_tested.C26: is not among the claims of the figure",
    ),
    "kept pattern without a control": (
        (PAPER, r"    - {label: Cut, run: cut-75, component: q_proj}\n", ""),
        "claims: C26 needs a control, plain Cut at the same sizes; add it as third panel",
    ),
    "published file of another form": (
        (PAPER, r"published: table3.csv", "published: table5.csv"),
        "table3.published: table5.csv lacks columns that accuracy_table reads: layers",
    ),
    "published file elsewhere": (
        (PAPER, r"published: table3.csv", "published: ../../x.csv"),
        "table3.published: '../../x.csv' is no name; take letters",
    ),
    "table with the name of a rule": (
        (PAPER, r"^table3:", "evaluate:"),
        "evaluate: is the name of a rule or of a target of make; name it otherwise",
    ),
    "no reference": (
        (PAPER, r"reference: \[Shear\]", "reference: []"),
        "table2.reference: must not be empty",
    ),
    "formula in a label": (
        (PAPER, r"label: LEMON-Prune, target: depth-75", 'label: "$x^{", target: depth-75'),
        "label: must not hold $, which figures read as a formula",
    ),
    "table of an unpublished row": (
        (
            PAPER,
            r"published_method: Avg, published_layers: 24",
            "published_method: Avg, published_layers: 25",
        ),
        "published_method: table3.csv has no row Avg at 25 layers",
    ),
    "figure of an unknown run": (
        (PAPER, r"run: source, component: mha", "run: sourse, component: mha"),
        "figure2.panels[0].run: no run sourse, did you mean source?",
    ),
    "figure of an unknown component": (
        (PAPER, r"run: source, component: mha", "run: source, component: mah"),
        "component: 'mah' is not known, did you mean mha?",
    ),
    "similarity of norms": (
        (PAPER, r"run: source, component: mha", "run: source, component: ln1"),
        "component: ln1 has no similarity; take one of q_proj",
    ),
    "layer operators of a run that learns none": (
        (PAPER, r"run: lemon-cut-75, component: ffn", "run: cut-75, component: ffn"),
        "run: cut-75 learns no layer operators; name a run of method lemon over depth",
    ),
    "panel shown twice": (
        (
            PAPER,
            r"{label: down, run: lemon-cut-75, component: down_proj}",
            "{label: d, run: lemon-cut-75, component: q_proj}",
        ),
        "figure10.panels[6]: shows what panel 1 shows; leave one of them out",
    ),
    "claim that is not measured": (
        (PAPER, r"claims: \[C26\]", "claims: [C25]"),
        "figure6.claims: C25 is not measured by weight_similarity; it measures C22",
    ),
    "claim named twice": (
        (PAPER, r"claims: \[C26\]", "claims: [C26, C26]"),
        "figure6.claims: C26 is named 2 times; name it once",
    ),
    "comparison of one panel": (
        (PAPER, r"claims: \[C22, C23, C24\]", "claims: [C26]"),
        "figure2.claims: C26 compares two panels, and there is one; add the other",
    ),
    "fused model that is none": (
        (PAPER, r"claims: \[C27\]", "claims: [C26]"),
        "figure8.claims: C26 compares fused models with the source; second-size is not fused",
    ),
    "second size that stands in for one": (
        (PAPER, r"run: lemon-prune-width$", "run: second-size"),
        "otherwise.run: second-size is a second size itself; name a run that every preset has",
    ),
    "second size without a stand-in": (
        (
            PAPER,
            r"{label: Source, run: source, component: mha}",
            "{label: X, run: second-size, component: mha}",
        ),
        "panels[0].run: second-size is a second size, which not every preset has; say in otherwise",
    ),
    "stand-in of what every preset has": (
        (PAPER, r"run: second-size", "run: source"),
        "panels[1].run: source is not a second size, and otherwise stands in for one alone",
    ),
    "stand-in that is no run": (
        (PAPER, r"run: lemon-prune-width$", "run: lemon-prune-widht"),
        "panels[1].otherwise.run: no run lemon-prune-widht, did you mean lemon-prune-width?",
    ),
    "neurons of attention": (
        (PAPER, r"(?<=: matched_correlation\n  panels:\n)(.*component: )ffn", r"\1mha"),
        "figure-matching.panels[0].component: the neurons of mha are not matched; take ffn",
    ),
    "claim of matched neurons": (
        (PAPER, r"(?<=  renderer: matched_correlation\n)", r"  claims: [F06]\n"),
        "F06 is not measured by matched_correlation; it measures no claim",
    ),
    "merges of a run that merges nothing": (
        (PAPER, r"{label: CoMe, run: come-50}", "{label: CoMe, run: cut-50}"),
        "panels[2].run: cut-50 merges no layers in rounds; name a run of come, come-posterior",
    ),
    "merges of an unknown run": (
        (PAPER, r"{label: CoMe, run: come-50}", "{label: CoMe, run: come-51}"),
        "panels[2].run: no run come-51, did you mean come-",
    ),
    "merges shown twice": (
        (PAPER, r"{label: CoMe, run: come-50}", "{label: CoMe, run: come-75}"),
        "figure-merges.panels[2].run: is shown by panel 1; leave one of them out",
    ),
    "figure with an unknown claim": (
        (PAPER, r"claims: \[C22, C23, C24\]", "claims: [C22, C230]"),
        "claims: claims.csv has no C230, did you mean C30?",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_tables_and_figures_is_named_with_its_line(
    name: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_named(MISTAKES[name], config, capsys)


def test_blocks_are_found_by_several_matrix_types(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(config / PAPER, r"run: source, component: mha", "run: source, component: q_proj")
    expected = "figure2.claims: C23 needs several matrix types; let the first panel show mha or ffn"
    assert expected in refusal(config, capsys)


def test_outputs_are_compared_within_a_model(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = r"run: source, component: ffn}\n  claims: \[F06\]"
    edit(config / PAPER, last, "run: cut-75, component: ffn}\n  claims: [F06]")
    expected = "figure-activations.claims: F06 compares mha and ffn of one model; show them first"
    assert expected in refusal(config, capsys)
