"""Documents: read by format, stripped of markup, split by content, packed for one tokenizer."""

from __future__ import annotations

import bz2
import json
import shutil
from io import BytesIO
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lemon.configuration.preset import TextSettings
from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.assets import LockedAsset, snapshot_digest
from lemon.data.synthetic import generated_documents
from lemon.data.text.documents import SplitDocuments
from lemon.data.text.domains import prepare_text
from lemon.data.text.packing import SPLITS, PackedText
from lemon.data.text.readers import read_jsonl, read_python_files, read_text_files, read_wikitext
from lemon.data.text.tokenization import TextTokenizer
from lemon.data.text.wikitext import plain_text
from lemon.errors import BadInput


@pytest.mark.parametrize(
    ("markup", "prose"),
    [
        ("'''Bold''' and ''italic'' text.", "Bold and italic text."),
        ("A [[state (polity)|state]] and [[law]]s.", "A state and laws."),
        ("One{{cite|a={{b|c}}|d}} two<ref>see {{x}}</ref> three<ref name=y />.", "One two three."),
        ("See [http://example.org the site] now.", "See the site now."),
        ("[[File:A.jpg|thumb|A [[cat]] sleeps.]]Text.", "Text."),
        ("Text.\n[[Category:Cats]]\n[[de:Katze]]", "Text."),
        ("Born ({{lang|el|x}}; 384 BC) in ({{c}}) Stagira.", "Born (384 BC) in Stagira."),
        ("Before\n{| class=x\n| a || b\n{| inner\n| c\n|}\n|}\nafter.", "Before\n\nafter."),
        ("It is <b>x</b>,&nbsp;<br/>y &lt; z.<!-- not\nthis -->", "It is x,\ny < z."),
        ("It is {{convert|5|km|mi|abbr=on}} long.", "It is 5 km long."),
        ("The sum <math>a<b</math>is.", "The sum is."),
        ("== Life ==\n* first\n* second", "Life\n\nfirst\nsecond"),
        (
            "Kept.\n== Notes ==\nGone.\n=== Sub ===\nGone.\n== Next ==\nKept.",
            "Kept.\n\nNext\n\nKept.",
        ),
        ("Kept.\n== See also ==\n* [[Other]]", "Kept."),
        ("An unclosed {{template stays.", "An unclosed {{template stays."),
    ],
)
def test_markup_goes_and_prose_stays(markup, prose):
    assert plain_text(markup) == prose


ARTICLE = "The [[fox]] runs. " * 100
EXPORT = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<page><title>Fox</title><ns>0</ns><revision><text>{article}</text></revision></page>
<page><title>Foxes</title><ns>0</ns><redirect title="Fox"/>
<revision><text>{article}</text></revision></page>
<page><title>Talk:Fox</title><ns>1</ns><revision><text>{article}</text></revision></page>
<page><title>Fox (other)</title><ns>0</ns>
<revision><text>{article} {{{{disambiguation}}}}</text></revision></page>
<page><title>Stub</title><ns>0</ns><revision><text>Short.</text></revision></page>
</mediawiki>"""


def test_of_a_wikipedia_export_the_articles_are_read(tmp_path):
    export = EXPORT.format(article=ARTICLE)
    (tmp_path / "pages.xml.bz2").write_bytes(bz2.compress(export.encode()))
    prose = ARTICLE.replace("[[fox]]", "fox").strip()
    assert list(read_wikitext(AssetFiles(tmp_path))) == [f"Fox\n\n{prose}"]


def test_of_python_files_stubs_and_tests_are_left_out(tmp_path):
    code = "x = 1\n" * 300
    for name in ("a/long.py", "a/tests/test_long.py", "a/long.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)
    (tmp_path / "a" / "__init__.py").write_text("")
    assert list(read_python_files(AssetFiles(tmp_path))) == [code]


def test_of_text_files_each_is_a_document(tmp_path):
    (tmp_path / "1.txt").write_text("first")
    (tmp_path / "2.txt").write_text("second")
    assert list(read_text_files(AssetFiles(tmp_path))) == ["first", "second"]


def test_of_json_lines_the_text_is_read(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one", "meta": 1}\n{"text": "two"}\n')
    assert list(read_jsonl(AssetFiles(tmp_path), "text")) == ["one", "two"]


@pytest.mark.parametrize(
    "line", ["not json", '{"content": "x"}', "[1]", '{"text": 1}', r'{"text": "\ud800"}']
)
def test_a_line_without_text_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n' + line + "\n")
    with pytest.raises(BadInput, match=r"a\.jsonl:2: not a JSON object"):
        list(read_jsonl(AssetFiles(tmp_path), "text"))


def text_settings(**changes: object) -> TextSettings:
    values = {
        "sequence_length": 32,
        "train_sequences": 50,
        "heldout_sequences": 6,
        "domains": {
            "prose": {"reader": "generated", "weight": 0.75},
            "numbers": {"reader": "generated", "weight": 0.25},
        },
        **changes,
    }
    return TextSettings.model_validate(values)


def prepare(settings: TextSettings, source: Path, out: Path, **changes: object) -> PackedText:
    options = {"lock": {}, "cache": out.parent / "cache", "seed": 0, **changes}
    prepare_text(settings, source=source, out=out, **options)
    return PackedText(out)


def test_prepared_text_decodes_to_the_documents_of_its_split(tiny_model_folder, tmp_path):
    text = prepare(text_settings(), tiny_model_folder, tmp_path / "text")
    assert text.domains == ["prose", "numbers"]
    assert text.weights == {"prose": 0.75, "numbers": 0.25}
    assert text.num_sequences("train", "prose") == 50
    assert text.num_sequences("heldout", "numbers") == 6
    # The tiny model's tokenizer gives a token a byte, and <|endoftext|> after each document.
    tokenizer = TextTokenizer(tiny_model_folder)._tokenizer
    split = SplitDocuments(generated_documents("prose", 0), 0, BytesIO())
    for name in SPLITS:
        documents = list(split.read(name))
        stream = "".join(f"{document}<|endoftext|>" for document in documents)
        for row in range(text.num_sequences(name, "prose")):
            ids = text.sequence(name, "prose", row).tolist()
            shown = tokenizer.decode(ids, skip_special_tokens=False)
            assert shown in stream
            if name != "train":
                home = documents[text.documents(name, "prose")[row]] + "<|endoftext|>"
                # A token is a byte, and the documents are ASCII.
                assert shown[1:].split("<|endoftext|>")[0][:3] in home


def test_prepared_text_is_the_same_each_time_and_says_what_it_is(tiny_model_folder, tmp_path):
    for name in ("one", "two"):
        prepare(text_settings(), tiny_model_folder, tmp_path / name)
    first, second = (
        json.loads((tmp_path / name / "manifest.json").read_text())["domains"]
        for name in ("one", "two")
    )
    assert first == second
    train = first["prose"]["splits"]["train"]
    assert (train["documents"], train["sequences"], train["tokens"]) == (96, 50, 50 * 32)


def test_heldout_rows_come_from_many_documents(tiny_model_folder, tmp_path):
    text = prepare(text_settings(), tiny_model_folder, tmp_path / "text")
    rows = {tuple(text.sequence("heldout", "prose", row)) for row in range(6)}
    assert len(rows) == 6
    tokenizer = TextTokenizer(tiny_model_folder)._tokenizer
    split = SplitDocuments(generated_documents("prose", 0), 0, BytesIO())
    heldout = list(split.read("heldout"))
    shown = [tokenizer.decode(list(row)[:20]) for row in rows]
    homes = {next((d for d in heldout if piece in d), piece) for piece in shown}
    assert len(homes) >= 3


def test_too_little_heldout_text_says_how_much_there_is(tiny_model_folder, tmp_path):
    settings = text_settings(heldout_sequences=100_000)
    with pytest.raises(BadInput, match=r"text\.domains\.prose: 12 heldout documents give \d+ seq"):
        prepare(settings, tiny_model_folder, tmp_path / "text")
    assert not (tmp_path / "text").exists()
    assert list(tmp_path.glob(".*")) == []


def test_a_domain_without_text_is_refused(tiny_model_folder, tmp_path):
    empty = tmp_path / "cache" / "empty"
    empty.mkdir(parents=True)
    digest = snapshot_digest(AssetFiles(empty))
    entry = LockedAsset("hub", "owner/name", "1", digest, 0, "empty", ("*.txt",), "CC0")
    settings = text_settings(
        domains={"speeches": {"reader": "text_files", "asset": "speeches", "weight": 1.0}}
    )
    with pytest.raises(BadInput, match=r"text\.domains\.speeches: 0 heldout documents give 0 seq"):
        prepare(settings, tiny_model_folder, tmp_path / "text", lock={"speeches": entry})


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(BadInput, match="take a model folder with a fast tokenizer"):
        TextTokenizer(tmp_path)


def test_documents_are_neither_cut_nor_filled_up(tiny_model_folder, tmp_path):
    folder = tmp_path / "source"
    shutil.copytree(tiny_model_folder, folder)
    inside = Tokenizer.from_file(str(folder / "tokenizer.json"))
    inside.enable_truncation(4)
    inside.enable_padding()
    inside.save(str(folder / "tokenizer.json"))
    found = TextTokenizer(folder).encode(["a", "abcdef"])
    assert [len(tokens) for tokens in found] == [1, 6]


def test_a_document_ends_with_endoftext_even_if_eos_ends_a_turn(tiny_model_folder):
    tokenizer = TextTokenizer(tiny_model_folder)
    assert tokenizer.separator == 256
    assert [tokens.tolist() for tokens in tokenizer.encode(["a", ""])] == [[64], []]
