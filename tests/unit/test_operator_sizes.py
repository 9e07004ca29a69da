"""Table 1: counts with the square of r, beside what the paper prints."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lemon.architecture import LlamaShape
from lemon.configuration.load import siblings
from lemon.configuration.project import Project, dimension_cases
from lemon.configuration.stages import stage_params
from lemon.errors import BadInput
from lemon.plan import plan
from lemon.radii import Radii
from lemon.reporting.facts.operator_sizes import (
    ModelPair,
    family_lines,
    model_pairs,
    operator_sizes,
)
from lemon.reporting.numbers import millions
from lemon.reporting.tables.table import write_table

CONFIG = Path(__file__).parents[2] / "config"
LARGE = LlamaShape(32, 4096, 11008, 32, 32, 128, 32000)
SMALL = LlamaShape(32, 2560, 6912, 20, 20, 128, 32000)


@pytest.fixture(scope="module")
def tables(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_table(project, "table1", folder / "no-runs", folder)
    return folder


def seven(hidden: int, attention: int, ffn: int) -> ModelPair:
    """LLaMA-2 7B to 2.7B."""
    return ModelPair(None, "7B", "2.7B", LARGE, SMALL, "", Radii(hidden, attention, ffn))


def lines_of(pair: ModelPair) -> dict[str, dict[str, Any]]:
    return {line["operator"]: line for line in family_lines(pair)}


@pytest.mark.parametrize(
    ("radii", "squared", "first_power"),
    [
        ((2, 2, 2), "695.2M", "1390.4M"),
        ((2, 128, 2), "611.3M", "1225.3M"),
        ((2, 2, 4), "238.7M", "781.7M"),
        ((1, 1, 1), "2780.8M", "2780.8M"),
    ],
)
def test_seven_to_two_point_seven(
    radii: tuple[int, int, int], squared: str, first_power: str
) -> None:
    learned = [line for line in family_lines(seven(*radii)) if line["learned"] == "true"]
    counts = [sum(line[name] for line in learned) for name in ("count", "count_first_power")]
    assert [*map(millions, counts)] == [squared, first_power]


def test_the_families_by_hand() -> None:
    hidden, attention, ffn = family_lines(seven(2, 2, 2))[1:]
    assert hidden["count"] == 1280 * 2048 == 2_621_440
    assert attention["count"] == 32 * 1280 * 2048 == 83_886_080
    assert ffn["count"] == 32 * 3456 * 5504 == 608_698_368
    assert [line["count_first_power"] for line in (hidden, attention, ffn)] == [
        4096 * 2560 // 2,
        32 * 4096 * 2560 // 2,
        32 * 11008 * 6912 // 2,
    ]
    assert lines_of(seven(2, 128, 2))["attention"]["count"] == 32 * 20 * 32


def test_gamma_is_nine_matrices_and_the_identity_between_equal_depths() -> None:
    gamma = lines_of(seven(2, 2, 2))["layer"]
    assert (gamma["count"], gamma["count_first_power"]) == (9 * 32 * 32, 32 * 32)
    shallow = lines_of(seven(2, 2, 2)._replace(target=SMALL.with_depth(24)))["layer"]
    assert shallow["count"] == 9 * 24 * 32
    assert (gamma["learned"], shallow["learned"]) == ("false", "true")


def test_grouped_queries_make_the_attention_operator_smaller(project: Project) -> None:
    laptop = [pair for pair in model_pairs(project) if pair.preset == "laptop"]
    line = lines_of(next(pair for pair in laptop if pair.radii_name == "2-2"))["attention"]
    assert line["count"] == 30 * (3 * 64 // 2) * (2 * 64 // 2) == 184_320
    assert line["count_on_query_axis"] == 30 * (9 * 64 // 2) * (6 * 64 // 2)
    assert line["count_first_power"] == 2 * line["count"]


def test_every_preset_and_llama2_13b_are_there(project: Project) -> None:
    found = model_pairs(project)
    assert [pair.radii_name for pair in found] == ["128-2", "2-4", "2-2"] * 5
    assert {f.preset for f in found} == {None, "gpu", "laptop", "paper", "smoke"}
    (larger,) = {pair.target for pair in found if not pair.preset}
    assert larger == LlamaShape(40, 3200, 8704, 25, 25, 128, 32000)  # 62.5 % of 13824 is 8640


def test_differences_from_the_published_counts_are_zero(tables: Path) -> None:
    lines = pd.read_csv(tables / "table1.csv")
    beside = lines[lines["published_count"].notna()]
    assert list(beside["operator"]) == ["layer", "hidden", "attention", "intermediate"]
    assert set(beside["radii"]) == {"2-2"}
    assert set(beside["count_difference"]) == set(beside["first_power_difference"]) == {0}
    ratio = lines["count_first_power"] / lines["count"]
    width = lines["operator"] != "layer"
    radius = {"hidden": "radius_hidden", "attention": "radius_attention", "layer": "radius_ffn"}
    expected = lines.apply(lambda x: x[radius.get(x["operator"], "radius_ffn")], axis=1)
    assert (ratio[width] == expected[width]).all()


def test_the_paper_case_is_there_without_a_preset_of_its_sizes(project: Project) -> None:
    paper = next(sibling for sibling in siblings(project) if sibling.preset_name == "paper")
    smaller = paper.preset.targets["width-62"].model_copy(update={"hidden_size": 2048})
    targets = {**paper.preset.targets, "width-62": smaller}
    changed = replace(paper, preset=paper.preset.model_copy(update={"targets": targets}))
    first, *others = model_pairs(changed)
    assert (first.is_published, first.target_name) == (True, "LEMON-2.7B")
    assert not any(pair.is_published for pair in others)


def test_the_files_and_what_the_manifest_says_of_them(tables: Path) -> None:
    manifest = json.loads((tables / "table1.manifest.json").read_text())
    assert set(manifest["files"]) == {
        f"table1.{kind}" for kind in ("csv", "md", "tex", "html", "png")
    }
    assert set(manifest["settings"]["presets"]) == {"gpu", "laptop", "paper", "smoke"}
    assert (tables / "table1.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tables.iterdir())) == 6


@pytest.mark.parametrize("suffix", ["md", "html", "tex"])
def test_the_renderings_say_what_differs_from_the_paper(tables: Path, suffix: str) -> None:
    text = " ".join((tables / f"table1.{suffix}").read_text().split())
    for words in ("1390.4M against 695.2M", "is not trained", "grouped-query", "E20"):
        assert words in text
    assert "180 instead of 1,620" in text


def test_tex_and_markdown_rows_are_of_equal_length(tables: Path) -> None:
    text = (tables / "table1.tex").read_text()
    assert text.count("{") == text.count("}")
    for body in re.findall(r"\\toprule(.*?)\\bottomrule", text, flags=re.DOTALL):
        rows = [row for row in re.split(r"\\\\\n", body)[:-1] if "multicolumn" not in row]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
    blocks = (tables / "table1.md").read_text().split("\n\n")
    for block in blocks:
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_two_writings_are_the_same(project: Project, tables: Path, tmp_path: Path) -> None:
    write_table(project, "table1", tmp_path, tmp_path)
    for kind in ("csv", "md", "tex", "html", "png"):
        name = f"table1.{kind}"
        assert (tmp_path / name).read_bytes() == (tables / name).read_bytes()


def test_radii_that_do_not_fit_are_refused(project: Project) -> None:
    radii = project.preset.radii["2-2"].model_copy(update={"ffn": 5})
    preset = project.preset.model_copy(update={"radii": {**project.preset.radii, "2-2": radii}})
    changed = replace(project, preset=preset)
    with pytest.raises(BadInput, match=r"receptive field 5 .* does not divide"):
        operator_sizes(changed)
    less = {name: radii for name, radii in project.preset.radii.items() if name != "2-4"}
    preset = project.preset.model_copy(update={"radii": less})
    with pytest.raises(BadInput, match="preset laptop has no radii 2-4"):
        model_pairs(replace(project, preset=preset))


def test_a_mistake_in_another_preset_is_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "other.yaml").write_text("description: nothing else\n")
    with pytest.raises(BadInput, match=r"other\.yaml"):
        siblings(replace(project, config_dir=tmp_path))


def test_cases_are_those_whose_operators_learn(project: Project) -> None:
    cases = [("width-62", name) for name in ("128-2", "2-4", "2-2")]
    assert dimension_cases(project) == cases  # no 128-16, at which weights alone are trained


@pytest.mark.parametrize("table", ["table1", "table5"])
def test_a_changed_size_or_radius_of_another_preset_reruns(
    project: Project, table: str, tmp_path: Path
) -> None:
    def params(edits: dict[str, str]) -> str:
        for file in (CONFIG / "presets").glob("*.yaml"):
            text = file.read_text()
            for old, new in edits.items():
                text = text.replace(old, new) if file.stem == "smoke" else text
            (tmp_path / "presets" / file.name).write_text(text)
        return stage_params(replace(project, config_dir=tmp_path), "table", table)

    (tmp_path / "presets").mkdir()
    same = params({})
    assert same == stage_params(project, "table", table)
    assert '"runs"' not in same
    assert params({"width-62: {hidden_size: 50%": "width-62: {hidden_size: 75%"}) != same
    assert params({"'32-2': {attention: 50%}": "'32-2': {attention: 25%}"}) != same
    assert params({"{fusion: ": "{fusion: 1"}) == same


def test_plans_cope_with_tables_of_sizes(project: Project) -> None:
    assert "no runs" in plan(project, ["table1", "table5"]).text
    assert "lemon-width-2-2" in plan(project, list(project.tables)).text
