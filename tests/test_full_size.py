"""Stable Diffusion 1.5 and OpenCLIP ViT-H/14 at full size, in bfloat16: the shapes, dtypes and files of `sd15`.

The weights are random, so the pictures are noise: what is tested is that the notebooks run on them. Minutes and 3.4 GB
of disk: `pytest -m slow tests/test_full_size.py`.
"""

import json
import math
import shutil

import full_size
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from ipa_lib import check, config, paths, runs
from ipa_lib.adapter import MultiImageAdapter

pytestmark = pytest.mark.slow
NAME, ADAPTER = "full_size", "mean-own-n2r-s0"
RESULTS = paths.results_dir(NAME)
JUDGES = """
def identity(pictures):
    return pictures[:, ::64, ::64].reshape(len(pictures), -1) / 255.0 + 0.01


def features(pictures):
    seen = identity(pictures)
    return seen, seen[:, :5]
"""


@pytest.fixture(scope="module")
def values(tmp_path_factory, tiny_celeba):
    """The profile as it would stand in configs/: notebook -> parameters."""
    folder = full_size.write(tmp_path_factory.mktemp("models"))
    (folder / "judges.py").write_text(JUDGES)
    spec = {"identity": "judges.py:identity", "features": "judges.py:features"}
    (folder / "judges.yaml").write_text(yaml.safe_dump(spec))
    judged_by, models = str(folder / "judges.yaml"), {"base": str(folder / "base"), "dtype": "bfloat16", "size": 256}
    models |= {"image_encoder": str(folder / "image_encoder"), "judged_by": judged_by}
    yield {
        "01_prepare_data": {"draw": False, "people": 0, "max_refs": 2, "style": "portrait", "near": 0},
        "03_cache_features": models,
        "04_train_adapter": {"n_max": 2, "random_n": True, "steps": 2, "batch_size": 2, "lr": 1e-4,
                             "start": "linear"},
        "05_generate": {"adapter": ADAPTER, "n_refs": 2, "max_refs": 2, "people": 2, "lams": [0.0, 1.0], "steps": 2,
                        "guidance": 7.5},
        "06_evaluate": {"adapter": ADAPTER, "cell": "n2", "judged_by": judged_by, "resamples": 5},
        "07_measure_ceilings": {"judged_by": judged_by, "max_refs": 2, "people": 2, "resamples": 5},
    }
    shutil.rmtree(RESULTS)
    paths.data_dir(NAME).unlink()


@pytest.fixture(scope="module")
def done(values, tiny_celeba):
    """Every stage, by its notebook."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    paths.data_dir(NAME).unlink(missing_ok=True)
    paths.data_dir(NAME).parent.mkdir(exist_ok=True)
    paths.data_dir(NAME).symlink_to(tiny_celeba)
    for name, chosen in values.items():
        runs.execute(paths.NOTEBOOKS / f"{name}.ipynb", RESULTS / f"{name}.ipynb", chosen | {"profile": NAME}, False)
    return RESULTS


def test_the_adapter_has_the_published_sizes(done):
    adapter = MultiImageAdapter.load(done / "adapters" / ADAPTER / "adapter.safetensors")
    assert sum(p.numel() for p in adapter.parameters()) == 2 * 19_169_280 + 3_150_336
    assert len(adapter.widths) == 16 and adapter.tokens == 4
    log = pd.read_json(done / "adapters" / ADAPTER / "log.jsonl", lines=True)
    assert len(log) == 2 and np.isfinite(log[["loss", "lr"]]).all(axis=None)


def test_pictures_have_the_size_that_was_asked_for(done):
    pictures = sorted((done / "samples" / ADAPTER / "n2").rglob("*.png"))
    assert len(pictures) == 2 * 2 and {Image.open(picture).size for picture in pictures} == {(256, 256)}


def test_they_are_judged_like_any_others(done):
    table = pd.read_csv(done / "metrics" / ADAPTER / "n2" / "table.csv")
    assert {"identity", "fid", "kid", "is"} <= set(table.metric) and set(table["count"]) == {2}
    facts = json.loads((done / "base.json").read_text())
    assert (facts["picture_size"], facts["latent_size"], facts["embed_dim"], facts["text_dim"]) == (256, 32, 1024, 768)
    kept = json.loads((done / "samples" / ADAPTER / "n2" / "provenance.json").read_text())
    assert kept["peak_memory"] < 24e9 and math.isfinite(kept["wall_time"])


def test_the_check_finds_everything_and_says_what_is_gone(done, values, tmp_path):
    grid = config.load_profile("smoke")
    profile = config.Profile(NAME, values | {"05_generate": {"people": 2}}, grid.adapters, grid.lams, grid.cells)
    found = {finding.name: finding for finding in check.check(profile)}
    assert all(finding.good for finding in found.values()), found
    assert "1066.2 million" in found["base"].text and "632.1 million" in found["image encoder"].text
    gone = values | {"03_cache_features": values["03_cache_features"] | {"base": str(tmp_path)}}
    found = {f.name: f for f in check.check(config.Profile(NAME, gone, grid.adapters, grid.lams, grid.cells))}
    assert not found["base"].good and str(tmp_path) in found["base"].text
