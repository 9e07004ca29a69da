"""Read documents from an asset: one function per format; presets name them.

The readers of READERS take files that are text, those of ROW_READERS rows with a column of text.
"""

from __future__ import annotations

import bz2
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lemon.data.fetch.archive import AssetFiles
from lemon.data.text.wikitext import plain_text
from lemon.errors import BadInput

if TYPE_CHECKING:
    import pyarrow

MIN_CHARACTERS = 1000  # shorter articles and modules are stubs, e.g. an empty __init__.py
BLOCK_BYTES = 1 << 20  # of a parquet column, read at once
ROWS = 64  # of a parquet column, decoded at once


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


def read_jsonl(files: AssetFiles, column: str) -> Iterator[str]:
    """The string under the key `column` of each line is a document."""
    for name in files.names():
        with files.open(name) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    text = json.loads(line)[column]
                    text.encode()  # JSON can hold half a character
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise BadInput(
                        f'{name}:{number}: not a JSON object with a "{column}" in Unicode; each '
                        "line must be one"
                    ) from None
                yield text


def read_parquet(files: AssetFiles, column: str) -> Iterator[str]:
    """The string in a column of each row is a document.

    Of a file, a block, a page (usually 1 MB) and ROWS documents are in memory, however large its
    row groups are.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in files.names():
        row = 0
        with files.open(name) as stream:
            try:
                # Without its own buffer a whole column of a row group is read at once.
                file = pq.ParquetFile(stream, buffer_size=BLOCK_BYTES, pre_buffer=False)
                _require_strings(name, file.schema_arrow, column)
                for batch in file.iter_batches(ROWS, columns=[column], use_threads=False):
                    for text in batch.column(column).to_pylist():
                        row += 1
                        if text is None:
                            raise BadInput(
                                f"{name}: row {row} has no {column}; leave such rows out"
                            )
                        yield text
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                where = f"after row {row}" if row else "at its start"
                raise BadInput(
                    f"{name}: no parquet file, cut short or damaged {where} ({error}); take only "
                    "parquet files into the asset, and fetch it again"
                ) from None


def _require_strings(name: str, schema: pyarrow.Schema, column: str) -> None:
    """BadInput unless the schema has exactly one such column, of strings."""
    from pyarrow import types

    if len(schema.get_all_field_indices(column)) != 1:
        raise BadInput(
            f"{name}: has no single column {column} but {', '.join(schema.names)}; name the one "
            "with the text as the domain's column"
        )
    kind = schema.field(column).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        raise BadInput(
            f"{name}: the column {column} holds {kind} and no strings; name the one with the text "
            "as the domain's column"
        )


READERS: dict[str, Callable[[AssetFiles], Iterator[str]]] = {
    "wikitext": read_wikitext,
    "text_files": read_text_files,
    "python_files": read_python_files,
}
ROW_READERS: dict[str, Callable[[AssetFiles, str], Iterator[str]]] = {
    "jsonl": read_jsonl,
    "parquet": read_parquet,
}
