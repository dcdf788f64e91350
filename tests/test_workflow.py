"""The whole line: the `smoke` profile through Snakemake and papermill, from drawn faces to the PDF.

The run is shared by the tests and has a lock: one worker has the whole file (`make test`: `--dist loadfile`).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ipa_lib import files
from ipa_lib.evaluation import scoring
from ipa_lib.workflow import paths, provenance, runs
from ipa_lib.workflow.config import load_profile, profile_names

ROOT = files.ROOT
SMOKE = paths.results_dir("smoke")
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
TEX = subprocess.run(["bash", "-c", ". scripts/lib.sh; tex_tool"], cwd=ROOT, capture_output=True).returncode == 0


def report(*arguments):
    command = ["scripts/report.sh", "smoke", *arguments]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)


def planned(profile="smoke", *flags, target="all" if TEX else "paper_inputs"):
    """Names of the jobs that Snakemake would run."""
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--cores", "2",
               *flags, "--config", f"profile={profile}", "--", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    table = said.split("job", 1)[-1] if "count" in said else ""
    return {line.split()[0]: int(line.split()[1]) for line in table.splitlines() if len(line.split()) == 2
            and line.split()[1].isdigit()}


@pytest.fixture(scope="module")
def smoke():
    """Results of a run from nothing."""
    shutil.rmtree(SMOKE, ignore_errors=True)
    shutil.rmtree(paths.data_dir("smoke"), ignore_errors=True)
    done = report()
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def table(smoke):
    return pd.read_csv(SMOKE / "table.csv")


def test_it_ends_with_the_paper(smoke):
    if not TEX:
        assert "TeX is missing" in smoke.stdout + smoke.stderr
        pytest.skip("no TeX here: figures, tables and numbers are made, the PDF is not")
    assert smoke.stdout.strip().splitlines()[-1] == "results/smoke/paper/main.pdf"
    assert (SMOKE / "paper/main.pdf").read_bytes().startswith(b"%PDF")


def test_the_table_is_tidy_and_complete(table):
    assert list(table.columns) == list(scoring.TABLE_COLUMNS)
    assert set(table.metric) == {"identity", "top1", "text", "copying", "fid", "kid", "is"}
    assert set(table.adapter) == {"mean-own-n2r-s0", "mean-own-shown-n2r-s0", "pool-marked-mixed-n2r-s0", "real",
                                  "reconstruction", "other"}
    main = table[table.adapter == "mean-own-n2r-s0"]
    cells = main[main.cell.isin(["n1", "n2"])].groupby(["n_refs", "lam"]).size()
    assert cells.index.tolist() == [(1, 0.0), (1, 1.0), (2, 0.0), (2, 1.0)] and cells.nunique() == 1
    more = main.drop_duplicates("cell").set_index("cell")
    assert more.prompts.to_dict() == {"n1": "own", "n2": "own", "n2-occluded0": "occluded0", "n2-w1": "own",
                                      "n2-occluded100": "occluded100", "n2-reversed": "reversed",
                                      "n2-foreign1": "foreign1"}
    partial = table[table.prompts.isin(["window14", "complementary", "redundant"])]
    assert set(partial.adapter) == {"pool-marked-mixed-n2r-s0"} and set(partial.views) == {"mixed"}
    assert "copying" not in set(partial.metric)  # what is left of a prompt is nobody's picture
    assert more.guidance["n2-w1"] == 1 != more.guidance["n2"]
    assert (table.low <= table.high).all() and table["count"].gt(0).all() and table.judge.notna().all()


def test_lam_0_is_the_same_picture_whatever_n(smoke):
    galleries = [SMOKE / "samples/mean-own-n2r-s0" / name / "lam0" for name in ("n1", "n2")]
    names = [sorted(file.name for file in gallery.iterdir()) for gallery in galleries]
    assert names[0] == names[1] and len(names[0]) == 6
    for name in names[0]:
        first, second = (np.asarray(Image.open(gallery / name)) for gallery in galleries)
        assert np.array_equal(first, second)


def test_side_cells_differ_from_the_usual_one_in_what_they_are_named_after(smoke):
    """λ = 1 and the same noise: other prompts, another order or another w give other pictures of the same people."""
    names = ["n2", "n2-occluded0", "n2-occluded100", "n2-reversed", "n2-w1"]
    drawn = {name: sorted((SMOKE / "samples/mean-own-n2r-s0" / name / "lam1").iterdir()) for name in names}
    assert len({tuple(file.name for file in files) for files in drawn.values()}) == 1
    first = [np.asarray(Image.open(files[0])).tobytes() for files in drawn.values()]
    assert len(set(first)) == len(names)


def test_what_the_paper_says_of_the_side_questions_comes_from_these_cells(smoke):
    numbers = (SMOKE / "paper/numbers.tex").read_text()
    keys = "occlusion/nmax/100/difference", "best_w/identity/w", "target_shown/nmax/shown/copying", "over_n/nmax/share"
    for key in keys:
        assert f"\\setresult{{{key}}}" in numbers, key
    measured = pd.read_csv(SMOKE / "slots.csv", index_col="adapter")
    assert 0 < measured.cosine["mean-own-n2r-s0"] < 1 and measured.order_change["mean-own-n2r-s0"] > 0
    counts = pd.read_csv(SMOKE / "counts.csv")
    assert sorted(set(counts["count"])) == [3, 6] and set(counts.metric) == {"fid", "kid"}


def test_executed_notebooks_and_provenance_lie_with_their_runs(smoke):
    run = SMOKE / "adapters/mean-own-n2r-s0"
    executed = nbformat.read(run / "04_train_adapter.ipynb", as_version=4)
    assert all(c.execution_count for c in executed.cells if c.cell_type == "code" and c.source)
    kept = json.loads((run / "provenance.json").read_text())
    assert {"commit", "dirty", "versions", "seed", "device", "data", "wall_time"} <= set(kept)
    assert len(provenance.read_log(run / "log.jsonl")) == 12


def test_nothing_changed_nothing_runs(smoke):
    assert planned() == {}


def test_a_deleted_figure_is_the_only_one_made_again(smoke):
    (SMOKE / "paper/figures/text_vs_lam.pdf").unlink()
    assert set(planned()) - {"total", "all", "paper_inputs", "paper"} == {"over_lambda"}
    before = (SMOKE / "paper/figures/identity_vs_lam.pdf").read_bytes()
    assert report().returncode == 0
    assert (SMOKE / "paper/figures/text_vs_lam.pdf").is_file() and planned() == {}
    assert (SMOKE / "paper/figures/identity_vs_lam.pdf").read_bytes() == before  # byte-identical figures


THOROUGH = [pytest.param(name, marks=pytest.mark.thorough) for name in profile_names() if name not in ("smoke", "mini")]


@pytest.mark.parametrize("profile", ["smoke", "mini", *THOROUGH])
def test_every_profile_has_a_graph(profile):
    jobs, adapters = planned(profile, "--forceall"), load_profile(profile).adapters
    assert jobs["train"] == len(adapters)
    assert jobs["generate"] == jobs["evaluate"] == len(load_profile(profile).cells)


def test_the_launch_of_a_profile_starts_its_trainings_and_nothing_else(tmp_path):
    (tmp_path / "many.yaml").write_text("launch: torchrun --standalone --nproc-per-node 2")
    command = [sys.executable, "-m", "snakemake", "-n", "-p", "--cores", "2", "--config",
               f"profile={tmp_path / 'many.yaml'}", "--", "paper_inputs"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "ipa_lib.workflow.runs" in line]
    commands = {line.split("Shell command: ")[-1].strip() for line in said}
    start = "torchrun --standalone --nproc-per-node 2 -m ipa_lib.workflow.runs notebooks/04_train_adapter.ipynb"
    assert {line for line in commands if line.startswith(start)} == {line for line in commands if "04_train" in line}
    assert {line for line in commands if "torchrun" not in line}


@pytest.mark.thorough
def test_the_base_notebook_trains_every_part(tmp_path, smoke):
    """A base of two steps a part: worthless, but made by the very cells that make the tracked one."""
    values = {"profile": "smoke", "publish": str(tmp_path / "base"), "judge_data": str(tmp_path / "judges"),
              "judge_people": 70, "judge_steps": 2, "encoder_data": str(tmp_path / "encoder"),
              "encoder_steps": 2, "vae_steps": 2, "unet_steps": 2}
    runs.execute(paths.NOTEBOOKS / "02_train_base.ipynb", tmp_path / "02.ipynb", values, progress=False)
    assert (tmp_path / "base/model_index.json").is_file()
    assert len(list((tmp_path / "base/recipes").glob("*.json"))) == 6
    assert not [file for file in (tmp_path / "base").rglob("*.json") if str(tmp_path) in file.read_text()]


@pytest.mark.thorough
def test_one_seed_is_one_adapter(smoke, tmp_path):
    """Trained twice by the notebook, in kernels of their own: the same weights, bit for bit."""
    run, values = SMOKE / "adapters/mean-own-n4-s7", {"profile": "smoke", "steps": 2, "batch_size": 4, "seed": 7}
    made = []
    for name in ("a", "b"):
        runs.execute(paths.NOTEBOOKS / "04_train_adapter.ipynb", tmp_path / f"{name}.ipynb", values, progress=False)
        made.append(load_file(run / "adapter.safetensors"))
    shutil.rmtree(run)
    assert all(torch.equal(weight, made[1][name]) for name, weight in made[0].items())


@pytest.mark.thorough
def test_two_processes_train_the_adapter_that_one_does(smoke, tmp_path):
    """The notebook under torchrun: half a batch each, the same sets and noise, the losses of the whole batch."""
    run, values = SMOKE / "adapters/mean-own-n4-s8", {"profile": "smoke", "steps": 3, "batch_size": 4, "seed": 8}
    flags = [text for name, value in values.items() for text in ("-p", name, str(value))]
    made, logs, torchrun = [], [], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, launch in (("one", []), ("two", torchrun)):
        command = [sys.executable, *launch, "-m", "ipa_lib.workflow.runs", "notebooks/04_train_adapter.ipynb"]
        done = subprocess.run([*command, str(tmp_path / f"{name}.ipynb"), "-q", *flags], cwd=ROOT, env=ENVIRONMENT,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        made.append(load_file(run / "adapter.safetensors"))
        logs.append(pd.read_json(run / "log.jsonl", lines=True))
        assert json.loads((run / "provenance.json").read_text())["processes"] == len(made)
    shutil.rmtree(run)
    np.testing.assert_allclose(*(log[["loss", "val_loss", "lr"]] for log in logs), rtol=1e-5)
    for name, weight in made[0].items():
        torch.testing.assert_close(weight, made[1][name], atol=1e-5, rtol=1e-3)


def test_a_user_s_mistake_is_one_line(tmp_path):
    command = [sys.executable, "-m", "ipa_lib.workflow.runs", "notebooks/05_generate.ipynb",
               str(tmp_path / "out.ipynb")]
    for values, said in (
        (["n_ref", "2"], "n_ref"),
        (["n_refs", "two"], "n_refs"),
        (["lams", "[0.0, none]"], "lams"),
        (["lams", "[0.0, 0.5"], "lams"),
    ):
        done = subprocess.run([*command, "-q", "-p", *values], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1 and not list(tmp_path.iterdir())
    command = ["scripts/report.sh", "nothing"]
    unknown = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert unknown.returncode != 0 and "no profile 'nothing'" in unknown.stderr
