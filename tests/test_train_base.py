"""Notebooks 01 and 02 on photographs: who teaches the base, who the judge, and what is left on disk.

Two kernels and a base of two steps a part, 40 seconds of one core: `pytest -m slow tests/test_train_base.py`.
"""

import json
import shutil

import numpy as np
import pytest
from transformers import RegNetForImageClassification

from ipa_lib.data import captions, picture_table
from ipa_lib.diffusion import backbone, features
from ipa_lib.evaluation import judges
from ipa_lib.workflow import config, paths, runs

pytestmark = pytest.mark.slow
NAME, PARTS = "photographs", {"attribute_judge", "image_encoder", "perceptual", "vae", "unet"}
SMALL = {"judge_people": 2, "judge_steps": 2, "encoder_steps": 2, "vae_widths": [8, 8, 8], "vae_steps": 2,
         "unet_widths": [8, 8, 8], "unet_steps": 2}  # fmt: skip


@pytest.fixture(scope="module")
def celeba(tiny_celeba, tmp_path_factory):
    """The tiny people; one picture of training person 1 is his other one again, one is of person 11, who is tested."""
    root = shutil.copytree(tiny_celeba, tmp_path_factory.mktemp("photographs") / "celeba")
    of = picture_table.read(root).groupby("person")["path"].agg(list)
    shutil.copy(of[1][0], of[1][1])
    shutil.copy(of[11][0], of[1][2])
    return root


@pytest.fixture(scope="module")
def base(celeba, tmp_path_factory):
    """The folder of a base of two steps a part, of these people, by the profile of photographs for two cores."""
    here, results, publish = paths.data_dir(NAME), paths.results_dir(NAME), tmp_path_factory.mktemp("base")
    here.parent.mkdir(exist_ok=True)
    here.unlink(missing_ok=True)
    here.symlink_to(celeba)
    chosen = {"01_prepare_data": {"people": 8, "max_refs": 2}, "02_train_base": {"publish": str(publish)} | SMALL}
    for name, values in chosen.items():
        values = config.load_profile("faces64-cpu").values(name) | values | {"profile": NAME}
        runs.execute(paths.NOTEBOOKS / f"{name}.ipynb", results / f"{name}.ipynb", values, progress=False)
    yield publish
    here.unlink()
    shutil.rmtree(results)


@pytest.fixture(scope="module")
def recipes(base):
    return {file.stem: json.loads(file.read_text()) for file in (base / "recipes").glob("*.json")}


def test_the_base_is_loaded_and_its_judge_lies_beside_it(base):
    loaded = backbone.load_base(base)
    assert list(loaded.unet.config.block_out_channels) == [8, 8, 8] and loaded.picture_size == 64
    seen = backbone.embed_pictures(loaded, np.zeros((2, 64, 64, 3), np.uint8))
    assert seen.shape == (2, 128) and seen.isfinite().all()
    judge = RegNetForImageClassification.from_pretrained(base / "attribute_judge")
    assert judge.config.num_labels == judges.KINDS + len(captions.CAPTIONED)
    assert not (base / "identity_judge").exists()  # a published network judges who it is


def test_nobody_teaches_both_and_nobody_who_is_evaluated_teaches(base, recipes):
    """By the hashes in the recipes: the judge has people who take no part, the base all other training people, but for
    the two pictures that look like others."""
    everyone = picture_table.read(paths.data_dir(NAME))
    taking_part = picture_table.read_table(paths.results_dir(NAME) / "pictures.csv")
    spoilt = everyone[everyone.person == 1].index[1:3]
    training = everyone[everyone.split == "train"].drop(spoilt).reset_index(drop=True)
    of_base, of_judge = picture_table.set_apart(training, SMALL["judge_people"], taking_part)
    assert not set(of_base.person) & set(of_judge.person) and not set(of_judge.person) & set(taking_part.person)
    told = [(recipe["data"], recipe["people"], recipe["pictures"], recipe["judge_data"], recipe["judge_people"])
            for recipe in recipes.values()]  # fmt: skip
    assert set(told) == {(features.data_hash(of_base), 6, len(of_base), features.data_hash(of_judge), 2)}


def test_each_part_has_its_recipe(base, recipes):
    assert recipes.keys() == PARTS
    for name, recipe in recipes.items():
        steps = 1 if name == "perceptual" else 2  # half as many as the image encoder
        assert (recipe["notebook"], recipe["seed"], recipe["steps"]) == ("02_train_base", 0, steps)
        assert recipe["seconds"] >= 0 and recipe["architecture"]
        assert np.isfinite([record["loss"] for record in recipe["log"]]).all()
    assert recipes["unet"]["vae"] and recipes["vae"]["encoder"]  # which files they were made with
    assert not list(paths.results_dir(NAME).glob("base/*.state"))
