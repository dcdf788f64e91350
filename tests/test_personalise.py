"""The notebook for own photographs: as it stands, and with a folder and a published checkpoint of the user's."""

import numpy as np
import pytest
from PIL import Image

from ipa_lib.diffusion import backbone
from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.model.exchange import save_published
from ipa_lib.workflow import paths, runs

pytestmark = pytest.mark.usefixtures("warm_kernels")
EMBED = 128  # width of the mini image encoder


def run(tmp_path, **values):
    values = {"out": str(tmp_path / "out"), "steps": 3, "seeds": [3, 4]} | values
    runs.execute(paths.NOTEBOOKS / "personalise.ipynb", tmp_path / "out.ipynb", values, progress=False)
    return {file.name: np.asarray(Image.open(file)) for file in (tmp_path / "out").iterdir()}


@pytest.fixture(scope="module")
def unet():
    return backbone.load_base(paths.MODELS / "mini").unet


def test_an_adapter_of_ones_own_makes_pictures_of_the_drawn_person(tmp_path, unet):
    """All but the adapter as the notebook stands; that one is made by the report."""
    MultiImageAdapter.from_unet(unet, EMBED, 4).save(tmp_path / "adapter.safetensors")
    made = run(tmp_path, adapter=str(tmp_path / "adapter.safetensors"))
    assert set(made) == {"grid.png", *(f"seed{s}_lam{lam}.png" for s in (3, 4) for lam in ("0", "0.5", "1"))}
    assert made["seed3_lam1.png"].shape == (64, 64, 3)
    assert (made["seed3_lam0.png"] != made["seed3_lam1.png"]).any()
    assert (made["seed3_lam1.png"] != made["seed4_lam1.png"]).any()


def test_more_pictures_than_an_adapter_takes_are_refused_before_they_are_encoded(tmp_path, unet):
    MultiImageAdapter.from_unet(unet, EMBED, 2).save(tmp_path / "adapter.safetensors")
    with pytest.raises(runs.NotebookError) as error:
        run(tmp_path, adapter=str(tmp_path / "adapter.safetensors"))
    assert "adapter.safetensors: at most n_refs = 2 pictures were expected, got 4" in error.value.line


def test_own_photographs_and_a_published_adapter(tmp_path, unet):
    save_published(MultiImageAdapter.from_unet(unet, EMBED, 1), tmp_path / "ip-adapter.safetensors")
    (tmp_path / "own photographs").mkdir()
    for i in range(3):
        shades = np.random.default_rng(i).integers(0, 256, (90, 70, 3), np.uint8)
        Image.fromarray(shades).save(tmp_path / "own photographs" / f"IMG {i}.JPG")
    made = run(tmp_path, folder=str(tmp_path / "own photographs"), adapter=str(tmp_path / "ip-adapter.safetensors"),
               n_refs=2, lams=[0.0, 1.0], seeds=[0], size=96)
    assert set(made) == {"grid.png", "seed0_lam0.png", "seed0_lam1.png"}
    assert made["seed0_lam1.png"].shape == (96, 96, 3)


@pytest.mark.parametrize(("values", "said"), [
    ({"folder": "docs/nobody"}, "docs/nobody: no such folder; pictures of one person were expected in it"),
    ({"adapter": "results/none.safetensors"}, "results/none.safetensors: no such file"),
    ({"adapter": "docs/adapter.md"}, "adapter.md: a file ending in .safetensors or .bin was expected"),
    ({"base": "docs"}, "docs: no model_index.json here, a Stable Diffusion folder was expected"),
])  # fmt: skip
def test_what_is_missing_is_one_line(tmp_path, values, said):
    with pytest.raises(runs.NotebookError) as error:
        run(tmp_path, **values)
    assert said in error.value.line and not error.value.traceback
