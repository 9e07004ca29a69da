"""Manifests written again, for tests of what is behind the check of their digests."""

from __future__ import annotations

from pathlib import Path

from lemon.files.manifest import read_manifest, sealed
from lemon.files.storage import write_json
from lemon.provenance import file_digest


def seal_again(manifest: Path, **changes: object) -> None:
    """Let a manifest agree with its files as they are now, and change some of its entries."""
    content = read_manifest(manifest)
    files = {name: file_digest(manifest.parent / name) for name in content["files"]}
    write_json(manifest, sealed({**content, "files": files, **changes}))
