"""A set in CelebA's layout, small enough for every test: 12 people x 6 pictures of noise, 178 x 218."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from ipa_lib.data.celeba import ATTRIBUTES
from ipa_lib.files import ROOT

settings.register_profile("project", deadline=None)  # a busy machine is no failure
settings.load_profile("project")


@pytest.fixture(scope="session")
def tiny_celeba(tmp_path_factory):
    """Folder for reading only; persons 1…8 are train, 9 and 10 val, 11 and 12 test."""
    return _write_celeba(tmp_path_factory.mktemp("celeba"), people=12, pictures=6)


@pytest.fixture
def own_celeba(tiny_celeba, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_celeba, tmp_path / "celeba")


def _write_celeba(root, people, pictures):
    rng = np.random.default_rng(0)
    persons = rng.permutation(np.repeat(np.arange(1, people + 1), pictures))
    files = [f"{number:06d}.jpg" for number in range(1, len(persons) + 1)]
    partition = np.searchsorted([people - 3, people - 1], persons, side="right")
    signs = rng.choice([-1, 1], (len(files), len(ATTRIBUTES)))
    _write_lines(root / "identity_CelebA.txt", map("{} {}".format, files, persons))
    _write_lines(root / "list_eval_partition.txt", map("{} {}".format, files, partition))
    rows = [" ".join([file, *map("{:2d}".format, row)]) for file, row in zip(files, signs, strict=True)]
    _write_lines(root / "list_attr_celeba.txt", [str(len(files)), " ".join(ATTRIBUTES) + " ", *rows])
    (root / "img_align_celeba").mkdir()
    for file in files:
        noise = Image.fromarray(rng.integers(0, 256, (7, 6, 3), np.uint8)).resize((178, 218))
        noise.save(root / "img_align_celeba" / file)
    return root


def _write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="session")
def warm_server(tmp_path_factory):
    """(socket, process, environment of a job of one thread) of a server that forks kernels; a worker has one."""
    from ipa_lib.workflow import runs, warm

    path = tmp_path_factory.mktemp("warm") / "socket"
    environment = runs.KERNEL_ENVIRONMENT | dict(os.environ) | warm.ONE_THREAD
    environment |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "ipa_lib.workflow.warm", str(path), str(os.getpid())]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.05)
    yield path, process, environment
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def warm_kernels(warm_server):
    """Notebooks that a module's tests execute have their kernels forked, as in a workflow."""
    path, _, environment = warm_server
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment | {"IPA_WARM": str(path)}).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def small_results(tmp_path_factory):
    """A results folder of the mini base and of a few drawn people, for reading only."""
    import small_results

    return small_results.write(tmp_path_factory.mktemp("small") / "results")


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory):
    """A base model with random weights, for reading only."""
    import random_base

    return random_base.write(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def base(base_folder):
    from ipa_lib.diffusion.backbone import load_base

    return load_base(base_folder)


@pytest.fixture(scope="session")
def stored(tiny_celeba, base):
    """(table, features) of the tiny set through the random base."""
    from ipa_lib.data import celeba
    from ipa_lib.diffusion import features

    table = celeba.read_celeba(tiny_celeba)
    return table, features.compute_features(table, base)
