"""What a tracker stores of one run, and its digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lemon.errors import BadInput
from lemon.provenance import file_digest
from lemon.tracking.metrics import Metric, rounded


@dataclass(frozen=True)
class Record:
    """One run of a tracker.

    Attributes:
        key: identifies the run; the same in every replay.
        started_ms, ended_ms: milliseconds since 1970, from the manifests and without the time that
            jobs waited; not in the digest.
        metrics: all values, step metrics in order.
        data: what was read, by name: `training` or `evaluation`, and its sha256.
        description: Markdown for the run's page.
        parent: the key of the record of which this one is a seed; not in the digest.
    """

    key: str
    name: str
    started_ms: int
    ended_ms: int
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    data: dict[str, tuple[str, str]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    description: str = ""
    parent: str | None = None

    @property
    def scores(self) -> dict[str, float]:
        """The metrics that have one value, at the run's end."""
        return {m.name: m.value for m in self.metrics if m.elapsed_ms is None}

    @property
    def digest(self) -> str:
        """A sha256 of the content, without the manifests of tables, which contain times."""
        files = [path for path in self.files if not path.name.endswith(".manifest.json")]
        content = {
            "name": self.name,
            **({"description": self.description} if self.description else {}),
            "params": self.params,
            "tags": self.tags,
            **({"data": self.data} if self.data else {}),
            "metrics": [[m.name, repr(float(m.value)), m.step] for m in self.metrics],
            "files": {path.name: file_digest(path) for path in files},
        }
        return content_digest(content)


def final_metrics(scores: dict[str, float]) -> list[Metric]:
    """Scores as metrics of a run's end, rounded."""
    return [Metric(name, rounded(value)) for name, value in scores.items()]


def code_tags(manifest: dict[str, Any]) -> dict[str, str | None]:
    """The commit that a manifest names, as tags."""
    code = manifest.get("code", {})
    return {"git_commit": code.get("commit"), "git_dirty": code.get("dirty")}


def content_digest(value: Any) -> str:
    """A sha256 of a value, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def finished_ms(manifest: dict[str, Any], place: Path) -> int:
    """When the job of a manifest ended; BadInput, naming `place`, if it says no time."""
    if (finished := manifest.get("finished")) is None:
        raise BadInput(
            f"{place}: the manifest of stage {manifest.get('stage')} says no time `finished`; it "
            "was not written by this program, remove it and rerun"
        )
    return round(1000 * datetime.fromisoformat(finished).timestamp())


def started_ms(manifest: dict[str, Any], place: Path) -> int:
    """When it began."""
    return finished_ms(manifest, place) - round(1000 * float(manifest.get("wall_s", 0)))
