"""The README front matter that declares the files of a data set to `datasets`."""

from __future__ import annotations

from typing import Any

Configs = dict[str, dict[str, list[str]]]
"""Files by config and split."""


def front_matter(configs: Configs, **fields: Any) -> str:
    """The YAML front matter: `fields` that are not None, then the declaration of the files."""
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
