"""Read documents from an asset: one function per format; READERS has the names for presets."""

from __future__ import annotations

import bz2
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import PurePosixPath
from xml.etree import ElementTree

from lemon.data.fetch.archive import AssetFiles
from lemon.data.text.wikitext import plain_text
from lemon.errors import BadInput

MIN_CHARACTERS = 1000  # shorter articles and modules are stubs, e.g. an empty __init__.py


def read_wikitext(files: AssetFiles) -> Iterator[str]:
    """The articles of MediaWiki exports (`.xml` or `.xml.bz2`) as prose, with their title.

    Redirects, pages outside the main namespace, disambiguation pages and stubs are left out.
    """
    for name in files.names():
        content = files.read(name)
        export = bz2.decompress(content) if name.endswith(".bz2") else content
        for _, page in ElementTree.iterparse(BytesIO(export)):
            if not page.tag.endswith("}page"):
                continue
            title, markup = page.findtext("{*}title"), page.findtext("{*}revision/{*}text")
            article = page.findtext("{*}ns") == "0" and page.find("{*}redirect") is None
            page.clear()
            if not article or not markup or "{{disambiguation" in markup.lower():
                continue
            prose = plain_text(markup)
            if len(prose) >= MIN_CHARACTERS:
                yield f"{title}\n\n{prose}"


def read_text_files(files: AssetFiles) -> Iterator[str]:
    """Each file is a document."""
    for name in files.names():
        yield files.read(name).decode("utf-8", errors="replace")


def read_python_files(files: AssetFiles) -> Iterator[str]:
    """Each Python module is a document, except stubs and tests, which are too repetitive."""
    for name in files.names():
        path = PurePosixPath(name)
        if path.suffix == ".py" and "tests" not in path.parts:
            code = files.read(name).decode("utf-8", errors="replace")
            if len(code) >= MIN_CHARACTERS:
                yield code


def read_jsonl(files: AssetFiles) -> Iterator[str]:
    """The `text` of each line is a document."""
    for name in files.names():
        with files.open(name) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    text = json.loads(line)["text"]
                    text.encode()  # JSON can hold half a character
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise BadInput(
                        f'{name}:{number}: not a JSON object with a "text" in Unicode; each line '
                        "must be one"
                    ) from None
                yield text


READERS: dict[str, Callable[[AssetFiles], Iterator[str]]] = {
    "wikitext": read_wikitext,
    "text_files": read_text_files,
    "python_files": read_python_files,
    "jsonl": read_jsonl,
}
