"""Documents: links lead somewhere, commands are ones that exist, verdicts are the ledger's.

Commands are parsed here as a shell and `lemon` read them; those of the guide are run in
tests/workflow/test_guide.py.
"""

from __future__ import annotations

import argparse
import csv
import re
import shlex
from pathlib import Path

import pytest
from documented_commands import commands

from lemon import cli
from lemon.configuration.load import load_project

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("config/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_WORDS = 900

# A decision says what was so when it was taken, and not what to type.
TO_TYPE = [path for path in DOCUMENTS if "decisions" not in path.parts]
TO_TYPE.remove(ROOT / "CHANGELOG.md")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SETTINGS = set(re.findall(r"^(\w+) +\?=", MAKEFILE, re.M)) | {"CORES"}
WORKFLOW = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
RULES = {name for file in WORKFLOW for name in re.findall(r"rule (\w+):", file.read_text())}
TABLES = {*load_project("laptop", ROOT / "config").tables, "strided"}  # that of add-a-method.md
# Commands of a user's own machine, which no test calls.
OTHERS = {"export", "pre-commit", "rsync"}


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    broken = [
        link
        for link in links
        if "://" not in link and not (document.parent / link.split("#")[0]).exists()
    ]
    assert not broken


def test_the_readmes_verdicts_are_those_of_the_ledger() -> None:
    with (ROOT / "results/laptop/claims.csv").open(encoding="utf-8", newline="") as file:
        verdicts = {line["id"]: line["verdict"] for line in csv.DictReader(file)}
    table = re.search(r"^\| verdict \|.*?\n\n", README, re.S | re.M)
    assert table
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| (.*) \|$", table[0], re.M)
    assert {verdict for verdict, *_ in rows} == {*verdicts.values()}
    for verdict, count, claims in rows:
        judged = [claim for claim, own in verdicts.items() if own == verdict]
        assert int(count) == len(judged), verdict
        named = re.findall(r"\b[CFM]\d\d\b", claims)
        if verdict != "not tested":  # too many to name
            assert sorted(named) == sorted(judged), verdict


def mistake(command: str, whole: bool = True) -> str | None:
    """Why a command can't be typed as it stands; None if it can."""
    words = shlex.split(command, comments=True)
    if "torch.distributed.run" in words:  # starts what follows
        words = words[-words[::-1].index("--") :]
    program, arguments = Path(words[0]).name, words[1:]
    if program == "lemon":
        return lemon_mistake(arguments, whole)
    if program == "make":
        return make_mistake(arguments)
    if program == "snakemake":
        return snakemake_mistake(arguments)
    if words[1:4] == ["-m", "pip", "download"]:
        return None if {"requirements.lock"} <= {*words} else "downloads something else"
    return None if program in OTHERS else "is none of the project's commands"


def lemon_mistake(words: list[str], whole: bool) -> str | None:
    leaf, named = cli.parser(), []
    while words and (choices := subcommands(leaf)):
        if words[0] not in choices:
            return f"no command {words[0]}" if words[0] not in ("--help", "COMMAND") else None
        leaf, named, words = choices[words[0]], [*named, words[0]], words[1:]
    given = {word for word in words if word.startswith("--")}
    unknown = given - {option for action in leaf._actions for option in action.option_strings}
    if unknown:
        return f"no option {min(unknown)} of {' '.join(named)}"
    if whole:
        try:
            cli.parser().parse_args([*named, *words])
        except SystemExit:
            return "does not parse"
    return None


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}


def make_mistake(words: list[str]) -> str | None:
    for word in words:
        name, given, value = word.partition("=")
        if given:
            if name not in SETTINGS:
                return f"no setting {name}"
            if name == "PRESET" and not known_preset(value):
                return f"no preset {value}"
            if name == "TABLE" and value not in TABLES:
                return f"no table {value}"
            if name == "FROM" and value not in ("bundle", "operators", "rest", "path"):
                return f"FROM={value} takes nothing"
        elif not (re.search(rf"^{re.escape(word)}:", MAKEFILE, re.M) or is_target(word)):
            return f"no target {word}"
    return None


def snakemake_mistake(words: list[str]) -> str | None:
    options = shlex.join(words)
    if not is_target(words[0]):
        return f"no target {words[0]}"
    for profile in re.findall(r"--workflow-profile (\S+)", options):
        if not (ROOT / "profiles" / profile / "config.yaml").is_file():
            return f"no profile {profile}"
    given = dict(word.split("=") for word in words if "=" in word)
    if not given.keys() <= {"preset", "target", "from", "folder"}:
        return "a setting that the workflow refuses"
    return None if known_preset(given.get("preset", "laptop")) else "no such preset"


def known_preset(name: str) -> bool:
    """Whether a preset is one of ours, or stands for a file of the reader's."""
    return (
        name in ("NAME", "mine.yaml", "my.yaml") or (ROOT / f"config/presets/{name}.yaml").is_file()
    )


def is_target(word: str) -> bool:
    return word in TABLES | RULES


@pytest.mark.parametrize("document", TO_TYPE, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_can_be_typed_as_they_stand(document: Path) -> None:
    said = {command: mistake(command, whole) for command, whole in commands(document)}
    assert {command: why for command, why in said.items() if why} == {}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("make tabel3", "no target tabel3"),
        ("make table3 FORM=bundle", "no setting FORM"),
        ("make table3 PRESET=lap-top", "no preset lap-top"),
        ("make plan TABLE=table33", "no table table33"),
        ("lemon evalute --model M", "no command evalute"),
        ("lemon fuse --source S --operator O --out D", "no option --operator of fuse"),
        ("lemon cka --source DIR --component ffn", "does not parse"),
        ("snakemake table3 --workflow-profile slrum --config preset=gpu", "no profile slrum"),
        ("snakemake table3 --config perset=gpu", "a setting that the workflow refuses"),
        ("curl example.org", "is none of the project's commands"),
    ],
)
def test_a_mistyped_command_is_found(command: str, why: str) -> None:
    assert mistake(command) == why


def test_the_guides_have_commands_to_check() -> None:
    found = {path.stem: list(commands(path)) for path in TO_TYPE if path.parent.name == "guide"}
    assert all(found.values()) and sum(map(len, found.values())) > 40
