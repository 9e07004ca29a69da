"""Secrets are hidden wherever they stand, and ordinary text is left alone."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from lemon.provenance import without_private_parts
from lemon.redaction import public_address, without_secrets

REPOSITORY = Path(__file__).parents[2]

# An address with a secret, and what may be shown of it.
ADDRESSES = {
    "http://ada:hunter2@host:5000/x": "http://host:5000/x",
    "https://hunter2@host/x": "https://host/x",
    "https://:hunter2@host": "https://host",
    "https://hunter2:@host": "https://host",
    "http://ada:hun/ter2@host/x": "http://host/x",
    "http://ada:hun@ter2@host/x": "http://host/x",
    "http://ada:hun#ter2@host": "http://host",
    "http://ada:hun?ter2@host": "http://host",
    "http://ada:hun%40ter2@host": "http://host",
    "http://ada:hun:ter2@host": "http://host",
    "http://ada:hun ter2@host/db": "http://host/db",
    "http://ada:hun'ter2@host": "http://host",
    'http://ada:hun"ter2@host': "http://host",
    "http://ada:12/hunter2@host": "http://host",
    "http://ada:/hunter2@host": "http://host",
    "http://ada:hunter2@[::1]:5000/x": "http://[::1]:5000/x",
    "HTTPS://ADA:hunter2@HOST": "HTTPS://HOST",
    "mysql+pymysql://ada:p?x=hunter2@host/db": "mysql+pymysql://host/db",
    "postgresql:///ada:hunter2@host/db": "postgresql://host/db",
    "sqlite://ada:hunter2@/x.db": "sqlite:///x.db",
    "uc:http://ada:hunter2@host": "uc:http://host",
    "http:/ada:hunter2@host": "host",
    "http//ada:hunter2@host": "host",
    "ada:hunter2@host/db": "host/db",
    "ada:hun/ter2@host/db": "host/db",
    "ada:hun@ter2@host/db": "host/db",
    "postgresql://host/db?user=ada&password=hunter2": "postgresql://host/db",
    "postgresql://host/db?user=ada@corp&password=hunter2": "postgresql://host/db",
    "postgresql://host/db?sslpassword=hun/ter2": "postgresql://host/db",
    "http://host?access_token=hunter2&x=1": "http://host",
    "http://host/#token=hunter2": "http://host/",
    "https://host/x?sig=hunter2&se=2030": "https://host/x",
    "https://host/x?key=hunter2": "https://host/x",
    "host/db?api_key=hunter2": "host/db",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dhunter2%3BServer%3Dh": "mssql+pyodbc:///",
    "http://host/p;password=hunter2;x=1": "http://host/p;password=***;x=1",
}
PARTS = ("hunter2", "ter2", "hun/", "hun@", "hun:", "hun?")

ASSIGNMENTS = [
    "password=hunter2",
    "passwd = hunter2",
    "PWD={hun;ter2}",
    "password='hun ter2'",
    "host=h user=ada password=hunter2 dbname=d",
    "UID=ada;PWD=hunter2;Server=h",
    "{'password': 'hunter2', 'user': 'ada'}",
    '{"api_key": "hunter2"}',
    "client_secret=hunter2",
    "X-Amz-Signature=hunter2&x=1",
    "MLFLOW_TRACKING_TOKEN=hunter2",
    "token=hunter2",
    "Authorization: Bearer hunter2",
    "{'Authorization': 'Basic hunter2=='}",
    "aws_secret_access_key=hun/ter2",
    "login with password:hunter2 failed",
]

ORDINARY = [
    "12:30 a:b 2026-01-01T12:30:00+00:00 runs.tsv:5: no such run",
    "mail ada@example.org or see https://example.org/team@corp and http://127.0.0.1:5000/x",
    "http://127.0.0.1:5000 is down; mail ada@example.org",
    "sqlite:////home/me@corp/a#b/mlflow.db",
    "git@example.org:org/name.git",
    "pad_token='</s>' eos_token=<eos> max_tokens=5 tokens=100 if token == end",
    "password: wrong; (using password: YES)",
    "lemon table --table table3 --runs runs/laptop --out results/laptop/tables",
]


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items())
def test_an_address_shows_where_it_leads_and_nothing_else(address: str, shown: str) -> None:
    assert public_address(address) == shown


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_in_a_text_loses_its_secret(address: str) -> None:
    for text in (f"from {address!r}: no", f"({address})", address):
        assert not [part for part in PARTS if part in without_private_parts(text)]
        assert not [part for part in PARTS if part in without_secrets(text, about=address)]


@pytest.mark.parametrize("text", ASSIGNMENTS)
def test_a_named_secret_is_hidden(text: str) -> None:
    hidden = without_private_parts(text)
    assert "***" in hidden
    assert not re.search(r"hun|ter2", hidden)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert without_secrets(text) == text


def test_nothing_that_is_committed_changes() -> None:
    for pattern in ("*.md", "results/**/*.json", "results/**/*.md", "config/**/*.yaml"):
        for path in REPOSITORY.glob(pattern):
            text = path.read_text(encoding="utf-8")
            assert without_secrets(text) == text, path


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://ada:pa/ss@host", "nonnumeric port: 'pa'"),
        ("http://ada:Se/cret@host", "Failed to resolve 'ada' with url: /cret@host/api"),
        ("postgresql://ada:p@s-s@host/db", 'could not translate host name "s-s@host"'),
        ("http://ada:pa%40ss@host", "login failed for ada with pa@ss"),
        ("http://ada:pa ss@host", "Invalid URL 'http://ada:pa%20ss@host'"),
        ("http://ada:pa\\ss@host", "bad host 'pa\\\\ss'"),
        ("http://ada:PaSs/1@host", "HTTPConnectionPool(host='ada', port='pass')"),
        ("http://host/x?token=pa/ss", "No such path: pa/ss"),
        ("http://hunter2token@host", "Unauthorized: hunter2token"),
    ],
)
def test_no_piece_of_an_address_is_repeated(address: str, said: str) -> None:
    hidden = without_secrets(said, about=address)
    assert not re.search(r"\b(ada|pa|ss|s-s|se|cret|pass|hunter2token)\b", hidden, re.IGNORECASE)


def test_values_of_the_environment_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "open/sesame")
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl\n")
    monkeypatch.setenv("HF_ENDPOINT", "https://ada:magic%40word@mirror")
    said = "open/sesame open%2Fsesame 'hf_abcdefghijkl\\n' magic@word magic%40word /mirror"
    assert without_secrets(said) == "*** *** '***\\n' *** *** /mirror"


def test_a_password_that_is_a_word_does_not_take_the_word_from_every_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "laptop")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "true")
    assert without_secrets("--preset laptop") == "--preset laptop"
    assert without_secrets("laptop is wrong; true", about="http://host") == "*** is wrong; true"


def test_long_and_strange_texts_take_no_time() -> None:
    started = time.monotonic()
    for text in ("a:" * 50_000, "@" + "a:" * 50_000, "://a:b" * 20_000, "x-" * 60_000):
        without_secrets(text)
    assert time.monotonic() - started < 10
