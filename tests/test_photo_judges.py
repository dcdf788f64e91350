"""Judges of photographs: real classes with random weights, a network small enough to be written by hand, real faces."""

import os
import pickle
import shutil
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.stats import rankdata
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from ipa_lib.data import celeba
from ipa_lib.data.identity_sets import evaluation_sets, group_by_person
from ipa_lib.diffusion import galleries
from ipa_lib.drawn import mini_base
from ipa_lib.evaluation import alignment, inception, judges, photo_judges, scoring
from ipa_lib.files import ROOT, sha256

REAL = Path(os.environ.get("IPA_REAL_DATA", ROOT.parent / "shared" / "data"))
real = pytest.mark.skipif(not (REAL / "judges" / "MobileFaceNet.onnx").is_file(),
                          reason="no real faces here; IPA_REAL_DATA names their folder")

NETWORKS = '''
import numpy as np

def means(pictures):
    """Mean colour, left and right; a picture whose first pixel is black shows no face."""
    embeds = pictures.reshape(len(pictures), -1, 2, pictures.shape[2] // 2, 3).mean((1, 3)).reshape(len(pictures), 6)
    return np.where(pictures[:, :1, 0].any(-1), embeds, np.nan)

def shrunk(batch):
    assert batch.dtype.is_floating_point is False and batch.shape[1] == 3
    return batch.float().mean((2, 3)), batch.float().mean((2, 3)).softmax(-1)

class Features:
    def __call__(self, batch):
        return shrunk(batch)[0]

def found(pictures):
    """CelebA's points in squares, one pixel to the right; no face where the first pixel is black."""
    from ipa_lib.evaluation.alignment import known_points
    points = known_points("celeba", pictures.shape[2], pictures.shape[1]) + [1, 0]
    return np.where(pictures[:, 0, 0].any(-1)[:, None, None], points, np.nan)

def wrong(pictures):
    return np.zeros((len(pictures), 4, 2))
'''


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(1, 256, (5, 64, 64, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    return tmp_path


def write_spec(folder, **keys):
    text = "".join(f"{key}: {value}\n" for key, value in keys.items())
    (folder / "judges.yaml").write_text(text)
    return folder / "judges.yaml"


# ---------------------------------------------------------------- faces to the usual place
def test_a_similarity_is_found_and_is_the_least_squares_one():
    points = alignment.CELEBA
    turned = points @ np.array([[0.8, 0.3], [-0.3, 0.8]]) + [5, -7]
    a, b = alignment.similarity(points, turned)
    assert a == pytest.approx(0.8 + 0.3j) and b == pytest.approx(5 - 7j)
    onto = turned + np.random.default_rng(0).normal(size=(5, 2))
    (x, y), one, zero = points.T, np.ones(5), np.zeros(5)  # u = p x − q y + r, v = q x + p y + s
    system = np.vstack([np.c_[x, -y, one, zero], np.c_[y, x, zero, one]])
    p, q, r, s = np.linalg.lstsq(system, onto.T.ravel(), rcond=None)[0]
    a, b = alignment.similarity(points, onto)
    assert [a.real, a.imag, b.real, b.imag] == pytest.approx([p, q, r, s])


def coordinates(width, height):
    """A picture whose red is x and whose green is y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, 0 * x], -1).astype(np.uint8)


@pytest.mark.parametrize("width, height, left, top, scale", [
    (178, 218, 0, 0, 1), (148, 148, 15, 35, 1), (64, 64, 15, 35, 148 / 64), (256, 256, 15, 35, 148 / 256)])
def test_a_crop_shows_the_face_where_the_template_has_it(width, height, left, top, scale):
    """In each of the known frames: where a pixel of the crop comes from, told by its colour, is where it should."""
    shown = alignment.crop(coordinates(width, height), alignment.known_points("celeba", width, height))
    assert shown.shape == (3, 112, 112)
    a, b = alignment.similarity(alignment.CELEBA, alignment.TEMPLATE)
    u, v = np.meshgrid(range(20, 92), range(20, 92))
    z = (u + 1j * v - b) / a  # in the frame of 178 x 218
    expected = (z.real + 0.5 - left) / scale - 0.5, (z.imag + 0.5 - top) / scale - 0.5
    np.testing.assert_allclose(shown[:2, 20:92, 20:92], expected, atol=0.1)  # pixels


def test_beyond_the_edges_a_crop_is_black():
    points = alignment.TEMPLATE - [200, 0]
    assert not alignment.crop(np.full((64, 64, 3), 255, np.uint8), points + 400).any()


def test_a_large_picture_is_shrunk_before_its_pixels_are_taken():
    """A fine chequered pattern becomes its mean, not a random choice of black and white."""
    board = np.indices((512, 512)).sum(0) % 2 * 255
    picture = np.repeat(board[..., None], 3, -1).astype(np.uint8)
    shown = alignment.crop(picture, alignment.known_points("celeba", 512, 512))
    assert shown[:, 10:-10, 10:-10].sub(127.5).abs().max() < 10


def test_points_are_shares_of_the_picture():
    shares = (alignment.known_points("celeba", 64, 64) + 0.5) / 64
    known = alignment.known_points("celeba", 64, 64)
    np.testing.assert_allclose(alignment.known_points(shares.tolist(), 64, 64), known)
    np.testing.assert_allclose(alignment.known_points(np.full((5, 2), 0.5), 101, 201), [[50, 100]] * 5)


@pytest.mark.parametrize("points, size, line", [
    ("lfw", (64, 64), "points: \"celeba\" or five .* got 'lfw'"),
    ("celeba", (64, 80), "points: celeba is for squares and 178 x 218 pixels, not 64 x 80"),
    ([[0.5, 0.5]] * 4, (64, 64), "points: \"celeba\" or five"),
    ([[30, 40]] * 5, (64, 64), "from 0 to 1"),
])
def test_unknown_points_are_told(points, size, line):
    with pytest.raises(ValueError, match=line):
        alignment.known_points(points, *size)


# ---------------------------------------------------------------- identity
def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def field(number, *values):
    """One message's field: numbers as they are, everything else by its bytes."""
    parts = b""
    for value in values:
        value = value.encode() if isinstance(value, str) else value
        whole = isinstance(value, int)
        parts += varint(number << 3 | (0 if whole else 2)) + (varint(value) if whole else varint(len(value)) + value)
    return parts


def write_onnx(file, batch, side=112):
    """A network that gives the mean of each channel: GlobalAveragePool, Flatten. https://onnx.ai/onnx/repo-docs/IR.html"""
    def tensor(name, *shape):
        dims = b"".join(field(1, field(2 if isinstance(n, str) else 1, n)) for n in shape)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    nodes = [field(1, "x") + field(2, "y") + field(4, "GlobalAveragePool"),
             field(1, "y") + field(2, "z") + field(4, "Flatten")]
    graph = field(1, *nodes) + field(2, "g") + field(11, tensor("x", batch, 3, side, side)) + field(
        12, tensor("z", batch, 3))
    file.write_bytes(field(1, 8) + field(8, field(2, 13)) + field(7, graph))
    return file


def expected_means(pictures, points, mean, std):
    crops = np.stack([alignment.crop(picture, points).numpy() for picture in pictures])
    means = (crops.mean((2, 3)) / 255 - mean) / std
    return means / np.linalg.norm(means, axis=1, keepdims=True)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_an_onnx_network_sees_scaled_and_aligned_faces(batch, pictures, tmp_path):
    pytest.importorskip("onnxruntime")
    many = np.concatenate([pictures] * 14)  # more than a batch
    mean, std = photo_judges.IMAGENET["mean"], photo_judges.IMAGENET["std"]
    seen = photo_judges.OnnxIdentity(write_onnx(tmp_path / "net.onnx", batch))(many)
    expected = expected_means(pictures, alignment.known_points("celeba", 64, 64), mean, std)
    np.testing.assert_allclose(seen, np.concatenate([expected] * 14), atol=1e-5)


def test_points_and_scaling_of_an_onnx_network_can_be_given(pictures, tmp_path):
    pytest.importorskip("onnxruntime")
    shares, std = [[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.4, 0.6], [0.6, 0.6]], [0.5, 0.25, 1]
    seen = photo_judges.OnnxIdentity(write_onnx(tmp_path / "net.onnx", 1), shares, mean=[0.5] * 3, std=std)(pictures)
    expected = expected_means(pictures, np.array(shares) * 64 - 0.5, 0.5, np.array(std))
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_a_detector_gives_the_points_and_tells_what_has_no_face(pictures, folder):
    pytest.importorskip("onnxruntime")
    write_onnx(folder / "net.onnx", 1)
    pictures[[1, 4], 0, 0] = 0
    identity, name, misses = photo_judges.load_identity(
        {"identity": "net.onnx", "detector": "networks.py:found"}, folder)
    seen = identity(pictures)
    assert (name, misses) == ("net", True) and np.isnan(seen).all(1).tolist() == [False, True, False, False, True]
    points = alignment.known_points("celeba", 64, 64) + [1, 0]
    mean, std = photo_judges.IMAGENET["mean"], photo_judges.IMAGENET["std"]
    np.testing.assert_allclose(seen[[0, 2, 3]], expected_means(pictures[[0, 2, 3]], points, mean, std), atol=1e-5)
    pictures[:, 0, 0] = 0
    assert np.isnan(identity(pictures)).all() and identity(pictures).shape == (5, 3)
    assert photo_judges.load_identity({"identity": "net.onnx"}, folder)[2] is False
    with pytest.raises(ValueError, match=r"detector: points \[5,5,2\] were expected, got shape \[5, 4, 2\]"):
        photo_judges.load_identity({"identity": "net.onnx", "detector": "networks.py:wrong"}, folder)[0](pictures)


def test_other_files_and_settings_of_an_identity_network_are_told(folder):
    pytest.importorskip("onnxruntime")
    with pytest.raises(FileNotFoundError, match="none.onnx: no such file; an identity network in ONNX was expected"):
        photo_judges.OnnxIdentity(folder / "none.onnx")
    with pytest.raises(ValueError, match="networks.py: not a network that onnxruntime can read") as caught:
        photo_judges.OnnxIdentity(folder / "networks.py")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"one input \[1 or batch, 3, 112, 112\] was expected, got .*64, 64"):
        photo_judges.OnnxIdentity(write_onnx(folder / "small.onnx", 1, 64))
    for wrong in ({"mean": [0.5]}, {"std": [0.5, 0, 0.5]}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: three numbers were expected"):
            photo_judges.OnnxIdentity(write_onnx(folder / "net.onnx", 1), **wrong)


def verification(embeds, person):
    """Mean cosine of pairs of one person and of two, area under the curve, cosine of equal error."""
    pairs = np.triu_indices(len(embeds), 1)
    cosines, same = (embeds @ embeds.T)[pairs], (person[:, None] == person[None])[pairs]
    own, other = np.sort(cosines[same]), np.sort(cosines[~same])
    area = (rankdata(cosines)[same].mean() - (len(own) + 1) / 2) / len(other)
    missed = np.searchsorted(own, own) / len(own)  # at a threshold of each cosine
    accepted = 1 - np.searchsorted(other, own) / len(other)
    return own.mean(), other.mean(), area, own[abs(missed - accepted).argmin()]


def real_faces(people):
    """Real 64 x 64 pictures of the first `people`, and whose they are."""
    table = pd.read_csv(REAL / "celeba_people.csv")
    table = table[table["identity"].isin(table["identity"].unique()[:people])]
    with tarfile.open(REAL / "celeba_people_64.tar") as tar:
        files = {Path(member.name).name: tar.extractfile(member).read() for member in tar if member.isfile()}
    shown = [np.array(Image.open(BytesIO(files[file])).convert("RGB")) for file in table["file"]]
    return np.stack(shown), table["identity"].to_numpy()


@real
def test_the_real_judge_tells_real_people_apart():
    """The numbers of 12 people, as measured here when all of them gave the known ones."""
    pytest.importorskip("onnxruntime")
    shown, person = real_faces(12)
    assert len(shown) == 297
    found = verification(photo_judges.OnnxIdentity(REAL / "judges" / "MobileFaceNet.onnx")(shown), person)
    assert found == pytest.approx((0.549, 0.011, 0.989, 0.204), abs=0.002)


@real
@pytest.mark.slow
def test_the_real_judge_gives_its_known_numbers_on_all_real_faces():
    """The numbers that come with the data: 0.504, 0.012, 0.976 and 0.170."""
    pytest.importorskip("onnxruntime")
    shown, person = real_faces(299)
    assert len(shown) == 6296
    found = verification(photo_judges.OnnxIdentity(REAL / "judges" / "MobileFaceNet.onnx")(shown), person)
    assert found == pytest.approx((0.504, 0.012, 0.976, 0.170), abs=0.005)


# ---------------------------------------------------------------- Inception-v3
@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """torch-fidelity's network with random weights, and files of these."""
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Unread(extractor.FeatureExtractorInceptionV3):
        def load_state_dict(self, *_):
            """The weights stay as they were drawn."""

    torch.manual_seed(0)
    torch.save({}, nothing := BytesIO())
    nothing.seek(0)
    network = Unread("random", ["2048", "logits_unbiased"], nothing)
    folder = tmp_path_factory.mktemp("inception")
    torch.save(network.state_dict(), folder / "weights.pth")
    save_file(network.state_dict(), folder / "weights.safetensors")
    return network, folder


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
def test_inception_gives_features_and_logits_as_torch_fidelity_does(file, random_inception, pictures):
    network, folder = random_inception
    look, name = photo_judges.load_features({"features": "inception", "weights": file}, folder)
    features, logits = look(pictures[:2])
    expected = [part.numpy() for part in network(torch.as_tensor(pictures[:2]).permute(0, 3, 1, 2))]
    assert features.shape == (2, 2048) and logits.shape == (2, 1008) and np.ptp(features) > 0
    np.testing.assert_allclose(features, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, expected[1], rtol=1e-5, atol=1e-6)
    assert name == f"Inception-v3 {sha256(folder / file)[:8]}"


def test_inception_resizes_as_torchmetrics_does_without_antialiasing(random_inception, pictures):
    from torchmetrics.image.fid import NoTrainInceptionV3

    _, folder = random_inception
    theirs = NoTrainInceptionV3("inception", ["2048"], str(folder / "weights.pth"), antialias=False)
    batch = torch.as_tensor(pictures[:1]).permute(0, 3, 1, 2)
    features = inception.load_inception(folder / "weights.pth")[0](batch)[0]
    np.testing.assert_allclose(features, theirs(batch), rtol=1e-5, atol=1e-6)


class Harmful:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_weights_are_never_unpickled(tmp_path):
    pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"fc.bias": Harmful(tmp_path / "touched")}, 2))
    torch.save({"fc.bias": Harmful(tmp_path / "touched")}, tmp_path / "zipped.pth")
    for file in ("weights.pth", "zipped.pth"):
        with pytest.raises(ValueError, match=f"{file}: a file of nothing but tensors was expected") as caught:
            inception.load_inception(tmp_path / file)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "touched").exists()


def test_other_weights_are_told(tmp_path):
    pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.save({"fc.bias": torch.zeros(1008)}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="weights.pth: not the weights of Inception-v3") as caught:
        inception.load_inception(tmp_path / "weights.pth")
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="none.pth: no such file; the weights of Inception-v3"):
        inception.load_inception(tmp_path / "none.pth")


def test_without_weights_and_network_the_message_says_where_they_go(tmp_path, monkeypatch):
    pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    place = "hub/checkpoints/weights-inception-2015-12-05-6726825d.pth"
    with pytest.raises(FileNotFoundError, match=f"{place}: no such file, and its download failed") as caught:
        inception.load_inception()
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@real
def test_a_network_of_a_file_s_own_gives_features_and_logarithms_of_probabilities(pictures):
    look, name = photo_judges.load_features({"features": "imagenet_features.py:ImageNetFeatures"}, REAL / "judges")
    features, logits = look(pictures)
    assert (features.shape, logits.shape, name) == ((5, 1280), (5, 1001), "imagenet_features.py:ImageNetFeatures")
    np.testing.assert_allclose(np.exp(logits).sum(1), 1, rtol=1e-4)


# ---------------------------------------------------------------- CLIP
@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    tokenizer = mini_base.new_tokenizer(["a photo of a person with black hair, smiling"])
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = sizes | {"vocab_size": len(tokenizer), "max_position_embeddings": 24, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(text_config=text, vision_config=sizes | {"image_size": 32, "patch_size": 8}, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_clip_gives_what_the_model_itself_gives(clip_folder, pictures):
    clip = photo_judges.load_clip(clip_folder.name, clip_folder.parent)
    captions = ["a photo of a person", "smiling", "a photo of a person", "black hair " * 30]
    model = CLIPModel.from_pretrained(clip_folder)
    processor = CLIPImageProcessorPil.from_pretrained(clip_folder)
    for i, caption in enumerate(captions):
        tokens = clip.tokenizer(caption, truncation=True, max_length=24, return_tensors="pt")
        with torch.no_grad():
            said = model(**tokens, pixel_values=processor(pictures[i], return_tensors="pt").pixel_values)
        np.testing.assert_allclose(clip.look(pictures)[i], said.image_embeds[0], atol=1e-5)
        np.testing.assert_allclose(clip.read(captions)[i], said.text_embeds[0], atol=1e-5)
    assert clip.name == clip_folder.name and clip.look(pictures).shape == (5, 12)


def test_half_a_clip_model_is_told(clip_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty/config.json: no such file; a CLIPModel in safetensors"):
        photo_judges.load_clip("empty", tmp_path)
    shutil.copytree(clip_folder, tmp_path / "half")
    weights = load_file(clip_folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, tmp_path / "half" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"half: not a whole CLIP model \(text_projection.weight is missing\)"):
        photo_judges.load_clip("half", tmp_path)
    (tmp_path / "half" / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="half: not a whole CLIP model") as caught:
        photo_judges.load_clip("half", tmp_path)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- the file that names them
@pytest.mark.parametrize("text, line", [
    ("identity: a.onnx", "features is missing; identity and features were expected"),
    ("identity: a.onnx\nfeatures: inception\nclip: x", "clip is no key; expected some of identity, features, points"),
    ("identity: 3\nfeatures: inception", "identity: a name was expected, got 3"),
    ("- identity", "identity and features were expected, each with"),
    ("identity: [", "not YAML: expected"),
    ("identity: a:b\nfeatures: inception\npoints: celeba", "points goes with an ONNX file"),
    ("identity: a.onnx\nfeatures: a:b\nweights: w.pth", "weights goes with features: inception"),
])
def test_a_faulty_file_is_told_in_one_line(text, line, tmp_path):
    (tmp_path / "judges.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"judges.yaml(, line 1)?: {line}") as caught:
        judges.load_judges(tmp_path / "judges.yaml")
    assert "\n" not in str(caught.value)


def test_what_a_file_names_has_to_be_there(folder):
    with pytest.raises(FileNotFoundError, match="none.json: no such file; a YAML file that names judges"):
        judges.load_judges(folder / "none.json")
    (folder / "cut.py").write_text("def judge(\n")
    (folder / "unnamed.py").write_text("judge = nothing\n")
    (folder / "failing.py").write_text("class Judge:\n    def __init__(self):\n        raise KeyError('two\\nlines')\n")
    faults = {"networks.py:none": "no attribute 'none'", "none.py:a": "No such file", "no_module:a": "No module",
              "cut.py:judge": r"SyntaxError: '\(' was never closed \(cut.py, line 1\)",
              "unnamed.py:judge": "NameError: name 'nothing' is not", "failing.py:Judge": "KeyError: "}
    for name, why in faults.items():
        with pytest.raises(ValueError, match=f"judges.yaml: {name}: a function that can be imported .*{why}") as caught:
            judges.load_judges(write_spec(folder, identity=name, features="networks.py:shrunk"))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="judges.yaml: features: \"inception\" or a callable, .* got 'vgg'"):
        judges.load_judges(write_spec(folder, identity="networks.py:means", features="vgg"))


def test_callables_may_stand_for_both_networks(folder, pictures):
    (folder / "judges.json").write_text('{"identity": "networks.py:means", "features": "networks.py:Features"}')
    judge = judges.load_judges(folder / "judges.json")
    pictures[2, 0, 0] = 0
    seen = judge.look(pictures)
    assert seen.faces.tolist() == [True, True, False, True, True] and np.isnan(seen.identity[2]).all()
    np.testing.assert_allclose(seen.identity[0, :3], pictures[0, :, :32].mean((0, 1)))
    np.testing.assert_allclose(seen.features, pictures.mean((1, 2)), rtol=1e-5)
    assert seen.class_logits is seen.attribute_logits is seen.clip is None and judge.read(["a photo"]) is None
    assert (judge.identity_name, judge.attribute_name) == ("networks.py:means", "networks.py:Features")
    assert judges.facts(folder / "judges.json") == {"feature_dim": 3}


def test_attributes_are_judged_by_a_network_of_02_train_base(folder, pictures, base_folder):
    shutil.copytree(base_folder / "attribute_judge", folder / "attribute_judge")
    spec = write_spec(folder, identity="networks.py:means", features="networks.py:shrunk", attributes="attribute_judge")
    judge, drawn = judges.load_judges(spec), judges.load_judges(base_folder)
    np.testing.assert_array_equal(judge.look(pictures).attribute_logits, drawn.look(pictures).attribute_logits)
    assert (judge.text_name, judge.attribute_name) == ("attribute judge", "networks.py:shrunk")
    shutil.rmtree(folder / "attribute_judge")
    with pytest.raises(FileNotFoundError, match="attribute_judge: no judge here"):
        judges.load_judges(spec)


def test_another_shape_of_identity_is_told(folder, pictures):
    judge = judges.load_judges(write_spec(folder, identity="networks.py:wrong", features="networks.py:shrunk"))
    with pytest.raises(ValueError, match=r"networks.py:wrong: \[5,D\] was expected, got \[5, 4, 2\]"):
        judge.look(pictures)


def test_a_cell_judged_from_end_to_end(folder, clip_folder, tiny_celeba):
    """Real files and sets; a sample without a face is counted, and there is no agreement of attributes."""
    table = celeba.read_celeba(tiny_celeba)
    spec = write_spec(folder, identity="networks.py:means", features="networks.py:shrunk", text=clip_folder)
    judge = judges.load_judges(spec)
    sets = galleries.named_sets(evaluation_sets(group_by_person(table, 4, "test"), 2, 2, seed=0), table.file)
    reference = scoring.make_reference(sets, table, judge, 64)
    prompts = scoring.prompt_embeds(sets, table, judge, 64, {"n_refs": 2, "prompts": "own"})
    shown = celeba.load_pictures(table.set_index("file").loc[sets.target, "path"], 64)
    shown[0, 0, 0] = 0
    rows, scores = scoring.evaluate_cell(judged := judge.look(shown), reference, prompts, resamples=5)
    found = scoring.table(rows).set_index("metric")
    assert found.index.tolist() == [
        "identity", "top1", "text", "copying", "faces", "clip_i", "clip_t", "fid", "kid", "is"]
    assert found["count"].to_dict() == dict.fromkeys(found.index, 4) | {"identity": 3, "top1": 3, "copying": 3}
    assert found.loc["faces", "value"] == 0.75 and scores["identity"].isna().tolist() == [True, False, False, False]
    assert found.loc[["faces", "is", "clip_t", "text"], "judge"].tolist() == [
        "networks.py:means", "networks.py:shrunk", clip_folder.name, clip_folder.name]
    assert scores["text"].equals(scores["clip_t"])  # no judge looks for attributes
    caption = judge.read(scoring.captions(table.set_index("file").loc[sets.target]))
    np.testing.assert_allclose(scores["clip_t"], (judged.clip * caption).sum(1), atol=1e-6)
    person = sets.person.iloc[3]
    rest = sorted(set(sets.held_out.iloc[3]) - set(sets.target))
    seen = judge.look(celeba.load_pictures(table.set_index("file").loc[rest, "path"], 64))
    assert scores["clip_i"].iloc[3] == pytest.approx((seen.clip @ judged.clip[3]).mean(), abs=1e-6)
    assert len(reference.held_out[person]) == len(rest) and reference.wanted is None


def test_an_order_is_judged_by_the_pairs_that_both_show_a_face(folder, pictures):
    judge = judges.load_judges(write_spec(folder, identity="networks.py:means", features="networks.py:shrunk"))
    sets = pd.DataFrame({"person": [1, 2, 3], "sample": 0, "target": [0, 1, 2], "prompts": [(4,)] * 3,
                         "held_out": [(5,)] * 3, "lam": 1.0})
    files = pd.Series([f"{i}.jpg" for i in range(6)])
    turned = pictures[[0, 3, 4]]
    turned[0, 0, 0] = 0  # no face, in one of the two galleries
    for name, shown in (("n1", pictures[:3]), ("n1-reversed", turned)):
        galleries.write_pictures(folder / name, sets, shown)
        galleries.write_index(folder / name, sets.drop(columns="lam"), [1.0], files)
    a, b = (judge.look(shown).identity[1:] for shown in (pictures[:3], turned))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    change = scoring.order_change(judge, folder / "n1", folder / "n1-reversed")
    assert change == pytest.approx(1 - cosines.mean(), abs=1e-9)
