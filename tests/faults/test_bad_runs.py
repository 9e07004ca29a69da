"""Runs that can't be made: refused, before any job starts, with the cell and what is legal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from config_mistakes import LAPTOP, RUNS, Mistake, edit, refusal, require_named

MISTAKES: dict[str, Mistake] = {
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
        "radii: shear keeps single channels; write - and give radii to what starts from it",
    ),
    "unknown target": (
        (RUNS, r"^cut-50\tcut\t-\tdepth-50", "cut-50\tcut\t-\tdeep-50"),
        "target: unknown target deep-50, did you mean depth-50?",
    ),
    "unknown budget": (
        (RUNS, r"^(lemon-cut-50\t.*)\tfusion", r"\1\tfushion"),
        "steps: unknown budget fushion, did you mean fusion?",
    ),
    "unknown radii": (
        (RUNS, r"^(lemon-width-32-4\t.*)\t32-4\t", r"\1\t32-5\t"),
        "radii: unknown radii 32-5, did you mean 32-4?",
    ),
    "random layers of another width": (
        (RUNS, r"^(random-75-s0\trandom\t-)\tdepth-75", r"\1\twidth-62"),
        "target: random removes layers only, and width-62 changes widths; take a target that does "
        "not (depth-75, depth-50, depth-93, depth-83, depth-60), or the method cut",
    ),
    "averages of another width": (
        (RUNS, r"^(average-50\taverage\t-)\tdepth-50", r"\1\tsmall"),
        "target: average removes layers only, and small changes widths; take a target that does "
        "not (depth-75, depth-50, depth-93, depth-83, depth-60), or the method cut",
    ),
    "a start by layers for other widths": (
        (RUNS, r"^(lemon-width-32-4\tlemon)\tcut\t", r"\1\trandom\t"),
        "target: random removes layers only, and width-62 changes widths; take a target that does "
        "not (depth-75, depth-50, depth-93, depth-83, depth-60), or the method cut",
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
    "id twice": ((RUNS, r"^cut-50\t", "cut-75\t"), "id: cut-75 is already on line 4"),
    "unknown rates": (
        (RUNS, r"^(shear-width\t.*)\tshear-width\t", r"\1\tshear-wide\t"),
        "rates: unknown rates shear-wide, did you mean shear-width?",
    ),
    "rates where nothing is learned": (
        (RUNS, r"^(cut-50\t.*)\t-\t0\t", r"\1\tweights\t0\t"),
        "rates: cut learns nothing; write -",
    ),
    "columns missing": (
        (RUNS, r"^cut-50\tcut\t-", "cut-50\tcut"),
        "has 8 tab-separated cells, not 9",
    ),
    "source that is no run": (
        (RUNS, r"^(cut-50\t.*)\tsource$", r"\1\tsauce"),
        "source: no run sauce, did you mean source?",
    ),
    "fused from the second size": (
        (RUNS, r"^(cut-50\t.*)\tsource$", r"\1\tsecond-size"),
        "source: second-size is only compared with the source; nothing is fused from it",
    ),
    "second run of the source": (
        (RUNS, r"^random-75-s2\t.*", "random-75-s2\tsource\t-\t-\t-\tnone\t-\t0\t-"),
        "method: source is this model already; name that run instead of a second one",
    ),
    "start of other radii": (
        (RUNS, r"^(lemon-width-2-4\tlemon\t)cut", r"\1lemon-width-2-2"),
        "start: lemon-width-2-2 has radii 2-2, this run 2-4; they must be the same",
    ),
    "start over weights of its own": (
        (RUNS, r"^(cut-tuned-75\ttuned\t)cut", r"\1lemon-come-75"),
        "start: lemon-come-75 learned over rearranged weights of its own, which this run has not; "
        "name lemon-come-75 in source",
    ),
    "weights that would untie": (
        (RUNS, r"^(come-hierarchical-75\thierarchical\t)come-75", r"\1ff-merge-75"),
        "start: ff-merge-75 ties FFNs, and weights of its model that train would untie them",
    ),
    "hidden states under learned operators": (
        (RUNS, r"^(come-hierarchical-75\thierarchical\t)come-75", r"\1lemon-cut-75"),
        "start: lemon-cut-75 learned operators, whose layers each stand for all source layers",
    ),
    "start over a fused model of its own": (
        (RUNS, r"^(cut-tuned-75\ttuned\t)cut", r"\1come-hierarchical-75"),
        "start: come-hierarchical-75 learned over rearranged weights of its own, which this run "
        "has not; name come-hierarchical-75 in source",
    ),
    "stage that would untie": (
        (RUNS, r"^(average-tuned-75\t.*\t)average-75$", r"\1ff-merge-75"),
        "source: ff-merge-75 ties FFNs, and a further stage would untie them",
    ),
    "ties for other widths": (
        (RUNS, r"^(ff-merge-middle-75\tff-merge-middle\t-\t)depth-75", r"\1width-62"),
        "target: ff-merge-middle spares the parameters that fewer layers would have less, and "
        "width-62 does not have fewer layers of the same widths",
    ),
    "layers dropped by a method of widths": (
        (RUNS, r"^(minitron-width\tminitron\t-\t)width-62", r"\1small"),
        "target: minitron keeps all layers, and small drops some; take a target of widths",
    ),
    "weights trained over widths and layers": (
        (RUNS, r"^(cut-tuned-width\ttuned\tcut\t)width-62\t128-16", r"\1small\t-"),
        "target: small changes both the widths and the layers of what is fused",
    ),
    "pre-training of other sizes": (
        (RUNS, r"\tpretraining\t0\tshear-small", "\tpretraining\t0\tshear-width"),
        "shear-width has other",
    ),
    "from scratch like a run": (
        (RUNS, r"^(scratch-small\tscratch\t.*)\tsource$", r"\1\tcut-small"),
        "cut-small is no source model, of whose family",
    ),
    "folder that is taken": (
        (RUNS, r"^cut-50\t", "tracking\t"),
        "id: tracking is the folder, beside those of runs, of what was recorded",
    ),
    "id of two words": (
        (RUNS, r"^cut-50\t", "cut 50\t"),
        "id: 'cut 50' is no name; take letters, digits and . _ - alone",
    ),
    "id that leaves the folder": (
        (RUNS, r"^cut-50\t", "../cut-50\t"),
        "id: '../cut-50' is no name",
    ),
    "id that is a command": (
        (RUNS, r"^cut-50\t", "$(touch pwn)\t"),
        "id: '$(touch pwn)' is no name",
    ),
    "id that is long": ((RUNS, r"^cut-50\t", "c" * 65 + "\t"), "is no name"),
    "seed in other digits": (
        (RUNS, r"^(random-75-s2\t.*)\t2\t", "\\1\t\u0663\t"),
        "seed: must be a whole number, not '\u0663'",
    ),
    "seed of many digits": (
        (RUNS, r"^(random-75-s2\t.*)\t2\t", r"\1\t" + "9" * 5000 + r"\t"),
        "seed: must be a whole number, not '9999",
    ),
    "seed of more than 64 bits": (
        (RUNS, r"^(random-75-s2\t.*)\t2\t", rf"\1\t{2**63}\t"),
        f"seed: must be at most {2**63 - 1:,}, not {2**63}",
    ),
    "control character": (
        (RUNS, r"^cut-50\t", "cut\x1b[31m-50\t"),
        "holds the control character U+001B; remove it",
    ),
    "direction mark": ((RUNS, r"^cut-50\t", "cut\u202e-50\t"), "id: 'cut\\u202e-50' is no name"),
    "radii of zero": (
        (LAPTOP, r"'32-2': \{attention: 25%", "'32-2': {attention: 0"),
        "radii.32-2.attention: must be at least 1, not 0",
    ),
    "radii below zero": (
        (LAPTOP, r"ffn: 4\}", "ffn: -4}"),
        "radii.128-4.ffn: must be at least 1, not -4",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_run_is_named_with_its_line(
    name: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_named(MISTAKES[name], config, capsys)


RADII = {
    "hidden": (
        (r"ffn: 16\}", "ffn: 16, hidden: 5}"),
        "128-16: receptive field 5 on the hidden axis does not divide its sizes 576 and 384; legal "
        "values are 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 192",
    ),
    "FFN": (
        (r"('32-2': .*)ffn: 2", r"\1ffn: 5"),
        "32-2: receptive field 5 on the ffn axis does not divide its sizes 1536 and 1024; legal "
        "values are 1, 2, 4, 8, 16, 32, 64, 128, 256, 512",
    ),
    "heads": (
        (r"attention: 100%", "attention: 128"),
        "128-2: receptive field 128 on the key_value axis does not divide its sizes 192 and 128; "
        "legal values are 1, 2, 4, 8, 16, 32, 64",
    ),
    "heads cut unevenly": (
        (
            r"num_attention_heads: 9(,\n *num_key_value_heads: )3(, head_dim: )64"
            r"((.*\n)*?.*?)attention: 100%",
            r"num_attention_heads: 18\g<1>6\g<2>24\3attention: 16",
        ),
        "128-2: receptive field 16 on the key_value axis cuts heads of 24 channels unevenly; legal "
        "values are 1, 2, 3, 4, 6, 8, 12, 24, 48",
    ),
    "half a head": (
        (r"head_dim: 64((.*\n)*?.*?)attention: 100%", r"head_dim: 24\1attention: 8"),
        "128-2: receptive field 8 on the key_value axis does not divide half a head (12 channels), "
        "and fusion.rotary_halves is tied; legal values are 1, 2, 3, 4, 6, 12, 24",
    ),
}


@pytest.mark.parametrize("name", RADII)
def test_radii_that_do_not_fit_name_their_axis_and_what_is_legal(
    name: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The radii are the preset's, and the runs are what can't do with them."""
    (pattern, text), expected = RADII[name]
    edit(config / LAPTOP, pattern, text)
    message = refusal(config, capsys)
    assert re.search(rf"^  runs.tsv:\d+ radii: {re.escape(expected)}$", message, re.MULTILINE)


def test_masks_with_nothing_to_drop(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The target is the preset's; all five runs of Shear at this depth can't do with it."""
    edit(config / LAPTOP, r"num_hidden_layers: 50%", "num_hidden_layers: 100%")
    message = refusal(config, capsys)
    assert message.count("target: depth-50 is as large as the source; masks need a target") == 5
    assert "runs.tsv" in message


@pytest.mark.parametrize("size", ["depth-75", "width-62"])
def test_nothing_to_learn(size: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The target is the preset's, and what learns operators or weights can't do with it."""
    edit(config / LAPTOP, rf"^  {size}: .*", f"  {size}: {{}}")
    message = refusal(config, capsys)
    assert f"target: {size} is as large as what is fused; there is nothing to learn" in message
