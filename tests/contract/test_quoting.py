"""Every value that the workflow writes into a shell command is quoted."""

from __future__ import annotations

import re
from pathlib import Path

RULES = Path(__file__).parents[2] / "workflow" / "rules"
OPTIONS = {  # quoted inside
    "params.text",
    "params.options",
    "params.start",
    "params.teacher",
    "params.heldout",
    "params.reference",
    "params.entry",
}
NUMBERS = {"threads", "params.threads", "params.seeds"}
LAUNCH = "params.starter"  # nothing, or a command with one number


def test_every_value_in_a_command_is_quoted() -> None:
    files = "".join(file.read_text() for file in RULES.glob("*.smk"))
    commands = re.findall(r'^ +shell:\n((?: +".*\n)+)', files, flags=re.MULTILINE)
    assert len(commands) == files.count(" shell:\n") > 10
    values = {value for command in commands for value in re.findall(r"\{([^{}]+)\}", command)}
    assert {value for value in values if not value.endswith(":q")} == {*NUMBERS, *OPTIONS, LAUNCH}


def test_options_are_quoted_where_they_are_made() -> None:
    common = (RULES / "common.smk").read_text()
    made = re.findall(r'f"--[^ "]+ \{[^"]*"', common)
    assert made == ['f"--{name} {shlex.quote(str(value))}"']
