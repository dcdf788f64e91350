"""What is killed goes on to the same bytes; fifty kills of each kind take half an hour: pytest -m slow."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ipa_lib.files import ROOT


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_whatever_the_moment_of_a_kill_the_end_is_the_same(kills):
    done = subprocess.run([sys.executable, Path(__file__).with_name("kill_resume.py"), str(kills)], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(\w+): (\d+) kills, (\d+) of them while .* (\d+) files equal", done.stdout, re.MULTILINE)
    assert [(name, int(count)) for name, count, _, _ in found] == [
        (name, kills) for name in ("training", "generation", "cache")]
    assert all(int(writing) and int(files) for _, _, writing, files in found)


@pytest.mark.slow
def test_many_rounds_in_one_process_leave_nothing_behind():
    """A tenth of what `python tests/soak.py` does."""
    command = [sys.executable, Path(__file__).with_name("soak.py"), "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
