"""Keep passwords and tokens out of everything that is printed or written.

A secret is recognised by its place, as in `scheme://user:password@host` or `token=...`, or by its
value if the environment holds it. In a message about a given address every non-public piece of the
address is hidden: a library that parses it wrongly may print a piece as the port or host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, unquote

HIDDEN = "***"

# Up to the last @ of a word: a password may hold / and @. Host and path are kept.
USER = re.compile(r"(?<=://)(?:(?<!file://)(?<!sqlite://)/)?(?=[^\s/?#]*[:@])(?:(?!://)\S)*@")
# A "port" that is not a number is a password, even if it holds a space.
SPACED_USER = re.compile(r"(?<=://)[^\s/?#@:]*:(?!\d*(?:\W|$))(?:(?!://)[^\n])*?@")
USER_WITHOUT_SCHEME = re.compile(
    r"(?<![^\s'\"(\[{<=,])[\w.+%/-]+:(?!//)(?:(?!://)\S){0,1000}@(?=[\w\[])"
)

# Names of secrets. Tokens only of these kinds, since pad_token and max_tokens are no secrets.
SECRET = (
    r"password|passwd|passphrase|pwd|secret|credentials?|signature"
    r"|(?:access|account|api|private|secret)[_-]?key"
)
KINDS = (
    r"access|api|auth|client|databricks|github|hf|hub|id|mlflow|oauth|refresh|security|session"
    r"|tracking|x-amz"
)
NAME = rf"(?<![\w-])(?:pass|sig|jwt|sas|[\w-]*(?:{SECRET})|(?:(?:{KINDS})[_-]?)*token)"
# A value: in quotes, or up to the next parameter, without a closing bracket or punctuation.
QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
WORD = r"(?:(?!;\s*[\w ]+=)[^\s&])*[^\s&;,.)\]}>'\"]"
ASSIGNMENTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"({NAME}['\"]? ?=(?!=) ?)(?:{QUOTED}|\{{[^}}]*\}}|{WORD})",
        rf"((?<=[?&])(?:auth|code|key)=){WORD}",
        rf"({NAME}%3D)(?:(?!%3B|%26)[^\s&;'\"])+",
        rf"({NAME}['\"]? ?: ?)(?:{QUOTED})",
        rf"((?<![\w-])\w*(?:password|passwd|pwd|secret):){WORD}",
        r"(authorization['\"]? ?[:=] ?['\"]?(?:[a-z]+ )?)[^\s'\"]+",
    )
)

SECRET_VARIABLE = re.compile(
    r"(?!.*DISABLE).*"
    r"(?:PASSWORD|PASSWD|PASSPHRASE|_PWD|TOKEN|SECRET|(?:ACCESS|ACCOUNT|API|PRIVATE)_?KEY)",
    re.IGNORECASE,
)
ADDRESS_VARIABLE = re.compile(r"(?:URI|URL|ENDPOINT|PROXY)$", re.IGNORECASE)
ORDINARY = re.compile(r".{0,3}|[A-Z]?[a-z]{0,11}|[A-Z]{0,12}|\d{0,12}", re.S)  # not hidden by value
TOKEN_ALONE = 8  # a user name without a password is a token from this length on


def without_secrets(text: str, about: str = "") -> str:
    """The text with `***` for every secret, and addresses without user and password.

    If the text is `about` an address, each piece of it that `public_address` removes is hidden too,
    and so are secrets in the environment that are ordinary words or numbers.
    """
    if about:
        text = text.replace(about, public_address(about))
    environment = frozenset(os.environ.items())
    for user in sorted(_users(environment), key=len, reverse=True):
        text = text.replace(f"{user}@", "")
    values = _secrets(environment)
    if not about:
        values = {value for value in values if not ORDINARY.fullmatch(value)}
    hidden = {form for value in values for form in _spellings(value)}
    return _hide(_by_place(text), hidden | (_pieces(about) if about else set()))


def public_address(address: str) -> str:
    """An address without user, password, query and fragment."""
    scheme, mark, rest = _split(address)
    if _is_path(scheme, rest):
        shown = rest.partition("?")[0]
    else:
        shown = re.split(r"[?#]", rest.removeprefix(f"{_user(address)}@"))[0]
    return _by_place(f"{scheme}{mark}{shown}")


def _split(address: str) -> tuple[str, str, str]:
    """Scheme, `://` and the rest; an @ before `://` means that there is no scheme."""
    scheme, mark, rest = address.partition("://")
    return (scheme, mark, rest) if mark and "@" not in scheme else ("", "", address)


def _is_path(scheme: str, rest: str) -> bool:
    """Whether the address is a local file, whose name may hold any character."""
    return rest.startswith(("/", ".", "~")) and scheme.partition("+")[0] in ("", "file", "sqlite")


def _user(address: str) -> str:
    """Everything before the last @, unless the @ is in a query."""
    scheme, _, rest = _split(address)
    queried = re.match(r"[\w.-]*(?::\d+)?(?:/[^@?#]*)?\?[\w.-]+=", rest)
    return "" if queried or _is_path(scheme, rest) else rest.rpartition("@")[0]


def _by_place(text: str) -> str:
    """Hide secrets recognised by their place."""
    for user in (USER, SPACED_USER, USER_WITHOUT_SCHEME):
        text = user.sub("", text)
    for assignment in ASSIGNMENTS:
        text = assignment.sub(rf"\1{HIDDEN}", text)
    return text


@lru_cache(maxsize=1)
def _users(environment: frozenset[tuple[str, str]]) -> set[str]:
    """User and password of each address in the environment."""
    values = (value for name, value in environment if ADDRESS_VARIABLE.search(name))
    return {user for value in values if "://" in value and (user := _user(value))}


@lru_cache(maxsize=1)
def _secrets(environment: frozenset[tuple[str, str]]) -> set[str]:
    """Environment values that are secrets by the variable's name, or by place in an address."""
    found = {value for name, value in environment if SECRET_VARIABLE.fullmatch(name)}
    for user in _users(environment):
        name, colon, password = user.partition(":")
        found.add(password if colon else name if len(name) >= TOKEN_ALONE else "")
    return {value.strip() for value in found if value.strip()}


def _spellings(value: str) -> set[str]:
    """A value as given, URL-quoted, URL-unquoted, and as Python prints it."""
    quoted = {quote(value, safe, errors="surrogateescape") for safe in ("", "/")}
    return {value, unquote(value), repr(value)[1:-1], *quoted}


def _pieces(address: str) -> set[str]:
    """The words of an address that its public form does not show."""
    word = re.compile(r"[\w.~-]*\w[\w.~-]*")
    whole = {form for form in _spellings(address) for form in word.findall(form)}
    return whole - set(word.findall(public_address(address)))


def _hide(text: str, values: Iterable[str]) -> str:
    """Hide values, the longest first; a short one only where it is not part of a word."""
    for value in sorted(values, key=len, reverse=True):
        found = re.escape(value)
        if len(value) < TOKEN_ALONE:
            found = rf"(?<![^\W_]){found}(?![^\W_])"
        text = re.sub(found, HIDDEN, text, flags=re.IGNORECASE)
    return text
