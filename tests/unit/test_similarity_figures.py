"""Figures of layer similarity: their lines, floors, findings, files, and what they refuse."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_figures import falling_map, write_gamma, write_maps

from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.operators.algebra import Operators, factor_shapes
from lemon.operators.factor import Dense
from lemon.operators.file import save_operators
from lemon.reporting.facts.similarity_maps import map_of, similarity_lines, weights_floor
from lemon.reporting.figures.drawing import draw_figure
from lemon.reporting.figures.figure import gathered_numbers, write_figure, write_figure_numbers
from lemon.reporting.figures.figure_numbers import read_numbers
from lemon.similarity.cka import write_map

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "config"
LAYERS, KEPT = 30, 22


def verdicts(project: Project, figure: str, runs: Path) -> dict[str | None, str | None]:
    numbers = gathered_numbers(project, figure, runs)
    return {finding.claim: finding.verdict for finding in numbers.words.findings}


def test_the_map_of_attention_is_the_mean_of_its_matrices(project: Project, tmp_path: Path) -> None:
    spec = project.entry("figure2")
    assert isinstance(spec, FigureSpec)
    write_maps(project, "figure2", tmp_path, {"source": falling_map(LAYERS)})
    query = next(map for map in spec.maps if map.component == "q_proj" and map.measure == "plain")
    other = falling_map(LAYERS, reach=3)
    write_map(other, tmp_path / query.path, settings={}, started=time.monotonic())
    frame = similarity_lines(project, spec, tmp_path)
    parts = [map_of(frame, 0, f"{type}_proj", "plain") for type in "qkvo"]
    assert not np.allclose(parts[0], parts[1])
    np.testing.assert_allclose(map_of(frame, 0, "mha", "plain"), np.mean(parts, axis=0), atol=2e-6)
    assert len(frame) == 2 * 5 * LAYERS * (LAYERS + 1) / 2


def test_random_floors_by_hand(project: Project) -> None:
    """n = 576; q and o have 576 units, k and v 192, the FFN 1536."""
    shape = project.source_shape()
    assert weights_floor(shape, "mha") == pytest.approx((0.5 + 0.25 + 0.25 + 0.5) / 4)
    assert weights_floor(shape, "ffn") == pytest.approx(1536 / (1536 + 576))


def test_neighbours_closer_holds_of_a_falling_map_and_not_of_a_rising_one(
    project: Project, tmp_path: Path
) -> None:
    falling = falling_map(LAYERS)
    write_maps(project, "figure2", tmp_path, {"source": falling})
    assert verdicts(project, "figure2", tmp_path)["C22"] == "holds"
    rising = 1 - falling + np.eye(LAYERS)
    write_maps(project, "figure2", tmp_path, {"source": rising})
    assert verdicts(project, "figure2", tmp_path)["C22"] != "holds"


def test_ends_that_stand_apart_are_seen_at_equal_distance(project: Project, tmp_path: Path) -> None:
    alike = falling_map(LAYERS, reach=20)
    write_maps(project, "figure2", tmp_path, {"source": alike})
    assert verdicts(project, "figure2", tmp_path)["C23"] == "does not hold"
    apart = alike.copy()
    apart[[0, -1], :] = apart[:, [0, -1]] = 0.01
    np.fill_diagonal(apart, 1.0)
    write_maps(project, "figure2", tmp_path, {"source": apart})
    assert verdicts(project, "figure2", tmp_path)["C23"] == "holds"


@pytest.mark.parametrize(("reach", "verdict"), [(3.0, "holds"), (20.0, "does not hold")])
def test_the_bound_on_neighbours(
    project: Project, tmp_path: Path, reach: float, verdict: str
) -> None:
    """exp(-1 / 3) = 0.72 and exp(-1 / 20) = 0.95 beside the bound of 0.80."""
    write_maps(project, "figure2", tmp_path, {"source": falling_map(LAYERS, reach)})
    assert verdicts(project, "figure2", tmp_path)["C24"] == verdict


def test_a_kept_pattern_is_told_from_another(project: Project, tmp_path: Path) -> None:
    source = falling_map(LAYERS)
    corner, cut = source[:KEPT, :KEPT], np.eye(KEPT, LAYERS)
    for run in ("lemon-cut-75", "cut-75"):
        write_gamma(project, tmp_path, run, cut)
    other = 1 - corner + np.eye(KEPT)
    for fused, control, verdict in (
        (corner, other, "holds"),
        (other, corner, "does not hold"),
        (corner, corner, "not resolved"),  # as like the source as plain Cut, and no liker
    ):
        maps = {"source": source, "lemon-cut-75": fused, "cut-75": control}
        write_maps(project, "figure6", tmp_path, maps)
        assert verdicts(project, "figure6", tmp_path)["C26"] == verdict


def test_a_fused_model_is_compared_with_the_layers_that_lead_its_own(
    project: Project, tmp_path: Path
) -> None:
    """A model of the last layers is like the source's last corner, not its first."""
    source = falling_map(LAYERS)
    source[-8:, -8:] = 1 - falling_map(8) + np.eye(8)
    last = source[-KEPT:, -KEPT:]
    write_gamma(project, tmp_path, "lemon-cut-75", np.eye(KEPT, LAYERS, LAYERS - KEPT))
    write_gamma(project, tmp_path, "cut-75", np.eye(KEPT, LAYERS))
    write_maps(
        project,
        "figure6",
        tmp_path,
        {"source": source, "lemon-cut-75": last, "cut-75": source[:KEPT, :KEPT]},
    )
    measured = gathered_numbers(project, "figure6", tmp_path).words.findings[0].measured
    assert measured.count("map 1.000") == measured.count("(control) 1.000") == 2


@pytest.mark.parametrize(
    ("attention", "ffn", "verdict"),
    [
        ("falling", "blocks", "holds"),
        ("blocks", "falling", "does not hold"),
        ("blocks", "blocks", "not resolved"),
    ],
)
def test_outputs_of_ffn_form_blocks_and_those_of_attention_none(
    project: Project, tmp_path: Path, attention: str, ffn: str, verdict: str
) -> None:
    third = np.arange(LAYERS) // 10
    falling = falling_map(LAYERS)
    maps = {"falling": falling, "blocks": falling / 2 + (third[:, None] == third) / 2}
    figure = project.entry("figure-activations")
    assert isinstance(figure, FigureSpec)
    for map in figure.maps:
        shown = maps[attention if map.component == "mha" else ffn]
        write_map(shown, tmp_path / map.path, settings={}, started=time.monotonic())
    assert verdicts(project, "figure-activations", tmp_path)["F06"] == verdict


def test_two_sizes_with_one_profile(tmp_path: Path) -> None:
    """32 and 40 layers; the paper's preset has a second size of its own."""
    project = load_project("paper", CONFIG)
    maps = {"source": falling_map(32, reach=8), "second-size": falling_map(40, reach=10)}
    write_maps(project, "figure8", tmp_path, maps)
    assert verdicts(project, "figure8", tmp_path)["C27"] == "holds"
    maps["second-size"] = 1 - maps["second-size"] + np.eye(40)
    write_maps(project, "figure8", tmp_path, maps)
    assert verdicts(project, "figure8", tmp_path)["C27"] == "does not hold"


def test_a_model_fused_from_the_other_is_no_second_size(project: Project, tmp_path: Path) -> None:
    maps = {"source": falling_map(LAYERS), "lemon-prune-width": falling_map(LAYERS, reach=6)}
    write_width_operators(project, tmp_path, "lemon-prune-width")
    write_maps(project, "figure8", tmp_path, maps)
    [finding] = gathered_numbers(project, "figure8", tmp_path).words.findings
    assert (finding.claim, finding.verdict) == ("C27", "not tested at this preset")
    assert "fused from the first" in finding.measured


def write_width_operators(project: Project, runs: Path, run: str) -> None:
    """Operators of a run over widths, of which no layer operator is read."""
    planned, source = project.run(run), project.source_shape()
    target, radii = planned.target_shape, planned.radii
    factors = {
        name: Dense(torch.ones(sizes))
        for name, sizes in factor_shapes(source, target, radii).items()
    }
    operators = Operators.from_named(factors, source, target, radii)
    save_operators(
        runs / run / "operators.safetensors", operators, source_digest="0" * 64, method="lemon"
    )


def test_the_same_maps_give_the_same_files(project: Project, tmp_path: Path) -> None:
    write_maps(project, "figure7", tmp_path / "runs", {"source": falling_map(LAYERS)})
    for name in ("first", "second"):
        write_figure(project, "figure7", tmp_path / "runs", tmp_path / name)
    for suffix in ("csv", "facts.json", "png", "svg", "pdf"):
        file = f"figure7.{suffix}"
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    manifest = json.loads((tmp_path / "first" / "figure7.manifest.json").read_text())
    assert "source/similarity/weights/plain/gate_proj.csv" in manifest["inputs"]
    assert {d["setting"] for d in manifest["departures"]} == {"model"}


def test_the_caption_says_model_preset_run_matrices_and_floor(
    project: Project, tmp_path: Path
) -> None:
    write_maps(project, "figure2", tmp_path / "runs", {"source": falling_map(LAYERS)})
    write_figure_numbers(project, "figure2", tmp_path / "runs", tmp_path)
    caption = json.loads((tmp_path / "figure2.facts.json").read_text())["caption"]
    for words in ("laptop", "SmolLM2", "Run source", "q, k, v, o", "centred", "p / (p + n)", "7B"):
        assert words in caption


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such map; `lemon cka` writes it"),
        ("layer,0,1\n0,1.0,0.5\n", "not a square map"),
        ("layer,0,1\n0,1.0,x\n1,x,1.0\n", "not a map of `lemon cka`"),
        ("layer,0,1\n0,1.0,nan\n1,nan,1.0\n", "square map of finite numbers"),
    ],
)
def test_a_missing_or_damaged_map_is_named(
    project: Project, tmp_path: Path, text: str | None, words: str
) -> None:
    write_maps(project, "figure7", tmp_path, {"source": falling_map(LAYERS)})
    path = tmp_path / "source" / "similarity" / "weights" / "debiased" / "up_proj.csv"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
        manifest = path.with_suffix(".manifest.json")
        write_manifest(manifest, "cka", files=[path], started=time.monotonic())
    with pytest.raises(BadInput, match=f"up_proj.csv: .*{words}"):
        gathered_numbers(project, "figure7", tmp_path)


def test_a_picture_needs_only_its_numbers_and_facts(project: Project, tmp_path: Path) -> None:
    """Floors, the bound and the outlined blocks are in facts.json; the maps are in the CSV."""
    apart = falling_map(LAYERS, reach=2)
    apart[5:12, 5:12] += 0.4 * (1 - apart[5:12, 5:12])
    write_maps(project, "figure2", tmp_path, {"source": apart})
    write_figure_numbers(project, "figure2", tmp_path, tmp_path / "figures")
    numbers = read_numbers(tmp_path / "figures", "figure2")
    [panel] = numbers.words.panels
    assert (5, 11) in panel.blocks
    assert panel.floor == weights_floor(project.source_shape(), "mha")
    assert numbers.words.bound == 0.8
    outlines = [patch for axes in draw_figure(numbers).axes for patch in axes.patches]
    squares = [p for p in outlines if (p.get_x(), p.get_width()) == (4.5, 7)]
    assert len(squares) == 1
