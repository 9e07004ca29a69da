"""Extract plain prose from MediaWiki markup, with enough care for language modelling.

Templates, tables, references, files, categories and mathematics are removed; links and headings
keep their text. Sections that are lists of links (See also, References, ...) are removed.
"""

from __future__ import annotations

import html
import re

# The innermost pair, so that repeated substitution removes any nesting.
TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
# A measured quantity is kept, since sentences need it: {{convert|5|km|mi}} becomes 5 km.
QUANTITY = re.compile(r"\{\{(?:convert|cvt)\|([^|{}]+)\|([^|{}]+)[^{}]*\}\}", re.IGNORECASE)
TABLE = re.compile(r"\{\|(?:(?!\{\||\|\}).)*\|\}", re.DOTALL)
INNERMOST_LINK = re.compile(r"\[\[([^\[\]]*)\]\]")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
DROPPED_ELEMENT = re.compile(
    r"<(ref|math|gallery|timeline|source|syntaxhighlight|imagemap|chem|score|code|pre)\b"
    r"(?:[^<>]*/>|[^<>]*>.*?</\1\s*>)",
    re.DOTALL | re.IGNORECASE,
)
LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
WEB_LINK = re.compile(r"\[(?:https?:|ftp:)?//[^\s\]]+\s*([^\]]*)\]")
EMPHASIS = re.compile(r"'{2,5}")
HEADING = re.compile(r"^(={2,6})[ \t]*(.+?)[ \t]*\1[ \t]*$", re.MULTILINE)
LIST_MARK = re.compile(r"^[*#;:]+[ \t]*", re.MULTILINE)
MAGIC_WORD = re.compile(r"__[A-Z]+__")
TABLE_REST = re.compile(r"^[ \t]*(?:\{\||\|\}|\||!).*$", re.MULTILINE)
DROPPED_NAMESPACE = re.compile(r"^\s*:?\s*(?:file|image|category|[a-z]{2,3}(?:-[a-z]+)*)\s*:", re.I)
END_MATTER = frozenset(
    (
        *("see also", "references", "notes", "notes and references", "footnotes", "citations"),
        *("external links", "further reading", "bibliography", "works cited", "sources", "gallery"),
    )
)
# Remains of removed templates: "( ; )", "(, 1900)", blanks before punctuation.
EMPTY_BRACKETS = re.compile(r"[ \t]*\([\s,;:–-]*\)")
BRACKET_START = re.compile(r"\([\s,;:]+")
BLANK_BEFORE_MARK = re.compile(r"[ \t]+([,.;:)])(?=\s|$)", re.MULTILINE)
BLANKS = re.compile(r"[ \t\u00a0]+")
EMPTY_LINES = re.compile(r"\n\s*\n\s*")


def plain_text(markup: str) -> str:
    """The prose of one article, with an empty line around headings and between paragraphs."""
    text = DROPPED_ELEMENT.sub("", COMMENT.sub("", markup))
    text = _until_stable(TEMPLATE, "", QUANTITY.sub(r"\1 \2", text))
    text = _until_stable(TABLE, "", text)
    text = _until_stable(INNERMOST_LINK, _link_text, text)
    text = WEB_LINK.sub(r"\1", text)
    text = html.unescape(TAG.sub("", LINE_BREAK.sub("\n", text)))
    text = EMPHASIS.sub("", MAGIC_WORD.sub("", text))
    text = _without_end_matter(TABLE_REST.sub("", text))
    text = LIST_MARK.sub("", HEADING.sub(r"\n\2\n", text))
    text = BRACKET_START.sub("(", EMPTY_BRACKETS.sub("", BLANKS.sub(" ", text)))
    text = BLANK_BEFORE_MARK.sub(r"\1", text)
    lines = (line.strip() for line in text.splitlines())
    return EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()


def _link_text(link: re.Match[str]) -> str:
    """The shown part of `[[target|shown]]`; empty for files, categories and other languages."""
    target, *shown = link[1].split("|")
    if DROPPED_NAMESPACE.match(target) and not target.lstrip().startswith(("w:", ":w:")):
        return ""
    return shown[-1] if shown else target.lstrip(":")


def _until_stable(pattern: re.Pattern[str], replacement: object, text: str) -> str:
    """Substitute until nothing matches, from the innermost pair outwards."""
    count = 1
    while count:
        text, count = pattern.subn(replacement, text)  # type: ignore[call-overload]
    return text


def _without_end_matter(text: str) -> str:
    """Drop sections of references and lists of links, with their subsections."""
    kept, dropped_level, start = [], 0, 0
    headings = [*HEADING.finditer(text), None]
    for heading in headings:
        if not dropped_level:
            kept.append(text[start : heading.start() if heading else len(text)])
        if heading is None:
            break
        level = len(heading[1])
        if not dropped_level or level <= dropped_level:
            dropped_level = level if heading[2].strip().lower() in END_MATTER else 0
        start = heading.start()
    return "".join(kept)
