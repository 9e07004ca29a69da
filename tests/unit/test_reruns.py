"""What makes a stage run again: a changed setting reruns exactly what it decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from config_mistakes import ASSETS, LAPTOP, RUNS, edit

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.configuration.stages import RULE_VERSIONS, stage_params

SHEAR = ("shear", "shear-tokens", "shear-time", "sheared-shear-tokens")
# What starts from a shear run, under either stage that could be asked about it.
AFTER_DEPTH_SHEAR = {
    f"{stage}/{run}"
    for stage in ("build", "learn")
    for run in (
        *(
            f"{run}-{depth}"
            for run in (
                *("shear-selection", "lemon-prune"),
                *("lemon-prune-trained", "lemon-prune-trained-time"),
                *("prune-tuned", "prune-tuned-time"),
            )
            for depth in (75, 50)
        ),
        *(f"lemon-prune-{depth}" for depth in (93, 83, 60)),
        *(f"sheared-lemon-prune-{depth}" for depth in (75, 50)),
        *(f"{run}-{depth}" for run in ("aligned", "lemon-aligned") for depth in (75, 50)),
    )
}
SWEPT = {
    *(f"learn/shear-{depth}" for depth in (93, 83, 60)),
    *(f"learn/sheared-shear-{depth}" for depth in (75, 50)),
}


def _params(project: Project) -> dict[str, str]:
    once = [run for run in project.runs if run.startswith("random") or run[-3:-1] != "-s"]
    trained = [name for name in once if project.run(name).method.pretrains]
    once = [name for name in once if name not in trained]
    keys = {"learn": once, "build": once, "pretrain": trained, "evaluate": ["cut-75"]}
    keys |= {"table": ["table3"]}
    params = {
        f"{stage}/{key}": stage_params(project, stage, key)
        for stage in RULE_VERSIONS
        if stage != "trial"
        for key in keys.get(stage, ["source" if stage == "fuse" else "table3"])
    }
    for suite in ("main", "dense"):
        params[f"evaluate-{suite}/cut-75"] = stage_params(project, "evaluate", "cut-75", suite)
    return params


def _changed(config: Path, before: Project) -> set[str]:
    after = _params(load_project("laptop", config))
    return {stage for stage, params in _params(before).items() if after[stage] != params}


def test_comments_and_order_change_nothing(config: Path, laptop: Project) -> None:
    edit(config / LAPTOP, r"^  (batch_.*\n)  (microbatch_.*\n)", r"  \2  \1")
    edit(config / LAPTOP, r"^learning:", "# another comment\n\nlearning:")
    edit(config / ASSETS, r"^  licence: Apache-2.0\n", "  licence: Apache License 2.0\n")
    assert _changed(config, laptop) == set()
    assert load_project("laptop", config).digest() != laptop.digest()  # the licence is content


@pytest.mark.parametrize(
    ("file", "pattern", "text", "stages"),
    [
        (LAPTOP, r"^  checkpoint_every: \d+", "  checkpoint_every: 7", set()),
        (
            LAPTOP,
            r"^  both-pruned: .*",
            "  both-pruned: {layer_rate: 0.1, weight_rate: 0.1}",
            {f"learn/lemon-prune-trained-{depth}" for depth in ("75", "50", "time-75", "time-50")},
        ),
        (
            LAPTOP,
            r"^  weights: .*",
            "  weights: {weight_rate: 0.5}",
            {
                f"learn/{start}-{kind}-{depth}"
                for start in ("cut", "random", "average")
                for kind in ("tuned", "tuned-time")
                for depth in (75, 50)
            }
            | {"learn/cut-tuned-small", "pretrain/cut-tuned-small-pretrained"},
        ),
        (
            LAPTOP,
            r"^  pretraining-cut: .*",
            "  pretraining-cut: {weight_rate: 0.5}",
            {f"pretrain/cut-{run}-pretrained" for run in ("tuned-width", "tuned-small", "width")},
        ),
        (
            LAPTOP,
            r"^  shear: .*",
            "  shear: {mask_rate: 0.7}",
            {
                *(f"learn/{run}-{depth}" for run in SHEAR for depth in (75, 50)),
                *AFTER_DEPTH_SHEAR,
                *SWEPT,
            },
        ),
        (
            LAPTOP,
            r"pruning: \d+",
            "pruning: 7",
            {"learn/shear-75", "learn/shear-50", *AFTER_DEPTH_SHEAR, *SWEPT},
        ),
        (
            LAPTOP,
            r"'32-4': \{attention: 25%",
            "'32-4': {attention: 8",
            {"build/lemon-width-32-4", "learn/lemon-width-32-4"},
        ),
        (
            LAPTOP,
            r"^rates:",
            "fusion: {stage_teacher: previous}\nrates:",
            {
                f"{stage}/{run}"
                for stage in ("build", "learn")
                for run in (
                    *("lemon-small-width-first", "lemon-small-depth-first"),
                    *("average-tuned-75", "average-tuned-50", "cut-tuned-small"),
                    *("average-tuned-time-75", "average-tuned-time-50"),
                    *("come-tuned-75", "come-tuned-50"),
                )
            }
            | {f"pretrain/{run}-small-pretrained" for run in ("lemon", "cut-tuned")},
        ),
        (LAPTOP, r"^rates:", "calibration: {window_stride: 1}\nrates:", set()),
        (
            LAPTOP,
            r"^rates:",
            "calibration: {window_stride: 2}\nrates:",
            {
                f"{stage}/{run}"
                for stage in ("build", "learn")
                for depth in (75, 50)
                for run in (
                    *(f"window-drop-{depth}", f"window-drop-tuned-{depth}"),
                    *(f"ff-merge-{depth}", f"ff-merge-vanilla-{depth}", f"ff-merge-tuned-{depth}"),
                    f"lemon-ff-merge-{depth}",
                    *("ff-merge-middle-75", "ff-merge-last-75"),
                )
            },
        ),
        (
            LAPTOP,
            r"^  widths: .*",
            "  widths: {dimension_rate: 0.002}",
            {
                *(f"learn/lemon-width-{a}-{f}" for a in (128, 32, 2) for f in (2, 4, 16)),
                *("learn/lemon-prune-width", "learn/lemon-width-small"),
                "learn/lemon-minitron-width",
                *("build/lemon-small-width-first", "learn/lemon-small-width-first"),
                "learn/lemon-small-depth-first",
                *("pretrain/lemon-width-2-2-pretrained", "pretrain/lemon-small-pretrained"),
                *("learn/lemon-width-2-2-long", "pretrain/lemon-width-2-2-long-pretrained"),
            },
        ),
        (LAPTOP, r"^  limit: \d+", "  limit: 50", {"evaluate/cut-75", "evaluate-main/cut-75"}),
        (LAPTOP, r"^  limit: 200", "  limits: {mmlu: 228}\n  limit: 200", {"evaluate-main/cut-75"}),
        (
            LAPTOP,
            r"^  limit: 200",
            "  dense: {limit: 500}\n  limit: 200",
            {"evaluate-dense/cut-75"},
        ),
        (
            LAPTOP,
            r"^  limit: 200",
            "  fewshot: drawn\n  limit: 200",
            {"evaluate-main/cut-75", "evaluate-dense/cut-75"},
        ),
        (
            RUNS,
            r"^(random-50-s2\t.*)\t2\t",
            r"\1\t9\t",
            {
                "build/random-50-s2",
                "learn/random-50-s2",
                "table/table3",
                "figure_numbers/table3",
                "figure/table3",
                "track/table3",
            },
        ),
    ],
)
def test_a_setting_reruns_exactly_what_it_decides(
    config: Path, laptop: Project, file: str, pattern: str, text: str, stages: set[str]
) -> None:
    edit(config / file, pattern, text)
    assert _changed(config, laptop) == stages


def test_stage_params_are_canonical(laptop: Project) -> None:
    params = stage_params(laptop, "learn", "lemon-cut-75")
    assert params == json.dumps(json.loads(params), sort_keys=True, separators=(",", ":"))
