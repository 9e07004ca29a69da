"""What is a name, and which paths may go through shells and formats."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemon.files.names import name_fault, path_fault, shown

NAMES = ("a", "7", "smoke", "Laptop_2", "figure4-right", "v1.2", "a..b", "a" * 64)
NO_NAMES = (
    *("", ".", "..", ".hidden", "-x", "_x", "a b", "a/b", "../a", "a\n", "\na", "a\0", "a" * 65),
    *("x$(touch pwn)", "x`touch pwn`", "x;touch pwn", "x'y", 'x"y', "x{run}", "x\\y", "x|y", "x&y"),
    *("café", "x\u0663", "x\u202ey", "x*", "x?", "x~", "x#", "x%", "x!", "x:y", "x,y", "x=y"),
)
PATHS = (
    *("a.yaml", "./-x.yaml", "/a/b c/d.yaml", "../up/d.yaml", "Ünïcödé/x.yaml", "中文/x.yaml"),
    *("a (copy)/x.yaml", "a;b&c|d<e>f*?/x.yaml", "a#b!c/x.yaml", "a,b=c+d@e~f%g:h/x.yaml"),
)
NO_PATHS = (
    *("", "-x.yaml", "a'b", 'a"b', "a`b", "a$b", "a\\b", "a{b", "a}b", "a\nb", "a\tb", "a\0b"),
    *("a\x1bb", "a\u200bb", "a\u202eb", "a\ud800b", "a\u00a0b"),
)


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize("name", NO_NAMES)
def test_no_names(name: str) -> None:
    fault = name_fault(name)
    assert fault is not None and fault.isprintable() and "is no name; take letters" in fault


@pytest.mark.parametrize("path", PATHS)
def test_paths(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize("path", NO_PATHS)
def test_no_paths(path: str) -> None:
    fault = path_fault(path)
    assert fault is not None and fault.isprintable()


@given(st.text())
def test_a_path_is_the_same_to_python_to_formats_and_in_either_quotes(path: str) -> None:
    """Snakemake writes `repr(path)` into a command, and a cluster that into double quotes."""
    if path_fault(path) is None:
        assert shlex.split(repr(path)) == [path]
        assert shlex.split(f'"{path}"') == [path]
        assert path.format() == path


def test_a_shell_reads_every_path_as_itself() -> None:
    for path in PATHS:
        for quoted in (repr(path), f'"{path}"', shlex.quote(path)):
            done = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True)
            assert done.stdout.decode() == path


def test_a_long_value_is_cut() -> None:
    assert shown("a" * 100) == "'" + "a" * 59 + "..."
    assert shown(7) == "7"
