"""The files that a code host reads agree with the project: citation, hosted tests, forms, hooks."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(ROOT / name)
    return content


def test_the_citation_is_of_this_version() -> None:
    citation = read("CITATION.cff")
    # Required by the Citation File Format 1.2.0.
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"] and citation["title"]
    named = {"name", "family-names"}
    assert citation["authors"] and all(named & author.keys() for author in citation["authors"])
    assert citation["type"] == "software"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    paper = citation["references"][0]
    assert paper["type"] == "conference-paper" and paper["url"].endswith("2024.acl-long.434")
    assert all(author["family-names"] for author in paper["authors"])


def test_hosted_tests_and_hooks_call_make() -> None:
    """What they check is written once, in the Makefile."""
    job = read(".github/workflows/test.yml")["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test"]
    actions = [step["uses"].partition("@") for step in job["steps"] if "uses" in step]
    assert all(version[0] == "v" and version[1:].isdigit() for _, _, version in actions)
    python = next(step["with"] for step in job["steps"] if "python-version" in step.get("with", {}))
    assert f">={python['python-version']}" == PROJECT["requires-python"]
    assert (ROOT / python["cache-dependency-path"]).is_file()
    (hook,) = read(".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert hook["entry"] == "make style" and hook["pass_filenames"] is False


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_of_an_issue_can_be_filled_in(form: Path) -> None:
    content = read(str(form.relative_to(ROOT)))
    assert content["name"] and content["description"]
    fields = content["body"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "checkboxes"}
    names = [field["id"] for field in fields]
    assert len({*names}) == len(names) and all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_there_are_forms_for_a_number_and_a_method() -> None:
    assert [form.stem for form in FORMS] == ["a-method-to-add", "a-number-differs"]


MANIFESTS = sorted((ROOT / "results").rglob("*.manifest.json"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name.partition(".")[0])
def test_a_committed_result_names_no_path_of_one_machine(path: Path) -> None:
    command = json.loads(path.read_text(encoding="utf-8"))["command"]
    assert [word for word in command if Path(word).is_absolute()] == []


def test_no_large_file_such_as_weights_is_committed() -> None:
    """The bundles of finished runs are under 20 MB, everything else under 2."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert len(files) > 100
    sizes = {file: file.stat().st_size for file in files if file.is_file()}
    limits = {file: 20e6 if file.suffix == ".bundle" else 2e6 for file in sizes}
    assert [str(file) for file, size in sizes.items() if size >= limits[file]] == []
