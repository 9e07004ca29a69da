"""MMLU as one task: the rows of all 57 subjects, each with the few-shot examples of its subject.

lm-eval has 57 tasks and data sets. Opened as one they take a second instead of a minute, with the
same prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lemon.data.benchmarks.mmlu_subjects import SUBJECTS
from lemon.errors import BadInput

SPLITS = ("test", "dev")


def subject_files(folder: Path) -> dict[str, list[str]]:
    """The files of a data set in a folder, by split, in the order of the subjects.

    The set has one config for each subject, or a single one named "all". Only generated rows
    (`generated: true` in the front matter) may lack subjects.

    Raises:
        BadInput: the front matter is missing or malformed, or subjects are missing.
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
    files: dict[str, list[str]] = {split: [] for split in SPLITS}
    for subject in subjects:
        for split in SPLITS:
            files[split] += _files(folder, subject, split, configs[subject])
    return files


def _files(folder: Path, config: str, split: str, data_files: Any) -> list[str]:
    """The files of one split of one config; its paths may be patterns."""
    listed = data_files if isinstance(data_files, list) else []
    entries = [entry for entry in listed if isinstance(entry, dict) and entry["split"] == split]
    patterns = [entry["path"] for entry in entries]
    names = [name for one in patterns for name in (one if isinstance(one, list) else [one])]
    found = sorted({path.resolve() for name in names for path in folder.glob(name)})
    if not found:
        raise BadInput(
            f"{folder}: the {split} rows of {config} are missing; prepare or mirror them again"
        )
    return [str(path) for path in found]


def in_turn(subjects: Sequence[str | None]) -> list[int]:
    """Row indices in round-robin order over the subjects, which are sorted by name.

    Args:
        subjects: the subject of each row; if all are None the rows keep their order.
    """
    seen: Counter[str | None] = Counter()
    turns = []
    for number, subject in enumerate(subjects):
        turns.append((seen[subject], subject or "", number))
        seen[subject] += 1
    return [number for _, _, number in sorted(turns)]
