"""The code of README.md and docs/ runs as it stands there, on folders in place of the hub's names."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ipa_lib.data.folders import read_folders
from ipa_lib.evaluation.photo_judges import read_spec
from ipa_lib.files import ROOT
from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.model.exchange import save_published
from ipa_lib.workflow import config


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.S)


def replaced(code, instead):
    for old, new in instead.items():
        assert old in code
        code = code.replace(old, str(new))
    return code


def run(code, instead, **others):
    exec(compile(replaced(code, instead), "<documentation>", "exec"), others)
    return others


@pytest.fixture
def here(tmp_path, monkeypatch, base, base_folder):
    """A folder with three photographs and published checkpoints for the random base."""
    monkeypatch.chdir(tmp_path)
    for i in (1, 2, 3):
        noise = np.random.default_rng(i).integers(0, 256, (70, 90, 3), np.uint8)
        Image.fromarray(noise).save(f"{i}.jpg")
    torch.manual_seed(0)
    (tmp_path / "models").mkdir()
    adapters = {"": MultiImageAdapter.from_unet(base.unet, 128, 1)}
    width = base.image_encoder.config.hidden_size
    adapters["-plus"] = MultiImageAdapter.from_unet(base.unet, width, 1, projection="resampler")
    for kind, adapter in adapters.items():
        save_published(adapter, f"models/ip-adapter{kind}_sd15.safetensors")
    return {
        '"h94/IP-Adapter", subfolder="models/image_encoder"': f'r"{base_folder}", subfolder="image_encoder"',
        "stable-diffusion-v1-5/stable-diffusion-v1-5": base_folder,
        'hf_hub_download("h94/IP-Adapter", ': "str(",
        ".images[0]": "[0][0]",  # the same, and a place to ask for fewer steps
        "cross_attention_kwargs=images": "cross_attention_kwargs=images, num_inference_steps=2, return_dict=False",
    }


def test_ten_lines_attach_an_adapter_and_use_three_photographs(here):
    code = blocks("docs/adapter.md")[0]
    lines = [line for line in code.splitlines() if line and not line.startswith(("from", "import"))]
    assert len(lines) <= 10
    names = run(code, instead=here)
    assert names["picture"].size == (64, 64) and names["adapter"].config.n_slots == 3
    assert not any("ImageText" in type(p).__name__ for p in names["pipe"].unet.attn_processors.values())


def test_the_resampler_is_given_patches_and_a_zero_picture(here):
    first, second, _ = blocks("docs/adapter.md")
    names = run(first, instead=here)
    here = {old: new for old, new in here.items() if old in second}
    names = run(second, **names, instead=here)
    assert len(names["image_kv"]) == 2 and names["adapter"].config.projection == "resampler"


def test_maps_say_which_prompt_a_region_listened_to(here):
    first, _, third = blocks("docs/adapter.md")
    names = run(first, instead=here)
    here = {old: new for old, new in here.items() if old in third}
    heard = run(third, **names, instead=here)["heard"]
    assert heard.shape == (3, 16, 16) and torch.allclose(heard.sum(0), torch.ones(16, 16), atol=1e-5)
    assert heard.std((1, 2)).min() > 1e-6  # not flat


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The folder that the package is installed into, from a wheel of a copy of its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("ipa_lib", "requirements"):
        shutil.copytree(ROOT / name, folder / "sources" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "sources")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "sources"]
    subprocess.run([*pip, *build], check=True)
    made = next(folder.glob("*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", folder / "installed", made], check=True)
    return folder / "installed"


def test_a_wheel_runs_the_same_code_in_any_folder(here, wheel, tmp_path):
    code = replaced("".join(blocks("docs/adapter.md")), here)
    code += "import ipa_lib.files\nprint(ipa_lib.__file__, ipa_lib.files.ROOT, *heard.shape, sep='\\n')"
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(wheel / "ipa_lib/__init__.py"), str(tmp_path), "3", "16", "16"]
    assert {"py.typed", "__init__.pyi"} <= {path.name for path in (wheel / "ipa_lib").iterdir()}


def test_the_readme_attaches_an_adapter_of_its_own(tmp_path, base, base_folder):
    code = next(block for block in blocks("README.md") if "attach(" in block)
    MultiImageAdapter.from_unet(base.unet, 128, 2).save(tmp_path / "a.safetensors")
    photographs = [Image.new("RGB", (80, 80), colour) for colour in ("red", "blue")]
    instead = {
        "models/mini": base_folder,
        "results/mini/adapters/mean-own-n4r-s0/adapter.safetensors": tmp_path / "a.safetensors",
        "smiling\",": 'smiling", num_inference_steps=2,',
    }
    assert run(code, photographs=photographs, instead=instead)["image"].size == (64, 64)


def test_the_judges_of_the_documentation_are_well_formed(tmp_path):
    told = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/real_model.md").read_text(), re.S)
    (tmp_path / "judges.yaml").write_text(next(text for text in told if text.startswith("identity")))
    assert read_spec(tmp_path / "judges.yaml") == read_spec(ROOT / "configs/judges/photographs.yaml")


def test_the_profiles_of_the_documentation_are_taken(tmp_path):
    told = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/real_model.md").read_text(), re.S)
    (tmp_path / "mine.yaml").write_text(next(text for text in told if text.startswith("# configs/mine.yaml")))
    profile = config.load_profile(tmp_path / "mine.yaml")
    assert profile.values("03_cache_features")["base"] == "/models/sd15"
    launches = [line for text in told for line in text.splitlines() if line.startswith("launch: ")]
    assert len(launches) == 2
    for line in launches:
        (tmp_path / "mine.yaml").write_text(line)
        program, *flags = config.load_profile(tmp_path / "mine.yaml").launch.split()
        assert shutil.which(program, path=Path(sys.executable).parent) and flags


def test_a_dataset_is_read_as_the_documentation_says(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.chdir(tmp_path)
    pictures = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 99, 200)]
    columns = datasets.Features({"identity": datasets.Value("string"), "image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"identity": ["a", "../b", "a"], "image": pictures}, features=columns)
    rows.save_to_disk("theirs")
    run(blocks("docs/real_model.md")[0], datasets=datasets,
        instead={'load_dataset("owner/dataset", split="train")': 'datasets.load_from_disk("theirs")'})  # fmt: skip
    read = read_folders(tmp_path / "data/mine")
    assert sorted(Path(path).parent.name for path in read["path"]) == ["person ..%2Fb", "person a", "person a"]


def test_the_table_of_full_size_holds_what_was_measured():
    table = re.findall(r"^\| (\S[^|]*) \| [^|]* \| (\d+) \| (\d+) \| ([\d.]+) \|$",
                       (ROOT / "docs/real_model.md").read_text(), re.M)  # fmt: skip
    measured = pd.read_csv(ROOT / "results/bench/full_size.csv")
    assert table == [(row.stage, str(row.seconds), str(row.cpu), str(row.peak_gb)) for row in measured.itertuples()]
