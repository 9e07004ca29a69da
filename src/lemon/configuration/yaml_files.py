"""Read and validate config files, with line numbers and plain messages.

Problems are collected, so that a user sees the mistakes in all files at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from lemon.configuration.bounds import IDENTIFIER, RATIO
from lemon.errors import BadInput
from lemon.files.names import LINE, NAME, name_fault, shown
from lemon.files.plain_text import NotPlain, read_text
from lemon.files.plain_yaml import Place, parse

MOST_PROBLEMS = 30  # reported for one file at once
MOST_NAMED = 30  # known words listed in a message
LONGEST_PLACE = 100  # characters of a place in a message
T = TypeVar("T")


Mistake = tuple[Place, str]
"""A place in a document and the message about it."""


@dataclass(frozen=True)
class Problem:
    """One mistake at one place in a file."""

    path: Path
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.path}:{self.line}", self.key))) + f": {self.message}"


@dataclass
class Document:
    """The plain values of a file, and the file and line of every key by its place.

    `path` is the file itself; a preset with a base also holds values from other files.
    """

    path: Path
    value: Any
    origins: dict[Place, tuple[Path, int]] = field(default_factory=dict)

    def problem(self, place: Place, message: str) -> Problem:
        """A mistake at this key, with its line or that of the nearest enclosing block."""
        nearest = place
        while nearest and nearest not in self.origins:
            nearest = nearest[:-1]
        path, line = self.origins.get(nearest, (self.path, 1))
        return Problem(path, line, dotted(place), message)

    def problems(self, mistakes: Iterable[Mistake]) -> Iterator[Problem]:
        """The first mistakes with their lines, and a note if there are more."""
        return first_of(self.problem(place, message) for place, message in mistakes)


def first_of(problems: Iterable[Problem]) -> Iterator[Problem]:
    """The first problems of a file, and a note if there are more."""
    for number, problem in enumerate(problems):
        if number == MOST_PROBLEMS:
            yield Problem(problem.path, problem.line, "", "and more mistakes; correct these first")
            return
        yield problem


def dotted(place: Place) -> str:
    """The place in dotted form: `text.domains.code.weight`, `table3.rows[2].runs`."""
    written = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    whole = written.removeprefix(".")
    return whole if len(whole) <= LONGEST_PLACE else f"{whole[:LONGEST_PLACE]}..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean X?`, or the list of known words if none is similar."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"known: {', '.join(known[:MOST_NAMED])}{more}" if known else "none is known"


def known_entry(known: Mapping[str, T], name: str, where: str) -> T:
    """The entry of this name; BadInput, with a message that begins with `where`, if none is."""
    if name not in known:
        raise BadInput(f"{where} {name}, {did_you_mean(name, known)}")
    return known[name]


def read_yaml(path: Path, problems: list[Problem]) -> Document | None:
    """Parse a YAML file; if it can't be read or is no plain YAML, that becomes a problem."""
    try:
        value, lines = parse(read_text(path))
    except NotPlain as fault:
        problems.append(Problem(path, fault.line, "", str(fault)))
        return None
    return Document(path, value, {place: (path, line) for place, line in lines.items()})


def preset_files(config_dir: Path, problems: list[Problem]) -> list[Path]:
    """The preset files, sorted by name; an illegal name becomes a problem."""
    found = {path: name_fault(path.stem) for path in (config_dir / "presets").glob("[!.]*.yaml")}
    faulty = {path: fault for path, fault in sorted(found.items()) if fault}
    problems += [Problem(path, 1, "", f"the preset's name {faulty[path]}") for path in faulty]
    return sorted(found.keys() - faulty.keys())


def validate(document: Document | None, kind: Any, problems: list[Problem]) -> Any:
    """Convert a document to the type `kind`; None, with every mistake in `problems`, if invalid."""
    if document is None:
        return None
    try:
        return TypeAdapter(kind).validate_python(document.value)
    except ValidationError as error:
        problems += [document.problem(*found) for found in mistakes_of(error, document.value, kind)]
        return None


def mistakes_of(error: ValidationError, value: Any, kind: Any) -> Iterator[Mistake]:
    """The mistakes found by pydantic in a value of the type `kind`.

    A misspelt required key is one mistake, not one unknown and one missing key.
    """
    details, schema = error.errors(include_url=False), TypeAdapter(kind).json_schema()
    found: list[Mistake] = []
    missing: list[Place] = []
    for detail in details[:MOST_PROBLEMS]:
        place = _existing(value, detail["loc"], detail["type"])
        if detail["type"] == "union_tag_invalid":
            place += ("kind",)
        if detail["type"] == "missing":
            missing.append(place)
        found.append((place, _in_words(detail, place, schema)))
    misspelt = {
        absent
        for place, message in found
        for absent in missing
        if place[:-1] == absent[:-1] and message == f"unknown key, did you mean {absent[-1]}?"
    }
    yield from (mistake for mistake in found if mistake[0] not in misspelt)
    if len(details) > MOST_PROBLEMS:
        yield (), f"and {len(details) - MOST_PROBLEMS} more mistakes; correct these first"


def _existing(value: Any, place: Place, kind: str) -> Place:
    """The place without the branch names that pydantic adds for unions."""
    kept: list[str | int] = []
    for part in place:
        in_block = isinstance(value, dict) and part in value
        in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if in_block or in_list:
            value = value[part]
        elif kind != "missing" or part != place[-1]:
            continue
        kept.append(part)
    return tuple(kept)


# Messages for the user in place of pydantic's, by its error type.
WORDS = {
    **dict.fromkeys(
        ("int_type", "int_from_float", "int_parsing"), "must be a whole number, not {given}"
    ),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number, not {given}"),
    "bool_type": "must be true or false, not {given}",
    "string_type": "must be text, not {given}; put it in quotes",
    "greater_than_equal": "must be at least {ge}, not {given}",
    "greater_than": "must be greater than {gt}, not {given}",
    "less_than_equal": "must be at most {le}, not {given}",
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type"),
        "must be a block of `key: value` lines, not {given}",
    ),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list such as [a, b], not {given}"),
    "too_short": "must not be empty",
    "too_long": "must hold at most {max_length} entries",
    "string_too_long": "must be text of at most {max_length} characters",
    "finite_number": "must be a finite number",
}
# The same for text that does not match a pattern.
PATTERNS = {
    IDENTIFIER: "{given} is no name; take letters, digits and . _ - alone, all in lower case, a "
    "letter or digit first, at most 64 in all",
    LINE: "must not hold $, which figures read as a formula",
    RATIO: "must be a ratio of at least 1% and at most 100%, such as 62.5%, not {given}",
}


def _in_words(detail: Any, place: Place, schema: dict[str, Any]) -> str:
    """The message for the user, in place of pydantic's."""
    context, given = detail.get("ctx", {}), _given(detail["input"])
    match detail["type"]:
        case "extra_forbidden":
            fields = _fields_at(schema, place[:-1])
            return f"unknown key, {did_you_mean(str(place[-1]), fields)}"
        case "missing":
            absent = _fields_at(schema, place[:-1]).get(str(place[-1]), {})
            about = absent.get("description")
            return f"missing; add it ({about})" if about else "missing; add it"
        case "literal_error":
            known = quoted(context["expected"])
            return f"{given} is not known, {did_you_mean(str(detail['input']), known)}"
        case "union_tag_not_found":
            return f"{quoted(context['discriminator'])[0]} is missing; add it"
        case "union_tag_invalid":
            tags = quoted(context["expected_tags"])
            return f"{context['tag']!r} is not known, {did_you_mean(context['tag'], tags)}"
        case "string_pattern_mismatch" if context["pattern"] == NAME:
            return str(name_fault(detail["input"]))
        case "string_pattern_mismatch":
            words = PATTERNS.get(context["pattern"], "{given} must match {pattern}")
        case known_type if known_type in WORDS:
            words = WORDS[known_type]
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {given}"
    numbers = {
        name: f"{value:,}" if isinstance(value, int) else f"{value:g}"
        for name, value in context.items()
        if isinstance(value, int | float)
    }
    return words.format(given=given, **{**context, **numbers})


def quoted(message: str) -> list[str]:
    """The words in single quotes in a message of pydantic."""
    return re.findall(r"'([^']*)'", message)


def _given(value: Any) -> str:
    if isinstance(value, dict):
        return "a block of keys"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    return shown(value)


def _fields_at(schema: dict[str, Any], place: Place) -> dict[str, Any]:
    """The fields of the block at a place, by a JSON schema."""

    def branches(part: Any) -> Iterator[dict[str, Any]]:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        yield part
        for branch in (*part.get("anyOf", ()), *part.get("oneOf", ())):
            yield from branches(branch)

    parts = [*branches(schema)]
    for key in place:
        inside: list[Any] = []
        for part in parts:
            inside += [part.get("properties", {}).get(key), part.get("items")]
            inside += part.get("patternProperties", {}).values()
        parts = [branch for inner in filter(None, inside) for branch in branches(inner)]
    return {name: about for part in parts for name, about in part.get("properties", {}).items()}


def raise_problems(problems: list[Problem]) -> None:
    """Raise one BadInput that lists all problems, if there are any."""
    if problems:
        noun = "mistake" if len(problems) == 1 else "mistakes"
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise BadInput(f"the configuration has {len(problems)} {noun}:\n{listed}")
