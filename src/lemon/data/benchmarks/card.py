"""The front matter by which the README of a data set declares its files to `datasets`."""

from __future__ import annotations

from typing import Any

Configs = dict[str, dict[str, list[str]]]
"""Files by config and split."""


def front_matter(configs: Configs, **fields: Any) -> str:
    """The YAML block that declares these files, after other fields; a field of None is left out."""
    from huggingface_hub import DatasetCardData

    declared = [
        {
            "config_name": config,
            "data_files": [
                {"split": split, "path": files if len(files) > 1 else files[0]}
                for split, files in splits.items()
            ],
        }
        for config, splits in configs.items()
    ]
    return f"---\n{DatasetCardData(**fields, configs=declared).to_yaml()}\n---\n"
