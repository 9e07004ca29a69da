"""Presets on a base, targets and radii by ratio, and sizes that a model folder says itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lemon.architecture import LlamaShape
from lemon.configuration.learning_settings import RateSettings
from lemon.configuration.load import load_project
from lemon.configuration.preset import Preset, TargetSettings
from lemon.configuration.ratios import in_numbers, width_unit
from lemon.errors import BadInput

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def preset() -> Preset:
    return load_project("laptop", CONFIG).preset


@pytest.mark.parametrize(
    ("size", "radii", "unit"),
    [
        (11008, (2, 4, 16), 128),  # LLaMA-2 7B: 62.5 % of 11008 are 6880, and 6912 in the paper
        (13824, (), 128),  # LLaMA-2 13B
        (576, (2, 4, 16), 64),  # SmolLM2-135M, 9 heads of 64
        (64, (), 8),  # no more than an eighth
        (64, (16,), 16),  # what every radius divides
        (1536, (3,), 384),
        (1536, (5,), 128),  # 5 fits no width here, which is told of elsewhere
        (7, (), 1),
    ],
)
def test_widths_are_multiples_of_a_unit(size: int, radii: tuple[int, ...], unit: int) -> None:
    assert width_unit(size, radii) == unit


def test_the_papers_widths_come_from_the_ratio() -> None:
    project = load_project("paper", CONFIG)
    wide = project.shape_of("width-62")
    assert (wide.hidden_size, wide.intermediate_size) == (2560, 6912)
    assert (wide.num_attention_heads, wide.num_key_value_heads) == (20, 20)
    assert project.shape_of("depth-75").num_hidden_layers == 24


def test_layers_are_rounded_down_and_heads_up_to_whole_groups(preset: Preset) -> None:
    source = load_project("laptop", CONFIG).source_shape()
    ratios = {
        "num_hidden_layers": "62.5%",  # of 30: 18.75
        "num_attention_heads": "40%",  # of 9 heads in 3 groups: 1.2 groups
    }
    target = preset.targets["small"].model_copy(update={**ratios, "num_key_value_heads": None})
    changed = in_numbers(preset.model_copy(update={"targets": {"small": target}}), source)
    found = changed.targets["small"]
    assert found.num_hidden_layers == 18
    assert (found.num_attention_heads, found.num_key_value_heads) == (6, 2)


def test_heads_divide_the_hidden_size_of_a_llama(preset: Preset) -> None:
    tinyllama = LlamaShape(22, 2048, 5632, 32, 4, 64, 32000)
    written = TargetSettings(hidden_size="62.5%", num_attention_heads="62.5%")
    raw = preset.model_copy(update={"targets": {"width": written}})
    found = in_numbers(raw, tinyllama).targets["width"]
    assert (found.num_attention_heads, found.num_key_value_heads) == (24, 3)  # 20 in groups of 8
    assert (
        found.hidden_size == 1296
    )  # 27 * 48 >= 1280, the least that 24 heads and radius 16 divide
    qwen = in_numbers(raw, replace(tinyllama, family="qwen3")).targets["width"]
    assert qwen.hidden_size == 1280


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_child_gives_what_differs_and_null_takes_away(tmp_path: Path) -> None:
    first = write(
        tmp_path / "first.yaml",
        "base: smoke\nlearning: {beta1: 0.8}\ntext: {domains: {prose: {reader: generated, "
        "weight: 1}}}\nevaluation: {tasks: [sciq]}\nsecond_size: null\n",
    )
    write(
        tmp_path / "second.yaml",
        f"base: {first}\nlearning: {{beta2: 0.9}}\nrates: {{weights: {{weight_rate: 0.7}}}}\n"
        "targets: {depth-50: {num_hidden_layers: 2}}\n",
    )
    smoke = load_project("smoke", CONFIG).preset
    mine = load_project(tmp_path / "second.yaml", CONFIG).preset
    assert (mine.learning.beta1, mine.learning.beta2) == (0.8, 0.9)
    assert mine.learning.layer_rate == smoke.learning.layer_rate
    assert list(mine.text.domains) == ["prose"]
    assert mine.text.sequence_length == smoke.text.sequence_length
    assert mine.evaluation.tasks == ("sciq",)
    assert mine.second_size is None
    assert mine.rates == {**smoke.rates, "weights": RateSettings(weight_rate=0.7)}
    assert mine.targets["depth-50"].num_hidden_layers == 2
    assert mine.targets["depth-75"] == smoke.targets["depth-75"]


def test_an_entry_of_rates_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.yaml", "base: laptop\nrates: {both: {weight_rate: 0.5}, shear: {}}\n"
    )
    mine, laptop = (load_project(preset, CONFIG).preset for preset in (path, "laptop"))
    assert mine.rates["both"] == RateSettings(weight_rate=0.5)
    assert mine.rates["shear"] == RateSettings()
    assert mine.rates["operators"] == laptop.rates["operators"] != RateSettings()


def test_a_mistake_is_named_in_the_file_where_it_stands(tmp_path: Path) -> None:
    first = write(
        tmp_path / "first.yaml", "base: smoke\nlearning:\n  layer_rat: 1\n  beta1: 2\nseed: 0\n"
    )
    write(tmp_path / "second.yaml", f"base: {first}\nlearning: {{beta1: 3}}\nseed: x\n")
    with pytest.raises(BadInput) as refused:
        load_project(tmp_path / "second.yaml", CONFIG)
    message = str(refused.value)
    assert "the configuration has 3 mistakes" in message
    assert f"{first}:3 learning.layer_rat: unknown key, did you mean layer_rate?" in message
    assert f"{tmp_path}/second.yaml:2 learning.beta1: must be at most 1, not 3" in message
    assert f"{tmp_path}/second.yaml:3 seed: must be a whole number" in message


def test_a_model_of_the_hub_has_unknown_sizes_until_it_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEMON_CACHE", str(tmp_path / "cache"))
    mine = write(
        tmp_path / "mine.yaml",
        "base: gpu\nsource: {label: Mine, kind: hub, asset: smollm2-360m}\nsecond_size: null\n",
    )
    with pytest.raises(BadInput, match="the sizes of Mine are not known before it is fetched; run"):
        load_project(mine, CONFIG)
    assert "smollm2-360m" in load_project(mine, CONFIG, to_fetch=True).needed_assets()
    folder = tmp_path / "cache" / "hub" / "model" / "HuggingFaceTB" / "SmolLM2-360M" / ("0" * 40)
    folder.mkdir(parents=True)
    write(
        folder / "config.json",
        '{"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 960, "vocab_size": 49152, '
        '"intermediate_size": 2560, "num_attention_heads": 15, "num_key_value_heads": 5, '
        '"tie_word_embeddings": true}',
    )
    project = load_project(mine, CONFIG)
    assert project.source_shape().head_dim == 64
    assert project.shape_of("width-62").hidden_size == 576  # 60 %, a multiple of 64


def test_stated_sizes_are_held_against_the_folder(tmp_path: Path) -> None:
    write(
        tmp_path / "config.json",
        '{"model_type": "mistral", "num_hidden_layers": 6, "hidden_size": 64, "vocab_size": 512, '
        '"intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, '
        '"sliding_window": 16}',
    )
    mine = write(
        tmp_path / "mine.yaml",
        f"""\
base: smoke
source:
  label: Mine
  kind: folder
  path: {tmp_path}
  shape:
    num_hidden_layers: 6
    hidden_size: 96
    intermediate_size: 128
    num_attention_heads: 4
    num_key_value_heads: 4
    head_dim: 16
    vocab_size: 512
    tie_word_embeddings: false
""",
    )
    with pytest.raises(BadInput) as refused:
        load_project(mine, CONFIG)
    message = str(refused.value)
    assert "the configuration has 3 mistakes" in message
    assert f"{mine}:8 source.shape.hidden_size: is 96, but the model's config.json says 64" in (
        message
    )
    assert "source.shape.num_key_value_heads: is 4, but the model's config.json says 2" in message
    assert "text.sequence_length: is 32, longer than the sliding window of the source, 16" in (
        message
    )
