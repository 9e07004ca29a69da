"""The rules keep their form: one anatomy, thin files, a producer for every artifact."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from lemon.configuration.methods import METHODS
from lemon.configuration.stages import RULE_VERSIONS

WORKFLOW = Path(__file__).parents[2] / "workflow"
ANATOMY = ["input", "output", "log", "benchmark", "wildcard_constraints", "priority"]
ANATOMY += ["localrule", "threads", "resources", "params", "message", "shell", "notebook"]
OPTIONAL = {"input", "wildcard_constraints", "priority", "localrule", "shell", "notebook"}


def read_rules() -> dict[str, dict[str, str]]:
    """Every rule with its directives, in order; the files are formatted by snakefmt."""
    rules = {}
    for file in sorted((WORKFLOW / "rules").glob("*.smk")):
        found = re.split(r"^ *rule(?: (\w+))?:\n", file.read_text(), flags=re.M)[1:]
        for name, body in zip(found[::2], found[1::2], strict=True):
            parts = re.split(r"^(\w+):", dedent(body), flags=re.M)
            directives = dict(zip(parts[1::2], parts[2::2], strict=True))
            directives.pop("name", None)  # of a rule that is made in a loop, one for each suite
            rules[name or file.stem] = directives
    return rules


RULES = read_rules()


def test_the_rules_are_read():
    assert {"fetch", "learn", "evaluate", "table", "figure", "track"} <= set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_rules_have_one_anatomy(name):
    directives = list(RULES[name])
    assert directives == [part for part in ANATOMY if part in directives], "order"
    assert set(ANATOMY) - set(directives) <= OPTIONAL, "a part is missing"


@pytest.mark.parametrize("name", RULES)
def test_every_job_has_its_settings_memory_and_time(name):
    assert "settings=settings(" in RULES[name]["params"]
    common = (WORKFLOW / "rules/common.smk").read_text()
    training = re.search(r"^TRAINING = dict\((.*?)^\)", common, flags=re.M | re.S)
    resources = RULES[name]["resources"].replace("**TRAINING", training[1])
    memory = re.search(r"mem_mb=(?:host_memory\()?(\d+)", resources)
    assert int(memory[1]) < 6000
    assert "runtime=" in resources


@pytest.mark.parametrize("name", RULES)
def test_what_a_job_may_take_over_is_not_removed_before_it(name):
    """Snakemake deletes declared files before a job, and checkpoints must not be among them."""
    output = RULES[name]["output"]
    assert "checkpoints" not in output
    declared = re.findall(r"^ *(\w+)=(update\()?", output, flags=re.M)
    updated = {part for part, update in declared if update}
    if name in ("build", "learn", "evaluate"):
        assert updated == {"manifest", *({"scores"} if name == "evaluate" else {"files"})}
    elif name in ("fuse", "prepare_source", "prepare_second_size", "prepare_text", "prepare_tasks"):
        assert updated == {"manifest"}  # which says whose folder it is


def test_every_artifact_has_a_producer():
    """Each path that a rule or a function of inputs.smk reads is the output of some rule."""
    produced = [
        re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))
        for rule in RULES.values()
        for path in re.findall(r'"(<[^"]+)"', rule["output"].replace("{{", "{").replace("}}", "}"))
    ]
    read = [
        path for rule in RULES.values() for path in re.findall(r'"(<[^"]+)"', rule.get("input", ""))
    ]
    read += re.findall(r'"(<[^"]+)"', (WORKFLOW / "rules" / "inputs.smk").read_text())
    assert len(read) >= 8
    given = {method.prepared for method in METHODS.values() if method.prepared}
    for path in {path.replace("{prepared}", folder) for path in read for folder in given}:
        assert any(pattern.fullmatch(path) for pattern in produced), f"nothing makes {path}"


def test_only_fetch_may_go_online():
    online = [n for n, rule in RULES.items() if "unset HF_HUB_OFFLINE" in rule.get("shell", "")]
    assert online == ["fetch"]
    assert "export HF_HUB_OFFLINE=1" in (WORKFLOW / "rules" / "common.smk").read_text()


def test_the_snakefile_is_thin():
    assert len((WORKFLOW.parent / "Snakefile").read_text().splitlines()) <= 40


def test_rules_call_the_command_and_only_figures_are_drawn_by_notebooks():
    for file in WORKFLOW.rglob("*.smk"):
        assert not re.search(r"^ +(run|script):", file.read_text(), flags=re.M), file
    drawn = [name for name, rule in RULES.items() if "notebook" in rule]
    assert drawn == ["figure"]
    for name in set(RULES) - set(drawn):
        assert "lemon " in RULES[name]["shell"], name


def test_each_stage_with_a_version_has_its_rule():
    used = [re.search(r'settings\("(\w+)"[),]', rule["params"])[1] for rule in RULES.values()]
    assert sorted(used) == sorted(RULE_VERSIONS)
