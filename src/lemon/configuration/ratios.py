"""Convert targets and radii given as ratios to numbers for the source model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from lemon.architecture import LlamaShape
from lemon.configuration.preset import Preset, RadiiSettings, TargetSettings

LARGEST_UNIT = 128  # the head size of LLaMA-2: the paper's 62.5 % of 11008 neurons are 6912
FEWEST_UNITS = 8  # in a width, so that small models can be narrowed at all


def in_numbers(preset: Preset, source: LlamaShape) -> Preset:
    """The preset with every ratio of the source's sizes, in targets and radii, made a number."""
    radii = {name: _radii(settings, source.head_dim) for name, settings in preset.radii.items()}
    hidden = [settings.hidden or settings.ffn for settings in radii.values()]
    ffn = [settings.ffn for settings in radii.values()]
    units = {
        "hidden_size": width_unit(source.hidden_size, hidden),
        "intermediate_size": width_unit(source.intermediate_size, ffn),
    }
    radius = math.lcm(*_dividing(source.hidden_size, hidden))
    targets = {
        name: _target(target, source, units, radius) for name, target in preset.targets.items()
    }
    return preset.model_copy(update={"targets": targets, "radii": radii})


def width_unit(size: int, radii: Iterable[int] = ()) -> int:
    """The unit to whose multiples a width given as a ratio is rounded up.

    The largest power of two that divides the source's `size`, at most 128 and at most an eighth of
    the size; then made a multiple of every radius that divides `size`.
    """
    unit = math.gcd(size, LARGEST_UNIT)
    while unit > 1 and unit * FEWEST_UNITS > size:
        unit //= 2
    return math.lcm(unit, *_dividing(size, radii))


def _dividing(size: int, radii: Iterable[int]) -> list[int]:
    """The radii that cut a width of this size into whole blocks."""
    return [radius for radius in radii if size % radius == 0]


def _radii(settings: RadiiSettings, head_dim: int) -> RadiiSettings:
    """Receptive fields with a ratio of the head size converted to channels, at least one."""
    if not isinstance(settings.attention, str):
        return settings
    channels = max(1, int(_share(settings.attention) * head_dim))
    return settings.model_copy(update={"attention": channels})


def _target(
    target: TargetSettings, source: LlamaShape, units: dict[str, int], radius: int
) -> TargetSettings:
    """The target in numbers; `radius` is the smallest width that all radii on the stream divide.

    LLaMA's heads must divide its hidden size: 62.5 % of TinyLlama's 2048 are 1280, but its 24
    heads (32 in groups of 8) want a multiple of 24.
    """
    sizes = target.model_dump()
    if isinstance(sizes["num_attention_heads"], str) and sizes["num_key_value_heads"] is None:
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    units = {**units, "num_attention_heads": source.group_size, "num_key_value_heads": 1}
    numbers: dict[str, Any] = {}
    for name, size in sizes.items():
        if not isinstance(size, str):
            numbers[name] = size
        elif name == "num_hidden_layers":
            numbers[name] = max(1, int(_share(size) * source.num_hidden_layers))
        else:
            unit = units[name]
            numbers[name] = _rounded_up(_share(size) * getattr(source, name), unit)
    heads = numbers["num_attention_heads"] or source.num_attention_heads
    ratio = sizes["hidden_size"]
    if source.family == "llama" and isinstance(ratio, str) and numbers["hidden_size"] % heads:
        width = _share(ratio) * source.hidden_size
        numbers["hidden_size"] = _rounded_up(width, math.lcm(heads, radius))
    return target.model_copy(update=numbers)


def _rounded_up(size: Fraction, unit: int) -> int:
    return unit * math.ceil(size / unit)


def _share(ratio: str) -> Fraction:
    return Fraction(ratio.removesuffix("%")) / 100
