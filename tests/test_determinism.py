"""One seed, one result: whatever the number of threads or workers, and from one run of the workflow to the next."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from ipa_lib.data import identity_sets
from ipa_lib.diffusion import sampling, training
from ipa_lib.files import ROOT

pytestmark = pytest.mark.thorough
PICTURES = pd.DataFrame({"person": [i // 7 for i in range(140)], "split": "train"})
MADE = ("table.csv", "scores.csv", "slots.csv", "counts.csv", "pictures.csv", "paper/numbers.tex", "paper/tables/*.tex",
        "paper/figures/*.pdf", "adapters/*/adapter.safetensors", "adapters/*/log.jsonl", "samples/*/*/*/*.png")


@pytest.fixture(params=[1, 2, 4])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def by_one_thread(base):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield drawn(base, 0)
    torch.set_num_threads(before)


def drawn(base, workers):
    """Everything that is drawn at random in training, generation and evaluation."""
    groups = identity_sets.group_by_person(PICTURES, 4)
    sets = identity_sets.LeaveOneOutSets(groups, 3, 4, steps=12, seed=5, random_n=True)
    weights = training.min_snr_weights(base.scheduler, 0.02)
    yielded = [x for batch in DataLoader(sets, batch_size=None, num_workers=workers) for x in batch.values()]
    noise = [x for step in range(5) for x in training.draw_noise(
        base.scheduler, (64, 4, 16, 16), training.step_generator(3, step), weights)]
    evaluated = identity_sets.evaluation_sets(groups, 3, 2, seed=7)
    x_T = sampling.initial_noise(evaluated["person"], evaluated["sample"], (4, 64, 64), seed=7)
    return [*yielded, *noise, x_T], evaluated.to_dict("list")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_threads_and_workers_change_nothing_that_is_drawn(base, by_one_thread, threads, workers):
    tensors, evaluated = drawn(base, workers)
    assert evaluated == by_one_thread[1] and len(tensors) == len(by_one_thread[0])
    assert all(torch.equal(a, b) for a, b in zip(tensors, by_one_thread[0], strict=True))


@pytest.mark.slow
def test_two_smoke_runs_are_equal_byte_by_byte(tmp_path):
    """In a clone of its own, twice from nothing."""
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    runs = [smoke(tmp_path / "clone") for _ in range(2)]
    assert len(runs[0]) > 30 and runs[0].keys() == runs[1].keys()
    assert [name for name, made in runs[0].items() if made != runs[1][name]] == []


def smoke(clone: Path) -> dict[str, bytes]:
    """What a run of the smoke profile from nothing gives, by the names of the files."""
    results = clone / "results" / "smoke"
    shutil.rmtree(results, ignore_errors=True)
    shutil.rmtree(clone / "data", ignore_errors=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["scripts/snakemake.sh", "--config", "profile=smoke", "--", "paper_inputs"]
    done = subprocess.run(command, cwd=clone, env=os.environ | {"PATH": path, "PYTHONPATH": str(clone)},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {str(file.relative_to(results)): file.read_bytes() for made in MADE for file in sorted(results.glob(made))}
