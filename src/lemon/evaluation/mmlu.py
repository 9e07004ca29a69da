"""MMLU as one task: the rows of all 57 subjects, each with the few-shot examples of its subject.

lm-eval has 57 tasks and data sets. Opened as one they take a second instead of a minute, with the
same prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from lemon.data.benchmarks.mmlu_subjects import SUBJECTS
from lemon.errors import BadInput

SPLITS = ("test", "dev")


def subject_files(folder: Path) -> dict[str, list[str]]:
    """The files of a data set in a folder, by split, in the order of the subjects.

    The set has one config for each subject, or a single one named "all". BadInput if its front
    matter is malformed, or subjects are missing, as only generated rows (`generated: true`) may.
    """
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    try:
        front: dict[str, Any] = metadata_load(card) or {}
        configs = {config["config_name"]: config["data_files"] for config in front["configs"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(
            f"{card}: its front matter doesn't name configs and their data files; prepare or "
            "mirror the rows again"
        ) from None
    subjects = [subject for subject in SUBJECTS if subject in configs]
    if len(subjects) < len(SUBJECTS) and "all" in configs:
        subjects = ["all"]
    elif not subjects or (len(subjects) < len(SUBJECTS) and not front.get("generated")):
        missing = [subject for subject in SUBJECTS if subject not in configs]
        raise BadInput(
            f"{card}: {len(missing)} of MMLU's {len(SUBJECTS)} subjects are missing "
            f"({', '.join(missing[:3])}, ...); mirror the whole data set"
        )
    return {
        split: [file for one in subjects for file in _files(folder, one, split, configs[one])]
        for split in SPLITS
    }


def _files(folder: Path, config: str, split: str, data_files: Any) -> list[str]:
    """The files of one split of one config; its paths may be patterns."""
    listed = data_files if isinstance(data_files, list) else []
    entries = [entry for entry in listed if isinstance(entry, dict) and entry["split"] == split]
    paths = [entry["path"] for entry in entries]
    names = [name for one in paths for name in (one if isinstance(one, list) else [one])]
    found = sorted({path.resolve() for name in names for path in folder.glob(name)})
    if not found:
        raise BadInput(
            f"{folder}: the {split} rows of {config} are missing; prepare or mirror them again"
        )
    return [str(path) for path in found]


def in_turn(subjects: Sequence[str | None]) -> list[int]:
    """Indices of rows with these subjects in round-robin order over the subjects, sorted by name.

    Rows without subjects keep their order.
    """
    turns: defaultdict[str | None, Iterator[int]] = defaultdict(count)
    keys = [(next(turns[subject]), subject or "") for subject in subjects]
    return sorted(range(len(keys)), key=keys.__getitem__)
