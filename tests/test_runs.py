"""runs: a notebook is executed whole or leaves no result, and a mistake ends in one line."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import nbformat
import pytest

from ipa_lib import files
from ipa_lib.workflow import paths, provenance, runs

SOURCES = {
    "lam": "lam: float = 1.0  # image weight\nhow: str = 'well'  # how it goes",
    "seen": "import sys, os\nprint(lam, sys.executable, os.environ['PYTHONHASHSEED'], os.getcwd())",
    "fail": "if how == 'badly':\n    raise ValueError('lam: expected\\n  less')",
    "divide": "if how == 'worse':\n    1 / 0",
    "sleep": "import time\nif how == 'slowly':\n    time.sleep(60)",
}


@pytest.fixture
def notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in SOURCES.values()]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / "05_generate.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "results" / "05_generate.ipynb"


def run(notebook, output, *flags):
    return runs.main([str(notebook), str(output), "--quiet", *flags])


def names(folder):
    """What is there for a reader: the lock is for the writers."""
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))


def test_the_executed_copy_has_the_parameters_and_runs_in_this_environment(notebook, output):
    assert run(notebook, output, "-p", "lam", "0.5") == 0
    assert names(output.parent) == ["05_generate.ipynb"]
    copy = nbformat.read(output, 4)
    (printed,) = [out.text for cell in copy.cells for out in cell.get("outputs", [])]
    assert copy.metadata.papermill.output_path == str(output)  # not the temporary name that it was written under
    assert printed.split() == ["0.5", sys.executable, "0", str(notebook.parent)]


def test_a_mistake_keeps_the_old_result_and_the_cells_until_then(notebook, output, capsys, monkeypatch):
    failures = notebook.with_name("failures")
    monkeypatch.setenv("IPA_FAILURES", str(failures))
    output.parent.mkdir()
    output.write_text("old")
    assert run(notebook, output, "-p", "how", "badly") == 1
    line = f"{notebook}: cell 4: ValueError: lam: expected less"
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == line and "Traceback" not in said
    assert failures.read_text() == line + "\n"
    assert output.read_text() == "old"
    assert names(output.parent) == ["05_generate.failed.ipynb", "05_generate.ipynb"]
    assert "1.0" in (output.parent / "05_generate.failed.ipynb").read_text()


def test_an_error_of_ours_shows_its_traceback_and_the_line_last(notebook, output, capsys):
    assert run(notebook, output, "-p", "how", "worse") == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1] == f"{notebook}: cell 5: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-p", "lan", "1"], "05_generate: unknown parameter 'lan'; did you mean lam?"),
        (["-p", "lam", "much"], "05_generate: lam: expected a finite number, got 'much'"),
        (["-p", "lam", "nan"], "05_generate: lam: expected a finite number, got 'nan'"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(notebook, output, capsys, flags, said):
    assert run(notebook, output, *flags) == 1
    assert capsys.readouterr().err == said + "\n"
    assert not output.parent.exists()


def test_a_missing_notebook_is_one_line(notebook, output, capsys):
    assert run(notebook.with_name("05_generat.ipynb"), output) == 1
    assert capsys.readouterr().err == "no notebook 05_generat in notebooks/; did you mean 05_generate?\n"


def test_a_terminated_run_leaves_nothing_half_written(notebook, output):
    command = [sys.executable, "-m", "ipa_lib.workflow.runs", str(notebook), str(output), "-q", "-p", "how", "slowly"]
    with subprocess.Popen(command, cwd=files.ROOT, stderr=subprocess.DEVNULL) as process:
        while not (output.parent.exists() and names(output.parent)):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) != 0
    assert names(output.parent) == []


def test_a_second_writer_of_the_same_output_waits(output):
    entered = threading.Event()

    def enter():
        with runs._locked(output):
            entered.set()

    output.parent.mkdir()
    with open(output.with_name(".05_generate.lock"), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    thread.join()


def test_provenance_says_where_a_result_comes_from(tmp_path):
    path = provenance.write_provenance(tmp_path, seed=3, device="cpu", data_hash="abc", steps=10)
    written = json.loads(path.read_text())
    assert (written["seed"], written["device"], written["data"], written["steps"]) == (3, "cpu", "abc", 10)
    assert written["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert written["versions"]["torch"].startswith("2.")
    assert written["wall_time"] > 0 and 10**7 < written["peak_memory"] < 10**12


def test_provenance_knows_the_commit_and_what_differs_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() == {"commit": None, "dirty": None}
    (tmp_path / "a").write_text("1")
    for command in ("init", "add a", "-c user.name=a -c user.email=a@b commit -m a"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    head = (tmp_path / ".git" / (tmp_path / ".git" / "HEAD").read_text().split()[1]).read_text().strip()
    assert provenance.commit() == {"commit": head, "dirty": False}
    (tmp_path / "a").write_text("2")
    assert provenance.commit() == {"commit": head, "dirty": True}


def test_a_log_comes_back_without_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25, "val_loss": 0.3}\n{"step": 3, "lo')
    assert provenance.read_log(path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "val_loss": 0.3}]


def test_facts_and_costs_of_several_runs_become_one_file_each(tmp_path):
    for name, seconds in (("a", 12.5), ("b", 30.0)):
        provenance.write_provenance(tmp_path / name, 0, "cpu", "abc", train_steps=300, train_seconds=seconds)
    (tmp_path / "data.json").write_text('{"pictures": 7, "seed": 9}')
    provenance.gather_facts([tmp_path / "data.json", tmp_path / "a/provenance.json"], tmp_path / "facts.json")
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["pictures"], facts["seed"], facts["train_steps"]) == (7, 0, 300)  # of two the later
    provenance.gather_costs([tmp_path / name / "provenance.json" for name in "ab"], tmp_path / "costs.csv")
    assert (tmp_path / "costs.csv").read_text() == "adapter,seconds,steps\na,12.5,300\nb,30.0,300\n"


def test_the_first_picture_of_an_executed_notebook_is_written(tmp_path):
    published = files.ROOT / "results/published" / paths.PUBLISHED / "13_show_samples.ipynb"
    runs.write_picture(published, tmp_path / "grid.png")
    assert (tmp_path / "grid.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="01_prepare_data.ipynb: no picture in it; "):
        runs.write_picture(paths.NOTEBOOKS / "01_prepare_data.ipynb", tmp_path / "none.png")


def test_a_recipe_is_the_provenance_and_what_was_validated(tmp_path):
    (tmp_path / "provenance.json").write_text('{"seed": 3, "train_steps": 3}')
    lines = ['{"step":0,"loss":1.0,"val_loss":2.0}', '{"step":1,"loss":0.9,"val_loss":null}', '{"step":2,"loss":0.8}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    provenance.write_recipe(tmp_path / "provenance.json", tmp_path / "log.jsonl", tmp_path / "recipe.json")
    kept = json.loads((tmp_path / "recipe.json").read_text())
    assert kept == {"seed": 3, "train_steps": 3, "log": [{"step": 0, "loss": 1.0, "val_loss": 2.0}]}
