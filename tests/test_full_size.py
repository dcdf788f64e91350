"""Stable Diffusion 1.5 and OpenCLIP ViT-H/14 at full size, in bfloat16: the shapes, dtypes and files of `sd15`.

The weights are random, so the pictures are noise: what is tested is that the notebooks run on them. Minutes and 3.4 GB
of disk: `pytest -m slow tests/test_full_size.py`. A processor without AVX-512 takes its products in float32, rounded to
bfloat16 (`float32_products.py`). What each stage takes is written to the file that IPA_MEASURED names,
such as results/bench/full_size.csv; IPA_MODELS names a folder that `full_size.write` has filled before.
"""

import json
import math
import os
import platform
import shutil
from pathlib import Path

import full_size
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from ipa_lib.data import celeba
from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.model.exchange import flat, to_published
from ipa_lib.workflow import check, config, paths

pytestmark = pytest.mark.slow
NAME, ADAPTER = "full_size", "mean-own-n2r-s0"
RESULTS = paths.results_dir(NAME)
LIMIT = 18e9  # bytes a process, of the 24 GB that are there
JUDGES = """
def identity(pictures):
    return pictures[:, ::64, ::64].reshape(len(pictures), -1) / 255.0 + 0.01


def features(pictures):
    seen = identity(pictures)
    return seen, seen[:, :5]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = os.environ.get("IPA_MODELS")
    return Path(made) if made else full_size.write(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def pictures(tiny_celeba, tmp_path_factory):
    """No more of the tiny set than is needed: a set of N + 1 to train and one to validate, two people to test."""
    root, table = tmp_path_factory.mktemp("pictures"), celeba.read_celeba(tiny_celeba)
    (root / celeba.PICTURES).mkdir()
    taken = [path for person, count in {1: 3, 9: 3, 11: 4, 12: 4}.items()
             for path in table[table.person == person].path.head(count)]  # fmt: skip
    for path in [*tiny_celeba.glob("*.txt"), *map(Path, taken)]:
        shutil.copy(path, root / path.relative_to(tiny_celeba))
    return root


@pytest.fixture(scope="module")
def values(folder, tmp_path_factory):
    """The profile as it would stand in configs/: notebook -> parameters."""
    judges = tmp_path_factory.mktemp("judges")
    (judges / "judges.py").write_text(JUDGES)
    spec = {"identity": "judges.py:identity", "features": "judges.py:features"}
    (judges / "judges.yaml").write_text(yaml.safe_dump(spec))
    judged_by, models = str(judges / "judges.yaml"), {"base": str(folder / "base"), "dtype": "bfloat16", "size": 256}
    models |= {"image_encoder": str(folder / "image_encoder"), "judged_by": judged_by}
    yield {
        "01_prepare_data": {"draw": False, "people": 0, "max_refs": 2, "style": "portrait", "near": 0},
        "03_cache_features": models,
        "04_train_adapter": {"n_max": 2, "random_n": True, "steps": 2, "batch_size": 2, "lr": 1e-4,
                             "start": str(folder / "ip-adapter_sd15.safetensors")},
        "05_generate": {"adapter": ADAPTER, "n_refs": 2, "max_refs": 2, "people": 2, "lams": [0.0, 1.0], "steps": 2,
                        "guidance": 7.5},
        "06_evaluate": {"adapter": ADAPTER, "cell": "n2", "judged_by": judged_by, "resamples": 5},
        "07_measure_ceilings": {"judged_by": judged_by, "max_refs": 2, "people": 2, "resamples": 5},
    }
    shutil.rmtree(RESULTS)
    paths.data_dir(NAME).unlink()


@pytest.fixture(scope="module")
def done(values, folder, pictures, tmp_path_factory):
    """Every stage by its notebook, and pictures of one person by the adapter that was trained and by a published."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    paths.data_dir(NAME).unlink(missing_ok=True)
    paths.data_dir(NAME).parent.mkdir(exist_ok=True)
    paths.data_dir(NAME).symlink_to(pictures)
    adapters = {"own": RESULTS / f"adapters/{ADAPTER}/adapter.safetensors",
                "published": folder / "ip-adapter_sd15.safetensors"}
    stages = [(name, name, {"profile": NAME} | chosen) for name, chosen in values.items()]
    stages += [(f"personalise, {name} adapter", "personalise", personalised(name, adapter, values))
               for name, adapter in adapters.items()]
    costs, ipython = {}, full_size.start_with_float32_products(tmp_path_factory.mktemp("ipython"))
    for stage, name, chosen in stages:
        flags = config.Profile(NAME, {name: chosen}, {}, (), {}).flags(name)
        costs[stage] = full_size.execute(paths.NOTEBOOKS / f"{name}.ipynb", RESULTS / f"{name}.ipynb", flags, ipython)
        write_costs(costs, values["03_cache_features"])
    assert max(cost["peak"] for cost in costs.values()) < LIMIT, costs
    return RESULTS


def personalised(name, adapter, values):
    """Parameters of the notebook for the drawn person of docs/person on the large base."""
    models = {key: value for key, value in values["03_cache_features"].items() if key != "judged_by"}
    return models | {"adapter": str(adapter), "n_refs": 2, "lams": [0.0, 1.0], "steps": 2, "seeds": [0],
                     "guidance": 7.5, "out": str(RESULTS / "personalise" / name)}  # fmt: skip


def write_costs(costs, models):
    if "IPA_MEASURED" in os.environ:
        hardware = {"hardware": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__}
        rows = [{"stage": stage, "seconds": round(cost["seconds"]), "cpu": round(cost["cpu"]),
                 "peak_gb": round(cost["peak"] / 1e9, 1), "size": models["size"], "dtype": models["dtype"], **hardware}
                for stage, cost in costs.items()]  # fmt: skip
        pd.DataFrame(rows).to_csv(os.environ["IPA_MEASURED"], index=False)


def test_the_adapter_has_the_published_sizes(done):
    adapter = MultiImageAdapter.load(done / "adapters" / ADAPTER / "adapter.safetensors")
    assert sum(p.numel() for p in adapter.parameters()) == 2 * 19_169_280 + 3_150_336
    assert len(adapter.layers) == 16 and adapter.config.tokens == 4
    log = pd.read_json(done / "adapters" / ADAPTER / "log.jsonl", lines=True)
    assert len(log) == 2 and np.isfinite(log[["loss", "lr"]]).all(axis=None)


def test_a_published_adapter_starts_every_slot(done):
    """It is published in half precision; two steps of AdamW at 1e-4 lead so far away from it and no further."""
    warm = MultiImageAdapter.load(done / "adapters" / ADAPTER / "adapter.safetensors")
    given = {name: weight.float() for name, weight in full_size.published().items()}
    for slot in range(2):
        trained = flat(to_published(warm, slot))
        assert {name: x.shape for name, x in trained.items()} == {name: x.shape for name, x in given.items()}
        assert 0 < max((x - given[name]).abs().max() for name, x in trained.items()) < 2.1e-4
    assert "ip-adapter_sd15.safetensors" in warm.notes["start"]


def test_pictures_of_one_person_by_an_own_and_by_a_published_adapter(done):
    own, published = ({file.name: np.asarray(Image.open(file)) for file in (done / "personalise" / name).iterdir()}
                      for name in ("own", "published"))
    assert set(own) == set(published) == {"grid.png", "seed0_lam0.png", "seed0_lam1.png"}
    assert own["seed0_lam1.png"].shape == (256, 256, 3)
    assert (own["seed0_lam0.png"] == published["seed0_lam0.png"]).all()  # the text-to-image model itself
    assert (own["seed0_lam1.png"] != published["seed0_lam1.png"]).any()


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
    slow = found.pop("dtype", None)
    assert (slow is not None) == (check.half_is_slow() and not torch.cuda.is_available())
    assert all(finding.good for finding in found.values()), found
    assert "1066.2 million" in found["base"].text and "632.1 million" in found["image encoder"].text
    gone = values | {"03_cache_features": values["03_cache_features"] | {"base": str(tmp_path)}}
    found = {f.name: f for f in check.check(config.Profile(NAME, gone, grid.adapters, grid.lams, grid.cells))}
    assert not found["base"].good and str(tmp_path) in found["base"].text
