"""What makes a gallery or the state of a training stale, by the records of their runs; a tiny set, a random base."""

import json
import shutil

import numpy as np
import pytest

from ipa_lib.data import celeba
from ipa_lib.data.identity_sets import evaluation_sets, group_by_person
from ipa_lib.diffusion import features, galleries
from ipa_lib.diffusion.backbone import Source
from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.workflow import code, gallery_run
from ipa_lib.workflow.gallery_run import GalleryRun
from ipa_lib.workflow.training_run import TrainingRun

SETTINGS = {"steps": 4, "batch_size": 2, "lr": 1e-3, "snr_gamma": 5.0}


@pytest.fixture
def results(tiny_celeba, base, base_folder, tmp_path, monkeypatch):
    """A results folder with features, a base of its own and an adapter named one."""
    monkeypatch.setattr(gallery_run, "results_dir", lambda profile: tmp_path)
    source = Source(str(shutil.copytree(base_folder, tmp_path / "base")))
    features.cached_features(celeba.read_celeba(tiny_celeba), base, source, tmp_path / "features")
    (tmp_path / "adapters/one").mkdir(parents=True)
    MultiImageAdapter.from_unet(base.unet, 128, 2).save(tmp_path / "adapters/one/adapter.safetensors", {})
    return tmp_path


def a_gallery(**changes):
    values = {"adapter": "one", "n_refs": 1, "prompts": "own", "lams": [1.0], "guidance": 3.0, "steps": 2,
              "max_refs": 2, "people": 2, "samples": 1, "seed": 0}  # fmt: skip
    return GalleryRun("mini", **values | changes)


def of_a_table(results):
    manifest = json.loads((results / "features/manifest.json").read_text())
    (results / "features/manifest.json").write_text(json.dumps(manifest | {"table": "of other people"}))


def of_a_unet(results):
    file = results / "base/unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")


def of_an_adapter(results):
    file = results / "adapters/one/adapter.safetensors"
    adapter = MultiImageAdapter.load(file)
    next(adapter.parameters()).data.add_(1)
    adapter.save(file, {})


def of_code(monkeypatch):
    monkeypatch.setattr(code, "digest", lambda stage: "of other code")


@pytest.mark.parametrize("cell", [
    ({}, "n1"), ({"prompts": "other"}, "n1-other"), ({"guidance": 5.0}, "n1-w5"), ({"n_refs": 2, "guidance": 7.5,
     "prompts": "reversed"}, "n2-reversed-w7.5"), ({"guidance": 5.0, "cell": "mine"}, "mine"),
])  # fmt: skip
def test_what_differs_from_the_profile_is_in_the_name_of_a_gallery(cell):
    changes, name = cell
    assert a_gallery(**changes).name == name


@pytest.mark.parametrize("change", [None, of_a_table, of_a_unet, of_an_adapter, of_code])
def test_pictures_of_an_unfinished_gallery_are_kept_unless_something_else_made_them(
    results, monkeypatch, tiny_celeba, change
):
    run, file = a_gallery(), results / "adapters/one/adapter.safetensors"
    sets = evaluation_sets(group_by_person(celeba.read_celeba(tiny_celeba), 4, "test"), 2, 1, seed=0)
    rows = sets.assign(lam=1.0)
    run.begin(MultiImageAdapter.load(file))
    galleries.write_pictures(run.folder, rows, np.zeros((len(rows), 8, 8, 3), np.uint8))
    if change:
        change(monkeypatch if change is of_code else results)
    run.begin(MultiImageAdapter.load(file))
    assert galleries.are_made(run.folder, rows) == (change is None)


@pytest.mark.parametrize("change", [None, of_a_table, of_a_unet, of_code])
def test_a_training_goes_on_unless_its_state_was_made_from_something_else(results, monkeypatch, change):
    def checkpoint():
        source = features.source_of(results / "features")
        return TrainingRun(results, results / "features", source, "linear", SETTINGS).checkpoint()

    checkpoint().save(step=3)
    if change:
        change(monkeypatch if change is of_code else results)
    assert checkpoint().load().get("step") == (3 if change is None else None)
