"""What a user can get wrong, and the line that says so: one row a case, one test for all of them.

A row is (what is odd, how it comes about, what the line says); None: it is read as if nothing were odd. How it comes
about is a function that spoils something in a folder of its own and returns what the user then calls. A line is one
line, it names the culprit, a command ends with status 1, and nothing is written.
"""

# ruff: noqa: E501  a row a case
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from spoil import (
    GENERATE,
    NOISE,
    RGB,
    Place,
    Said,
    a_base,
    a_cache,
    a_gallery,
    a_state,
    a_trained,
    an_adapter,
    archive,
    bare_pickle,
    calls,
    cells,
    checked,
    command,
    content,
    drawn,
    encoded,
    features_of,
    first_picture,
    flip_cache,
    flipped,
    judged_by,
    lines,
    notebook,
    of_people,
    other_encoder,
    packed,
    pairs,
    pickled,
    picture,
    png_that_claims,
    profile,
    published,
    rename_layer,
    rewritten,
    row,
    sealed,
    splits,
    table,
    warm_start,
    with_nan,
    without,
    written_notebook,
)  # fmt: skip

from ipa_lib.data import picture_table
from ipa_lib.data.celeba import ATTRIBUTE, IDENTITY, PARTITION, PICTURES
from ipa_lib.diffusion import galleries, training
from ipa_lib.evaluation import judges, metrics
from ipa_lib.explore import explorer
from ipa_lib.model import exchange
from ipa_lib.model.adapter import MultiImageAdapter

GRID = "grid: [{{merge: mean, n_max: 4{}}}]\n"
ONE = GRID.format("")
REVERSED = "cells: [{{adapters: mean-own-n4-s0, prompts: reversed, {}}}]\n"
CASES = [
    # annotation files
    ("a missing row", lines(IDENTITY, lambda rows: rows[:3] + rows[4:]), f"{PARTITION}, row 4: 000004.jpg has no row in {IDENTITY}"),
    ("a surplus row", lines(PARTITION, lambda rows: [*rows, "999999.jpg 0"]), f"{PARTITION}, row 73: 999999.jpg has no row in {IDENTITY}"),
    ("a wrong count", lines(ATTRIBUTE, row(1, "73")), f"{ATTRIBUTE}, row 1: announces '73' rows, the file holds 72"),
    ("a count in words", lines(ATTRIBUTE, row(1, "many")), f"{ATTRIBUTE}, row 1: announces 'many' rows, the file holds 72"),
    ("Windows line ends", content(IDENTITY, lambda b: b.replace(b"\n", b"\r\n")), None),
    ("a byte-order mark", content(ATTRIBUTE, lambda b: b"\xef\xbb\xbf" + b), None),
    ("tabs for spaces", content(ATTRIBUTE, lambda b: b.replace(b" ", b"\t")), None),
    ("UTF-16", content(IDENTITY, lambda b: b.decode().encode("utf-16")), f"{IDENTITY}, row 1: UTF-8 text was expected"),
    ("a negative person", lines(IDENTITY, row(2, "000002.jpg -7")), f"{IDENTITY}, row 2: -7 is wrong, a person's number was expected"),
    ("a person in letters", lines(IDENTITY, row(2, "000002.jpg Ann")), f"{IDENTITY}, row 2: Ann is wrong, a person's number was expected"),
    ("a duplicate name", lines(IDENTITY, row(2, "000001.jpg 7")), f"{IDENTITY}, row 2: 000001.jpg is wrong, every file may occur once"),
    ("a column too many", lines(IDENTITY, row(5, "000005.jpg 7 8")), f"{IDENTITY}, row 5: 3 columns where 2 were expected"),
    ("an unknown partition", lines(PARTITION, row(3, "000003.jpg 3")), f"{PARTITION}, row 3: 3 is wrong, partition 0, 1 or 2 was expected"),
    ("an attribute of 0", lines(ATTRIBUTE, row(3, "000001.jpg" + " 0" * 40)), f"{ATTRIBUTE}, row 3: 0 is wrong, 1 or -1 was expected for 5_o_Clock_Shadow"),
    ("39 attributes", lines(ATTRIBUTE, lambda rows: [rows[0], rows[1].replace("Bald ", ""), *rows[2:]]), f"{ATTRIBUTE}, row 2: CelebA's 40 attribute names were expected, these differ: Bald"),
    ("an empty file", content(IDENTITY, lambda b: b""), f"{IDENTITY}, row 1: the file holds no rows"),
    ("no such file", without(PARTITION), f"{PARTITION}: no such file; CelebA's annotation file was expected here"),
    ("no pictures' folder", without(PICTURES), f"{PICTURES}: no such folder; CelebA's aligned pictures were expected in it"),
    ("an empty pictures.csv", table(""), "pictures.csv: not a table (No columns to parse from file); run notebooks/01_prepare_data.ipynb"),
    ("a pictures.csv of something else", table("a,b\n1,2\n"), "pictures.csv: the column file is missing"),
    ("no near_duplicates.csv", pairs(None), "near_duplicates.csv: no such table; run notebooks/01_prepare_data.ipynb"),
    ("a near_duplicates.csv of something else", pairs("a,b\n1,2\n"), "near_duplicates.csv: not a table of pairs ("),
    ("no caption", of_people(Ann__a_dot_png=None, Ann__b_dot_png=None, Ann__a_dot_txt=b"a face"), "Ann/b.png: no caption; other pictures have one, so each was expected to"),
    ("a caption in Latin-1", of_people(Ann__a_dot_png=None, Ann__a_dot_txt=b"\xe9t\xe9"), "Ann/a.txt: UTF-8 text was expected"),
    ("captions under other names", of_people("name,text\n", Ann__a_dot_png=None), "captions.csv, row 1: the columns file,caption were expected"),
    ("two captions of one picture", of_people("file,caption\nAnn/a.png,x\nAnn/a.png,y\n", Ann__a_dot_png=None), "captions.csv, row 3: Ann/a.png: a second caption of it"),
    ("no person", of_people(readme_dot_txt=b"nothing"), "people: no pictures here; <person>/<picture>.jpg was expected"),
    ("a person in two splits", splits((7, "train"), (7, "test"), (8, "train")), "person 7 is in test and train; one split a person was expected"),
    ("too few pictures of everybody", splits((7, "train"), (8, "train")), "nobody has 2 pictures; the most that a person has is 1"),

    # pictures
    ("a truncated JPEG", picture("a.jpg", encoded(RGB, "JPEG")[:-99]), "a.jpg: not a readable picture ("),
    ("a truncated PNG", picture("a.png", encoded(RGB)[:-99]), "a.png: not a readable picture ("),
    ("zero bytes", picture("a.jpg", b""), "a.jpg: not a readable picture (cannot identify"),
    ("not a picture", picture("a.png", b"<html>not found</html>"), "a.png: not a readable picture (cannot identify"),
    ("30 000 × 30 000 pixels", picture("a.png", png_that_claims(30_000, 30_000)), "a.png: not a readable picture (Image size (900000000 pixels)"),
    ("10 000 × 6 000 pixels", picture("a.png", png_that_claims(10_000, 6_000)), "a.png: not a readable picture (10000 x 6000 is more than 50000000 pixels)"),
    ("one pixel", picture("a.png", encoded(RGB.crop((0, 0, 1, 1)))), "a.png: not a readable picture (1 x 1 is less than 8 pixels a side)"),
    ("CMYK", picture("a.jpg", encoded(RGB.convert("CMYK"), "JPEG")), None),
    ("16 bits of grey", picture("a.png", encoded(Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257))), None),
    ("an alpha channel", picture("a.png", encoded(RGB.convert("RGBA"))), None),
    ("an animation", picture("a.webp", encoded(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(90)])), None),
    ("a camera on its side", picture("a.jpg", encoded(RGB, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")), None),
    ("a spoilt orientation", picture("a.jpg", encoded(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")), None),
    ("a zip with a path upwards", packed(**{"up__000001.jpg": b"", f"{PICTURES}__000002.jpg": encoded(RGB)}), f"{PICTURES}.zip: ../000001.jpg leads out of the archive"),
    ("a zip of no pictures", packed(readme_txt=b"nothing"), f"{PICTURES}: none of the 72 annotated pictures is here"),
    ("a zip with a spoilt picture", packed(**{f"{PICTURES}__000002.jpg": b"GIF"}), "000002.jpg: not a readable picture ("),
    ("a zip bomb", packed(**{f"{PICTURES}__000002.jpg": bytes(70 * 2**20)}), "000002.jpg: not a readable picture (unpacks to 73400320 bytes, more than 67108864)"),
    ("no zip at all", archive(b"<html>quota exceeded</html>"), f"{PICTURES}.zip: not a readable zip archive ("),

    # configurations
    ("an unknown key", profile("gird: []"), "mine.yaml: unknown key 'gird'; did you mean grid?"),
    ("an unknown notebook", profile("notebooks: {05_generat: {}}"), "mine.yaml: unknown notebook '05_generat'; did you mean 05_generate?"),
    ("an unknown parameter", profile("notebooks: {05_generate: {n_ref: 2}}"), "mine.yaml: 05_generate: unknown parameter 'n_ref'; did you mean n_refs"),
    ("a wrong type", profile("notebooks: {05_generate: {people: many}}"), "mine.yaml: 05_generate: people: expected a whole number, got 'many'"),
    ("N = 0", profile("grid: [{merge: mean, n_max: 0}]"), "mine.yaml: grid[0]: n_max: expected a whole number from 1 to 32, got 0"),
    ("N = 33", profile("grid: [{merge: mean, n_max: 33}]"), "mine.yaml: grid[0]: n_max: expected a whole number from 1 to 32, got 33"),
    ("N of a cell above that of training", profile(GRID.format(", n_refs: 5")), "mine.yaml: grid[0]: n_refs: expected a whole number from 1 to 4, got 5"),
    ("λ = NaN", profile(ONE + "lams: [0, 1, .nan]"), "mine.yaml: lams: expected a finite number, got nan"),
    ("λ = ∞", profile(ONE + "lams: [0, 1, .inf]"), "mine.yaml: lams: expected a finite number, got inf"),
    ("λ < 0", profile(ONE + "lams: [0, 1, -0.5]"), "mine.yaml: lams: expected λ ≥ 0, got -0.5"),
    ("no λ = 0", profile(ONE + "lams: [0.5, 1]"), "mine.yaml: lams: 0 (the floor) and 1 (as trained) were expected among [0.5, 1.0]"),
    ("an empty grid", profile("grid: []"), "mine.yaml: grid: expected a list of at least one entry, got []"),
    ("an adapter twice", profile("grid: [{merge: mean, n_max: 4}, {merge: mean, n_max: 4}]"), "mine.yaml: grid: mean-own-n4-s0 stands there twice"),
    ("a cell twice", profile(ONE + "cells: [{adapters: mean-own-n4-s0, n_refs: 4}]"), "mine.yaml: cells: mean-own-n4-s0/n4 stands there twice"),
    ("an unknown adapter", profile(ONE + "cells: [{adapters: mean-own-n4-s1, n_refs: 4}]"), "mine.yaml: cells[0]: unknown adapter 'mean-own-n4-s1'; did you mean mean-own-n4-s0?"),
    ("a main adapter without its floor", profile(GRID.format(", lams: [0.5, 1]")), "mine.yaml: grid: mean-own-n4-s0 is the main adapter: 0 (the floor) and 1 (as trained) were expected among its lams, got [0.5, 1.0]"),
    ("a main adapter that is not judged as trained", profile(GRID.format(", lams: [0, 0.5]")), "mine.yaml: grid: mean-own-n4-s0 is the main adapter: 0 (the floor) and 1 (as trained) were expected among its lams, got [0.0, 0.5]"),
    ("reversed prompts with nothing beside them", profile(ONE + REVERSED.format("n_refs: 2")), "mine.yaml: cells: mean-own-n4-s0/n2-reversed: what it is held against, mean-own-n4-s0/n2, was expected among the cells too"),
    ("reversed prompts with another w beside them", profile(ONE + REVERSED.format("n_refs: 4, guidance: 5")), "n4-reversed-w5: what it is held against, mean-own-n4-s0/n4-w5, was expected"),
    ("reversed prompts without λ = 1", profile(ONE + REVERSED.format("n_refs: 4, lams: [0.5]")), "mine.yaml: cells: mean-own-n4-s0/n4-reversed: 1 was expected among the lams of mean-own-n4-s0/n4-reversed, got [0.5]"),
    ("reversed prompts, the usual ones without λ = 1", profile("grid: [{merge: mean, n_max: 4}, {merge: sum, n_max: 4, lams: [0.5]}]\n" + REVERSED.replace("mean", "sum").format("n_refs: 4")), "mine.yaml: cells: sum-own-n4-s0/n4-reversed: 1 was expected among the lams of sum-own-n4-s0/n4, got [0.5]"),
    ("occluded photographs", profile(ONE + "cells: [{adapters: mean-own-n4-s0, n_refs: 4, prompts: occluded50}]\nnotebooks: {01_prepare_data: {draw: false}}"), "mine.yaml: cells: mean-own-n4-s0/n4-occluded50: only drawn faces can be occluded; own, other or reversed was expected where 01_prepare_data has `draw: false`"),
    ("prompts set aside by hand", profile("notebooks: {01_prepare_data: {max_refs: 8}}"), "mine.yaml: 01_prepare_data: max_refs would have no effect here: it comes from n_refs of grid and cells"),
    ("other people for the ceilings", profile("notebooks: {07_measure_ceilings: {people: 8}}"), "mine.yaml: 07_measure_ceilings: people would have no effect here: it comes from 05_generate"),
    ("a merge outside the grid", profile("notebooks: {04_train_adapter: {merge: sum}}"), "mine.yaml: 04_train_adapter: merge would have no effect here: it comes from grid"),
    ("a profile of another name", profile("notebooks: {08_compare_slots: {profile: full}}"), "mine.yaml: 08_compare_slots: profile would have no effect here: it comes from the name of the profile"),
    ("an unknown merge", profile("grid: [{merge: median, n_max: 4}]"), "mine.yaml: grid[0]: merge: expected one of mean, concat"),
    ("no merge", profile("grid: [{n_max: 4}]"), "mine.yaml: grid[0]: merge is missing"),
    ("a negative seed", profile(GRID.format(", seed: -1")), "mine.yaml: grid[0]: seed: expected a whole number from 0 to 2147483647, got -1"),
    ("not YAML", profile("grid: [{merge: mean"), "mine.yaml, line 1: not YAML: expected"),
    ("YAML that makes objects", profile("grid: !!python/object/apply:os.system ['touch owned']"), "mine.yaml, line 1: not YAML: could not determine a constructor"),
    ("a key twice", profile(ONE + "lams: [0, 1]\nlams: [0, 1, 2]\n"), "mine.yaml, line 3: not YAML: lams stands there twice"),
    ("a parameter twice", profile("notebooks: {05_generate: {people: 2,\n people: 4}}"), "mine.yaml, line 2: not YAML: people stands there twice"),
    ("a list for a profile", profile("[1, 2]"), "mine.yaml: expected `name: value` pairs, got [1, 2]"),
    ("bytes that are no text", lambda at: [(at.folder / "mine.yaml").write_bytes(b"\xff\xfe\x00"), command("ipa_lib.workflow.config", at.folder / "mine.yaml")][1], "mine.yaml: not YAML: "),
    ("a name with a command in it", profile(ONE, "x; touch owned.yaml"), "x; touch owned.yaml: letters, digits, - and _ were expected in the name of a profile"),
    ("an unknown profile", lambda at: command("ipa_lib.workflow.config", "mni"), "no profile 'mni' in configs/; did you mean mini?"),
    ("an unknown type of numbers", checked("notebooks: {{03_cache_features: {{base: '{base}', dtype: float8}}, 01_prepare_data: {{draw: true}}}}"), "base           dtype: float32 or bfloat16 or float16 was expected, got float8"),
    ("no base model", checked("notebooks: {{03_cache_features: {{base: '{at}/nothing'}}, 01_prepare_data: {{draw: true}}}}"), "nothing: no such folder, nor is it in the hub's cache"),

    # notebooks
    ("a misspelt parameter", lambda at: command("ipa_lib.workflow.runs", GENERATE, at.folder / "out.ipynb", "-p", "n_ref", "2"), "05_generate: unknown parameter 'n_ref'; did you mean n_refs"),
    ("a parameter in words", notebook("-p", "n_refs", "two"), "05_generate: n_refs: expected a whole number, got 'two'"),
    ("a parameter of NaN", notebook("-p", "guidance", "nan"), "05_generate: guidance: expected a finite number, got 'nan'"),
    ("a list cut off", notebook("-p", "lams", "[0.0, 0.5"), "05_generate: lams: expected list[float], got '[0.0, 0.5'"),
    ("an unknown notebook to run", notebook(of="notebooks/05_generat.ipynb"), "no notebook 05_generat in notebooks/; did you mean 05_generate?"),
    ("a notebook that is none", written_notebook("{"), "mine.ipynb: not a notebook ("),
    ("a notebook without parameters", written_notebook(json.dumps({"cells": []})), "mine.ipynb: expected one cell tagged 'parameters', got 0"),
    ("a calculated parameter", written_notebook(cells("n: int = 1 + n")), "mine.ipynb: expected `name: type = literal  # reason` in the parameters cell"),
    ("a failing cell", written_notebook(cells("n: int = 1", "raise ValueError('n: expected 2')")), "mine.ipynb: cell 2: ValueError: n: expected 2"),

    # models and checkpoints
    ("no model index", a_base(lambda made: None, "model_index.json"), "base: no model_index.json here, a Stable Diffusion folder was expected"),
    ("no weights of the U-Net", a_base(lambda made: None, "unet/diffusion_pytorch_model.safetensors"), "base: Error no file named diffusion_pytorch_model.safetensors found in directory"),
    ("weights cut off", a_base(lambda made: made[:5000], "unet/diffusion_pytorch_model.safetensors"), "base: Unable to load weights from checkpoint file for "),
    ("weights of another U-Net", a_base(rewritten(block_out_channels=[40, 80, 96]), "unet/config.json"), "base: Cannot load  because conv_in.bias expected shape torch.Size([40])"),
    ("no JSON in a config", a_base(lambda made: b"{", "unet/config.json"), "unet/config.json' is not a valid JSON file"),
    ("another prediction", a_base(rewritten(prediction_type="sample"), "scheduler/scheduler_config.json"), "base: prediction_type sample; epsilon or v_prediction was expected"),
    ("a size that does not fit", a_base(None, None, size=60), "size: 60 pixels; "),
    ("numbers of an unknown type", a_base(None, None, dtype="float8"), "dtype: float32 or bfloat16 or float16 was expected, got float8"),
    ("no adapter", lambda at: lambda: MultiImageAdapter.load(at.folder / "none.safetensors"), "none.safetensors: no such adapter file"),
    ("an adapter cut off", an_adapter(lambda x, notes: save(x, notes)[:-100]), "adapter.safetensors: not a readable safetensors file ("),
    ("an adapter of other keys", an_adapter(lambda x, notes: x.popitem() and None), "adapter.safetensors: missing "),
    ("an adapter without its settings", an_adapter(lambda x, notes: notes.pop("merge") and None), "adapter.safetensors: not an adapter of this package, the metadata lack merge"),
    ("settings that are no numbers", an_adapter(lambda x, notes: notes.update(n_slots="two")), "adapter.safetensors: n_slots cannot be read from 'two'"),
    ("a merge that is not known", an_adapter(lambda x, notes: notes.update(merge="median")), "adapter.safetensors: merge: one of mean"),
    ("wrong N in the settings", an_adapter(lambda x, notes: notes.update(n_slots="3")), "adapter.safetensors: misshapen "),
    ("NaN in an adapter", an_adapter(with_nan), "to_v holds values that are not finite"),
    ("a trained adapter", a_trained(), None),
    ("a flipped bit in a trained adapter", a_trained(lambda made: flipped(made, -9)), "adapter.safetensors: not the bytes that provenance.json names; run notebooks/04_train_adapter.ipynb again"),
    ("a flipped bit without provenance of it", a_trained(lambda made: flipped(made, -9), lambda text: "{}"), None),
    ("a provenance cut off", a_trained(note=lambda text: text[:-9]), "provenance.json: damaged; run notebooks/04_train_adapter.ipynb again"),
    ("a provenance of something else", a_trained(note=lambda text: "[]"), "provenance.json: damaged; run notebooks/04_train_adapter.ipynb again"),
    ("NaN in a published adapter", published(warm_start), "slot.safetensors: image_proj.proj.bias holds values that are not finite"),
    ("a published adapter of another width", published(lambda x: x.update({"ip_adapter.1.to_k_ip.weight": torch.zeros(3, 4)})), "slot.safetensors: misshapen ip_adapter.1.to_k_ip.weight [3, 4] instead of"),
    ("a published adapter for more layers", published(lambda x: x.update({"ip_adapter.99.to_k_ip.weight": torch.zeros(3, 4)})), "slot.safetensors: surplus ip_adapter.99.to_k_ip.weight"),
    ("a checkpoint that runs code", pickled("a.bin", exchange.read_published), "a.bin: not a file of tensors alone, or damaged (UnpicklingError); download it again"),
    ("a bare pickle that runs code", bare_pickle("a.bin", exchange.read_published), "a.bin: not a file of tensors alone, or damaged ("),
    ("a pickle under another name", bare_pickle("a.safetensors", MultiImageAdapter.load), "a.safetensors: not a readable safetensors file ("),
    ("a checkpoint of another kind", bare_pickle("a.ckpt", exchange.read_published), "a.ckpt: a file ending in .safetensors or .bin was expected"),
    ("an adapter of another model", drawn(change=rename_layer), "image_kv: nothing for layer mid_block"),
    ("more prompts than it was trained for", drawn(n_refs=3), "embeds: 3 prompts for an adapter of 2 slots"),
    ("more prompts than are set aside", drawn(n_refs=4), "n_refs = 4; max_refs = 3 prompts are set aside for each person"),
    ("embeddings of another encoder", drawn(embeds=lambda x: x[:, :-1]), "embeds: expected [B, N, 128], got "),
    ("a training state that runs code", pickled("a.state", lambda file: training.Checkpoint(file, {}).load()), "a.state: damaged; remove it to train from the beginning"),
    ("a training state cut off", a_state(lambda made: made[:-50]), "training.state: damaged; remove it to train from the beginning"),
    ("a flipped bit in a training state", a_state(flipped), "training.state: damaged; remove it to train from the beginning"),
    ("a training state that runs code, sealed", sealed, "training.state: damaged; remove it to train from the beginning"),
    ("an empty training state", a_state(lambda made: b""), "training.state: damaged; remove it to train from the beginning"),

    # caches, galleries, judges
    ("a whole cache", a_cache(lambda folder, at: None), None),
    ("a flipped bit in a cache", a_cache(flip_cache), "features: features.safetensors is damaged; run notebooks/03_cache_features.ipynb again"),
    ("a cache of another encoder", a_cache(other_encoder), "features: the cached features were made from other encoders; run"),
    ("a cache without its tensors", a_cache(lambda folder, at: (folder / "features.safetensors").unlink()), "features: features.safetensors is damaged; run"),
    ("a manifest cut off", a_cache(lambda folder, at: (folder / "manifest.json").write_text("{")), "features: no cached features here; run"),
    ("a manifest of something else", a_cache(lambda folder, at: (folder / "manifest.json").write_text("[1]")), "features: no cached features here; run"),
    ("an unfinished gallery", a_gallery(lambda folder: (folder / "index.csv").unlink()), "n2: no finished gallery here; run notebooks/05_generate.ipynb"),
    ("an index of something else", a_gallery(lambda folder: (folder / "index.csv").write_text("a\n1\n")), "n2: the gallery is damaged ('prompts'); run notebooks/05_generate.ipynb again"),
    ("an empty index", a_gallery(lambda folder: (folder / "index.csv").write_text("")), "n2: the gallery is damaged (No columns to parse from file); run notebooks/05_generate.ipynb again"),
    ("a lost picture", a_gallery(lambda folder: first_picture(folder).unlink()), ".png: no such picture"),
    ("a spoilt picture", a_gallery(lambda folder: first_picture(folder).write_bytes(b"PNG")), ".png: not a readable picture ("),
    ("no rows of a gallery", calls(galleries.read_pictures, "results/mini/samples/a/n2", pd.DataFrame(columns=["person", "sample", "lam"])), "results/mini/samples/a/n2: no picture is meant; people, samples and λ of its index.csv were expected"),
    ("no judges", calls(judges.load_judges, "nowhere"), "nowhere/identity_judge: no judge here; notebooks/02_train_base.ipynb trains one"),
    ("an unknown judge", judged_by("identity: a.onnx\nfeatures: inception\nfaces: b\n"), "judges.yaml: faces is no key; expected some of "),
    ("a judge too few", judged_by("identity: a.onnx\n"), "judges.yaml: features is missing"),
    ("a judge that is not there", judged_by("identity: a.onnx\nfeatures: inception\n"), "a.onnx: no such file; an identity network in ONNX was expected"),
    ("judges that are no YAML", judged_by("identity: ["), "judges.yaml, line 1: not YAML: expected"),
    ("a judge twice", judged_by("identity: a.onnx\nfeatures: inception\nidentity: b.onnx"), "judges.yaml, line 3: not YAML: identity stands there twice"),
    ("a judge of attributes that is not there", judged_by("identity: json:dumps\nfeatures: json:dumps\nattributes: none"), "none: no judge here; "),
    ("more judging people than can be spared", calls(picture_table.set_apart, pd.DataFrame({"person": [1, 2, 3]}), 2, pd.DataFrame({"person": [1, 2]})), "judge_people: 2 were asked for, and 1 take no part in the experiment"),

    # numbers
    ("nothing to explore", calls(explorer.open_session, "nobody"), "results/nobody has no adapter and no people yet: run `make report PROFILE=nobody`"),
    ("FID of one picture", calls(metrics.fid, features_of(9), features_of(1)), "fake: expected at least 2 rows, got 1"),
    ("FID with NaN", calls(metrics.fid, features_of(9, first=np.nan), features_of(9)), "real: 1 of 9 rows hold values that are not finite"),
    ("FID of two networks", calls(metrics.fid, features_of(9), features_of(9, 5)), "real, fake: feature widths must agree, got 4 and 5"),
    ("IS of probabilities", calls(metrics.inception_score, np.full((9, 4), 0.25)), "log_probs: these are probabilities; expected logits or log-probabilities"),
]  # fmt: skip


def listed(folder):
    """What lies in a folder, with its contents."""
    files = sorted(file for file in folder.rglob("*") if not file.name.endswith((".lock", ".failed.ipynb")))
    return {str(file): file.read_bytes() if file.is_file() else None for file in files}


def test_the_names_differ():
    names = [name for name, _, _ in CASES]
    assert len(set(names)) == len(names) and sum(said is not None for _, _, said in CASES) >= 60


@pytest.mark.parametrize(("spoil", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_input_is_one_line(spoil, said, tmp_path, tiny_celeba, base_folder, base, stored):
    call = spoil(Place(tmp_path, tiny_celeba, base_folder, base, stored))
    before = listed(tmp_path)
    if said is None:
        call()
    else:
        with pytest.raises((ValueError, FileNotFoundError, Said)) as error:
            call()
        message = str(error.value)
        assert said in message and "\n" not in message.strip() and "Traceback" not in message
    assert listed(tmp_path) == before
