"""Two processes never write into one run's folder."""

import subprocess
import sys

import pytest

from lemon.errors import BadInput
from lemon.storage import sole_writer

HOLD = """
import sys, time
from pathlib import Path
from lemon.storage import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_has_been_killed(tmp_path):
    folder = tmp_path / "run"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None and first.stdout.readline() == b"held\n"
        with pytest.raises(BadInput, match="another process writes here"), sole_writer(folder):
            pass
    finally:
        first.kill()
        first.wait()
    with sole_writer(folder):
        pass


def test_a_folder_can_be_held_again_after_its_writer_ended(tmp_path):
    for _ in range(2):
        with sole_writer(tmp_path):
            pass
