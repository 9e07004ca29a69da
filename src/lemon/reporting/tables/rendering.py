"""Renders a table as Markdown, LaTeX or HTML; the templates compute nothing."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lemon.reporting.numbers import SUPERSCRIPTS

FORMATS = ("md", "tex", "html")


def filled(name: str, **values: Any) -> str:
    """Fill the template `name`.jinja; the suffix of `name` determines the escaping."""
    suffix = name.rpartition(".")[2]
    environment = Environment(
        loader=PackageLoader("lemon.reporting", "templates"),
        autoescape=suffix == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **(_TEX_MARKS if suffix == "tex" else {}),
    )
    environment.globals["zip"] = zip
    environment.filters["tex"] = tex_escaped
    return environment.get_template(f"{name}.jinja").render(**values)


_TEX_MARKS: dict[str, Any] = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}
_TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "×": r"$\times$",
    "÷": r"$\div$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "γ": r"$\gamma$",
    "∞": r"$\infty$",
    "†": r"$\dagger$",
}


def tex_escaped(text: str) -> str:
    """Text as LaTeX source: special characters escaped, signs and powers in math mode."""
    escaped = "".join(_TEX.get(character, character) for character in text)
    digits = {superscript: digit for digit, superscript in SUPERSCRIPTS.items()}
    return re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda match: f"$^{{{match[0].translate(digits)}}}$", escaped)
