"""Sizes of the given models of a preset, from their config.json or the preset.

A given model is used unchanged: the source, and the second size if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lemon.architecture import LlamaShape
from lemon.config_json import shape_of, sliding_window
from lemon.configuration.assets import Asset, HubAsset
from lemon.configuration.preset import Preset, ShapeSettings, SourceSettings
from lemon.configuration.yaml_files import Document, Problem
from lemon.errors import BadInput
from lemon.files.json_file import read_json
from lemon.files.names import path_fault

CONFIG = "config.json"


def given_models(preset: Preset) -> Iterator[tuple[str, SourceSettings]]:
    """The given models of a preset, each with its section of the preset."""
    yield "source", preset.source
    if preset.second_size is not None:
        yield "second_size", preset.second_size


def given_shape(settings: SourceSettings) -> LlamaShape:
    """The sizes of a given model; BadInput if they are unknown before a fetch, or inconsistent."""
    if settings.shape is None:
        raise BadInput(
            f"the sizes of {settings.label} are not known before it is fetched; run `lemon fetch "
            "--preset PRESET --out data/NAME/assets.lock.json` first, or state them in the preset "
            "under shape"
        )
    return LlamaShape(**settings.shape.model_dump())


def default_cache() -> Path:
    """The cache folder: `$LEMON_CACHE`, else `~/.cache/lemon`."""
    return Path(os.environ.get("LEMON_CACHE") or Path.home() / ".cache" / "lemon")


def with_shapes(
    preset: Preset, document: Document, assets: Mapping[str, Asset], problems: list[Problem]
) -> Preset:
    """The preset with the sizes of those given models whose config.json is on this machine.

    Each size that differs from the one stated in the preset becomes a problem, and so does a
    sliding window shorter than the training sequences.
    """
    read = {}
    for section, model in given_models(preset):
        try:
            config = _config(model, assets)
            if config is None:
                continue
            found = shape_of(config)
        except BadInput as error:
            problems.append(document.problem((section, "path"), str(error)))
            continue
        for size, value in dict(model.shape or ()).items():
            if value != getattr(found, size):
                message = f"is {value}, but the model's {CONFIG} says {getattr(found, size)}"
                problems.append(document.problem((section, "shape", size), message))
        window = sliding_window(config)
        if section == "source" and window is not None and preset.text.sequence_length > window:
            message = (
                f"is {preset.text.sequence_length}, longer than the sliding window of the source, "
                f"{window} tokens; give at most {window}"
            )
            problems.append(document.problem(("text", "sequence_length"), message))
        shape = ShapeSettings(**vars(found))
        read[section] = model.model_copy(update={"shape": shape})
    return preset.model_copy(update=read)


def _config(model: SourceSettings, assets: Mapping[str, Asset]) -> dict[str, Any] | None:
    """The config.json of a model; None if it is not on this machine."""
    if model.kind == "folder" and model.path is not None:
        if fault := path_fault(model.path):
            raise BadInput(fault)
        path = Path(model.path) / CONFIG
        return read_json(path, dict[str, Any], "name a Hugging Face model folder")
    asset = assets.get(model.asset or "")
    if model.kind != "hub" or not isinstance(asset, HubAsset):
        return None
    commits = default_cache() / "hub" / asset.repo_type / asset.repo
    found = list(commits.glob(f"*/{CONFIG}"))
    pinned = [path for path in found if path.parent.name == asset.revision] or found
    try:
        (path,) = pinned  # of several commits, only `lemon fetch` knows the right one
        return read_json(path, dict[str, Any], "fetch it again")
    except (ValueError, BadInput):
        return None  # `lemon fetch` replaces damaged files
