"""Disks that are full or protected, workflows that are killed or started twice.

No half of a result is ever taken for a whole, and the line says what to do. A small tmpfs is the disk; to mount it
takes root.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import tiny
import torch

from ipa_lib import files
from ipa_lib.data import picture_table
from ipa_lib.diffusion import galleries, training
from ipa_lib.files import ROOT, atomic, sweep
from ipa_lib.workflow import gather, provenance, runs

pytestmark = pytest.mark.thorough


@pytest.fixture
def disk(tmp_path):
    """A disk of 1 MB, and a function that changes how it is mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if os.getuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield folder, lambda how: subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)
    subprocess.run(["umount", "--lazy", folder], check=True)


def notebook(folder, *sources):
    """A notebook of these cells, of which the first holds the parameters."""
    cells = [nbformat.v4.new_code_cell(source) for source in ("n: int = 1", *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    folder.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "slow.ipynb")
    return folder / "slow.ipynb"


ROWS = pd.DataFrame({"person": range(400), "sample": 0, "lam": 1.0})
WRITERS = {  # what is written whole at size 1, and does not fit at a size of some hundred
    "adapter.safetensors": lambda file, size: tiny.adapter(tiny.unet(), min(size, 64)).save(file),
    "training.state": lambda file, size: training.Checkpoint(file, {}).save(tensors=[torch.ones(1000, size)]),
    "table.csv": lambda file, size: picture_table.write_table(
        pd.DataFrame({"path": ["a" * 99] * 50 * size, "person": 1}), file),
    "scores.csv": lambda file, size: gather.gather([_scores(file, size)], file),
    "facts.json": lambda file, size: provenance.write_provenance(file.parent, 0, "cpu", "", notes="x" * 9999 * size),
}


def _scores(file, size):
    pd.DataFrame({"x": [0.12345] * 500 * size}).to_csv(part := file.parent.with_name("part.csv"), index=False)
    return part


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_keeps_what_was_whole(disk, name):
    folder, remount = disk
    write, file = WRITERS[name], folder / name
    write(file, 1)
    (kept,) = [file for file in folder.iterdir()]
    before = kept.read_bytes()
    with pytest.raises(OSError, match="the disk is full; make room and run it again") as error:
        write(file, 800)
    assert str(kept) in str(error.value) and "\n" not in str(error.value)
    assert [*folder.iterdir()] == [kept] and kept.read_bytes() == before
    remount("size=64m")
    write(file, 800)
    assert kept.read_bytes() != before


def test_a_gallery_on_a_full_disk_goes_on_when_there_is_room(disk):
    folder, remount = disk
    pictures = np.random.default_rng(0).integers(0, 256, (len(ROWS), 64, 64, 3), np.uint8)
    galleries.begin(folder, weights="a")
    with pytest.raises(OSError, match="lam1/.*png: the disk is full; make room"):
        galleries.write_pictures(folder, ROWS, pictures)
    made = sorted(folder.glob("lam1/*"))
    assert 20 < len(made) < 200 and not galleries.are_made(folder, ROWS)
    with pytest.raises(FileNotFoundError, match="no finished gallery"):
        galleries.read_index(folder)
    remount("size=16m")
    galleries.begin(folder, weights="a")
    assert sorted(folder.glob("lam1/*")) == made and galleries.are_made(folder, ROWS[:len(made)])
    galleries.write_pictures(folder, ROWS[len(made):], pictures[len(made):])
    assert np.array_equal(galleries.read_pictures(folder, ROWS), pictures)


def test_a_notebook_on_a_full_disk_ends_in_one_line(disk, tmp_path, capsys):
    folder, remount = disk
    path = notebook(tmp_path / "notebooks", f"open({str(folder / 'fill')!r}, 'wb').write(bytes(990_000)); print(1)",
                    "print('x' * 99_999)")
    assert runs.main([str(path), str(folder / "out.ipynb"), "-q"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"{folder / 'out.ipynb'}: the disk is full; make room and run it again: what is whole is kept"
    assert "Traceback" not in "".join(said) and {file.name for file in folder.iterdir()} == {"fill", ".out.lock"}


def test_a_protected_folder_is_one_line(disk, tmp_path, capsys):
    folder, remount = disk
    path = notebook(tmp_path / "notebooks")
    remount("ro")
    for output in (folder / "out.ipynb", folder / "new" / "out.ipynb"):
        assert runs.main([str(path), str(output), "-q"]) == 1
        assert capsys.readouterr().err == (
            f"{output}: can't be written (Read-only file system); a folder to write in was expected\n")
    with pytest.raises(OSError, match="table.csv: can't be written .Read-only file system."), atomic(
            folder / "table.csv"):
        raise AssertionError


@pytest.fixture
def repository(disk, tmp_path):
    """A workflow of one notebook that writes its result in two halves, the second at a word; results/ is the disk."""
    for name in ("scripts", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "results").symlink_to("disk")
    notebook(tmp_path / "notebooks", "import time\nfrom pathlib import Path\nfrom ipa_lib.files import atomic",
             "end = time.monotonic() + 60  # should the word never come",
             "with atomic('../results/out.txt') as file:\n    file.write_text('half')\n"
             "    while not Path('../go').exists() and time.monotonic() < end:\n        time.sleep(0.05)\n"
             "    file.write_text('whole')")
    (tmp_path / "Snakefile").write_text(
        f'rule all:\n    output: "results/out.txt"\n    log: nb="results/slow.ipynb"\n'
        f'    shell: "{sys.executable} -m ipa_lib.workflow.runs notebooks/slow.ipynb {{log.nb}} -q"\n')
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    how = {"cwd": tmp_path, "env": os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "CORES": "1"},
           "stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return tmp_path, ["scripts/snakemake.sh", "all"], how


def halves(folder):
    """The processes' temporary files that hold something."""
    return [file for file in folder.glob("results/.out.*+*") if file.stat().st_size]


@pytest.mark.parametrize("whom", ["the workflow alone", "all processes"])
def test_a_killed_workflow_starts_again_with_the_same_command(repository, whom):
    folder, command, how = repository
    with subprocess.Popen(command, start_new_session=True, **how) as first:
        while not halves(folder):
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.05)
        second = subprocess.run(command, **how)
        assert second.returncode == 75 and second.stderr.startswith("another run is using this folder: wait")
        script = psutil.Process(first.pid)
        snakemake = [child for child in script.children() if "ipa_lib.workflow.warm" not in child.cmdline()]
        for process in [script, *(script.children(recursive=True) if whom == "all processes" else snakemake)]:
            process.send_signal(signal.SIGKILL)
    assert not (folder / "results/out.txt").exists()
    (folder / "go").touch()
    again = subprocess.run(command, **how)
    assert again.returncode == 0, again.stderr
    assert (folder / "results/out.txt").read_text() == "whole"
    assert not list(folder.glob("results/.out.*+*")) and (folder / "results/slow.ipynb").is_file()


def test_a_workflow_in_a_protected_folder_says_so(repository, disk):
    folder, command, how = repository
    disk[1]("ro")
    done = subprocess.run(command, **how)
    assert done.returncode == 1 and done.stderr.startswith(f"{folder} can't be written to: ")
    assert done.stderr.count("\n") == 1 and not list(folder.glob("results/*"))


def test_only_what_dead_processes_left_is_swept(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / "a" / f".table.{files.HOST}+{ended.pid}.abc.csv"
    left.parent.mkdir()
    old = tmp_path / ".tmpAb3dEf"  # of safetensors, two hours old
    for file in (left, old, tmp_path / ".begun.json", tmp_path / f".x.elsewhere+{ended.pid}.abc.csv"):
        file.write_text("half")
    os.utime(old, (0, time.time() - 7200))
    with atomic(tmp_path / "a" / "table.csv") as mine:
        sweep(tmp_path)
        assert mine.exists() and not left.exists()
        mine.write_text("whole")
    assert len(list(tmp_path.rglob("*"))) == 4  # a, a/table.csv and the two that are nobody's here
