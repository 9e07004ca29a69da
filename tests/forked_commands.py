"""`lemon` and `snakemake` in forks of a process that has imported them, which takes seconds.

Put FOLDER first on the PATH, and `address()` into the environment as FORKED_COMMANDS. What ends a
command there (tests/workflow/forked) ends its fork as well. Forks have one thread for tensors. A
test of how a process starts takes the real commands.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import runpy
import socket
import sys
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import snakemake.cli

import lemon.cli
from lemon.configuration.load import load_project

CONFIG = Path(__file__).parents[1] / "config"
FOLDER = Path(__file__).parent / "workflow" / "forked"
COMMANDS = {"lemon": lemon.cli.main, "snakemake": snakemake.cli.main}
# What these import once they know their work.
PRELOADED = (
    "smart_open",
    "lemon.evaluation.harness",
    "lemon.learning.run",
    "lemon.reporting.report",
    "lemon.tracking.replay",
    "transformers.models.llama.modeling_llama",
)


@cache
def address() -> str:
    """The abstract address of this process's server, which is started by the first call."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")  # the kernel's choice of an abstract address, which leaves no file
    listener.listen(64)
    get_context("fork").Process(target=_serve, args=(listener,), daemon=True).start()
    return listener.getsockname().decode().removeprefix("\0")


def _serve(listener: socket.socket) -> None:
    for name in PRELOADED:
        import_module(name)
    for preset in ("smoke", "laptop"):  # conftest.py keeps what was parsed
        load_project(preset, CONFIG)
    while True:
        asked, _ = listener.accept()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not os.fork():
            listener.close()
            _run(asked)
        asked.close()


def _run(asked: socket.socket) -> None:
    """Become the command that is asked for, answer with its exit code, and end."""
    _, streams, _, _ = socket.recv_fds(asked, 1, 3)
    with asked.makefile() as file:
        words, folder, variables = json.load(file)
    # From here on the end of the one who asked sends SIGIO, which ends this process.
    fcntl.fcntl(asked, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(asked, fcntl.F_SETFL, os.O_ASYNC)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", 1, closefd=False) for n in (1, 2))
    sys.modules["snakemake.shell"].STDOUT = sys.stdout  # it keeps the one of its import
    logging.root.handlers.clear()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for place in variables.get("PYTHONPATH", "").split(os.pathsep):
        if (custom := Path(place) / "sitecustomize.py").is_file():
            runpy.run_path(str(custom))
    sys.argv = words
    try:
        code = COMMANDS[Path(words[0]).name]()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    asked.send(str(code or 0).encode())
    os._exit(0)
