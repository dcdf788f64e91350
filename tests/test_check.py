"""`make check` on a small base and the tiny set: what is there, and every line that says what is not."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import yaml
from safetensors.torch import load_file, save_file

from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.model.exchange import save_published
from ipa_lib.workflow import check, config, paths

GRID = """
grid: [{merge: mean, n_max: 2, n_refs: [1, 2], random_n: true}]
lams: [0.0, 1.0]
notebooks:
  01_prepare_data: {draw: false, people: 0}
  05_generate: {people: 2, samples: 1}
"""


@pytest.fixture
def profile(tmp_path, tiny_celeba, base_folder, monkeypatch):
    """Function(notebook=values …) → a profile whose data and base are there, but for these values."""
    monkeypatch.setattr(check, "data_dir", lambda name: tiny_celeba)
    (tmp_path / "own.yaml").write_text(GRID)
    usual = config.load_profile(tmp_path / "own.yaml")

    def changed(**more):
        base = {"03_cache_features": {"base": str(base_folder)}}
        notebooks = {name: usual.notebooks.get(name, {}) | base.get(name, {}) | more.get(name, {})
                     for name in (*usual.notebooks, *base, *more)}  # fmt: skip
        return replace(usual, notebooks=notebooks)

    return changed


def found(profile):
    return {finding.name: finding for finding in check.check(profile)}


def missing(profile):
    """{name: text} of what is missing."""
    return {name: finding.text for name, finding in found(profile).items() if not finding.good}


def test_a_base_and_a_judge_that_the_profile_will_train_are_not_missing(profile, tmp_path):
    own = profile(**{"03_cache_features": {"base": "models/mine"}, "02_train_base": {"publish": "models/mine"}})
    assert missing(own) == {} and found(own)["base"].text == "models/mine: 02_train_base will make it"
    other = profile(**{"03_cache_features": {"base": "models/mine"}, "02_train_base": {"publish": "models/yours"}})
    assert "base" in missing(other)


def test_a_judge_of_attributes_that_nothing_trains_is_missing(profile, tmp_path, base_folder):
    def line(publish, parts):
        spec = {"identity": "json:dumps", "features": "json:dumps", "attributes": "mine/attribute_judge"}
        (tmp_path / "judges.yaml").write_text(yaml.safe_dump(spec))
        trained = {"publish": str(tmp_path / publish), "parts": parts}
        used = profile(**{"06_evaluate": {"judged_by": str(tmp_path / "judges.yaml")}, "02_train_base": trained})
        return found(used)["attribute judge"]

    assert line("mine", ["attribute_judge", "vae"]).text == "attribute_judge: 02_train_base makes it"
    for publish, parts in (("mine", ["vae"]), ("yours", ["attribute_judge"])):
        assert not line(publish, parts).good and "no judge here" in line(publish, parts).text
    shutil.copytree(base_folder / "attribute_judge", tmp_path / "mine" / "attribute_judge")
    assert line("mine", ["vae"]).good


def test_everything_is_there(profile, base):
    findings = found(profile())
    assert missing(profile()) == {} and list(findings) == [
        "base", "image encoder", "start", "judges", "data", "memory", "disk"]
    parts = (base.unet, base.vae, base.text_encoder)
    millions = sum(p.numel() for part in parts for p in part.parameters()) / 1e6
    assert f"{millions:.1f} million parameters, 64 pixels" in findings["base"].text
    assert findings["data"].text.startswith("72 of 72 pictures are taken: 8 train people with 3 or more, "
                                            "2 val people with 3 or more, 2 test people with 4 or more")


@pytest.mark.parametrize(
    ("notebook", "values", "name", "said"),
    [
        ("03_cache_features", {"dtype": "int8"}, "base", "dtype: float32 or bfloat16 or float16 was expected"),
        ("03_cache_features", {"size": 70}, "base", "size: 70 pixels; .* takes multiples of"),
        ("03_cache_features", {"base": "/nowhere"}, "base", "/nowhere: no such folder, nor is it in the hub's cache$"),
        ("03_cache_features", {"base": "some/base"}, "base", r"cache; to fetch it: python -c .*folder\('some/base'"),
        ("03_cache_features", {"image_encoder": "/nowhere"}, "base", "/nowhere: no such folder"),
        ("03_cache_features", {"patches": True}, "start", "mini.safetensors: `patches: false` was expected in"),
        ("04_train_adapter", {"start": "resampler"}, "start", "resampler: `patches: true` was expected"),
        ("04_train_adapter", {"start": "some/repository/ip.bin"}, "start", r"no such file, .*local_file\('some/rep"),
        ("05_generate", {"samples": 3}, "data", "0 test people with 8 or more"),
        ("05_generate", {"people": 10**12}, "disk", "GB for features, adapters and .* samples, .* GB free"),
        ("06_evaluate", {"judged_by": "/nowhere.yaml"}, "judges", "/nowhere.yaml: no such file; a YAML file that"),
    ],
)  # fmt: skip
def test_what_is_missing_is_the_one_line_that_says_so(profile, notebook, values, name, said):
    lines = missing(profile(**{notebook: values}))
    assert list(lines) == [name] and re.search(said, lines[name])


@pytest.mark.parametrize("notebook", check.JUDGED)
def test_judges_are_looked_for_wherever_a_notebook_names_them(profile, notebook):
    findings = list(check.check(profile(**{notebook: {"judged_by": "/nowhere.yaml"}})))
    assert [finding.good for finding in findings if finding.name == "judges"].count(False) == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_half_precision_that_would_take_for_ever(profile, monkeypatch, dtype, capability):
    monkeypatch.setattr(check.torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(check.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(check.torch.cuda, "is_available", lambda: False)
    lines = missing(profile(**{"03_cache_features": {"dtype": dtype}}))
    assert list(lines) == (["dtype"] if capability == "AVX2" and dtype != "float32" else [])
    assert all(re.match(f"{dtype}: without a GPU or AVX-512 .* `dtype: float32`", line) for line in lines.values())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda base: (base / "model_index.json").unlink(), "no model_index.json in it"),
        (lambda base: shutil.rmtree(base / "tokenizer"), "no tokenizer/*.json in it"),
        (lambda base: shutil.rmtree(base / "image_encoder"), "image_encoder: no weights in safetensors here"),
        (lambda base: rewrite(base / "scheduler" / "scheduler_config.json"), "it predicts sample"),
    ],
)
def test_a_base_that_lacks_something_is_not_good(profile, base_folder, tmp_path, spoil, said):
    base = shutil.copytree(base_folder, tmp_path / "base")
    spoil(base)
    assert said in missing(profile(**{"03_cache_features": {"base": str(base)}}))["base"]


def rewrite(file):
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "sample"}))


def test_a_published_start_has_to_fit_the_texts_of_the_base(profile, base, tmp_path):
    embed_dim, file = base.image_encoder.config.projection_dim, tmp_path / "ip.safetensors"
    save_published(MultiImageAdapter.from_unet(base.unet, embed_dim, 1), file)
    start = {"04_train_adapter": {"start": str(file)}}
    assert missing(profile(**start)) == {}
    wide = {name: x.repeat(1, 2) if name.startswith("ip_adapter") else x for name, x in load_file(file).items()}
    save_file(wide, file)
    width = base.unet.config.cross_attention_dim
    said = f"ip.safetensors: for texts of width {2 * width}, those of the base have {width}"
    assert missing(profile(**start)) == {"start": said}


def test_a_published_start_has_to_fit_the_image_encoder(profile, base, tmp_path):
    """That of another model family: the start, and a folder with weights that are no image encoder's."""
    width = base.image_encoder.config.projection_dim
    file = tmp_path / "ip.safetensors"
    save_published(MultiImageAdapter.from_unet(base.unet, width + 1, 1), file)
    said = f"ip.safetensors: for image embeddings of width {width + 1}, those of the encoder have {width}"
    assert missing(profile(**{"04_train_adapter": {"start": str(file)}})) == {"start": said}
    lines = missing(profile(**{"03_cache_features": {"image_encoder": str(tmp_path)}}))
    assert f"{tmp_path}: no CLIP vision model with projection, its weights lack visual_proj" in lines["base"]


def test_every_judge_of_photographs_has_a_line(profile, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = {"identity": "face.onnx", "features": "inception", "text": "some/clip"}
    (tmp_path / "judges.yaml").write_text(yaml.safe_dump(spec))
    lines = missing(profile(**{"06_evaluate": {"judged_by": str(tmp_path / "judges.yaml")}}))
    assert list(lines) == ["identity judge", "features judge", "text judge"]
    assert "face.onnx: no such file" in lines["identity judge"] and not list(tmp_path.glob("hub*"))
    assert "docs/real_model.md says where" in lines["identity judge"]
    assert "to fetch it: python -c" in lines["features judge"] and "inception_file()" in lines["features judge"]
    assert lines["text judge"].endswith("import *; local_folder('some/clip')\"")


def test_people_are_counted_who_will_take_part(profile):
    said = found(profile(**{"01_prepare_data": {"people": 6}}))["data"].text
    assert said == ("36 of 72 pictures are taken: 4 train people with 3 or more, "
                    "1 val people with 3 or more, 1 test people with 4 or more")


def test_people_who_are_not_there_are_counted(profile, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "data_dir", lambda name: tmp_path / "none")
    assert "none: no such folder" in missing(profile())["data"]


def test_the_command_ends_as_it_found(capsys):
    assert check.main(["smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines) and any("people will be drawn" in line for line in lines)
    assert check.main(["nothing"]) == 1 and "no profile 'nothing'" in capsys.readouterr().err
    assert paths.CONFIGS.joinpath("sd15.yaml").is_file() and check.main(["sd15"]) == 1  # no real model is here
    said = capsys.readouterr().out
    assert "MISSING  base" in said and "local_folder('stable-diffusion-v1-5/stable-diffusion-v1-5', pipel" in said
