"""How bad input comes about, for `test_bad_input`.

Each function returns one that spoils something in a folder of a test's own and returns what the user then calls.
"""

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ipa_lib import files
from ipa_lib.data import folders, identity_sets, near_duplicates, picture_table
from ipa_lib.data.celeba import ATTRIBUTE, IDENTITY, PARTITION, PICTURES, load_picture, read_celeba
from ipa_lib.diffusion import backbone, features, galleries, sampling, training
from ipa_lib.evaluation import judges
from ipa_lib.model import exchange
from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.model.attention import attached
from ipa_lib.workflow import check, config, provenance, runs

GENERATE = "notebooks/05_generate.ipynb"


@dataclass
class Place:
    """A folder of the test's own, and what all tests share, for reading only."""

    folder: Path
    shared_celeba: Path
    base: Path
    models: backbone.Backbone
    stored: tuple

    @property
    def celeba(self) -> Path:
        """Annotations of its own, and a folder of its own of the shared pictures."""
        root = self.folder / "celeba"
        if not root.exists():
            (root / PICTURES).mkdir(parents=True)
            for name in (IDENTITY, PARTITION, ATTRIBUTE):
                shutil.copy(self.shared_celeba / name, root)
            for file in (self.shared_celeba / PICTURES).iterdir():
                (root / PICTURES / file.name).symlink_to(file)
        return root


class Said(Exception):
    """What a command has said when it ended with status 1."""


# ---- annotation files ----


def lines(name, edit):
    """An annotation file with other lines: `edit` takes the list and returns one."""

    def spoil(at):
        file = at.celeba / name
        file.write_text("\n".join(edit(file.read_text().splitlines())) + "\n")
        return lambda: read_celeba(at.celeba)

    return spoil


def content(name, edit):
    """The same of its bytes."""

    def spoil(at):
        file = at.celeba / name
        file.write_bytes(edit(file.read_bytes()))
        return lambda: read_celeba(at.celeba)

    return spoil


def row(number, line):
    """Another line in place of that number, counted from 1."""
    return lambda rows: [*rows[: number - 1], line, *rows[number:]]


def without(path):
    """CelebA without one of its files or folders."""

    def spoil(at):
        gone = at.celeba / path
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        return lambda: read_celeba(at.celeba)

    return spoil


# ---- pictures ----

NOISE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
RGB = Image.fromarray(NOISE)


def encoded(image, form="PNG", **how):
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def picture(name, made):
    """A file that is read as a picture of 16 pixels a side."""

    def spoil(at):
        (at.folder / name).write_bytes(made)
        return lambda: load_picture(at.folder / name, 16)

    return spoil


def png_that_claims(width, height):
    head = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    head = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + head + struct.pack(">I", 9) + b"IDAT" + bytes(13)


def packed(**members):
    """CelebA whose pictures are in a zip archive with these members, by their names with __ for a slash."""

    def spoil(at):
        shutil.rmtree(at.celeba / PICTURES)
        with zipfile.ZipFile(at.celeba / f"{PICTURES}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, made in members.items():
                archive.writestr(name.replace("__", "/").replace("up/", "../"), made)
        return lambda: [load_picture(path, 16) for path in read_celeba(at.celeba)["path"]]

    return spoil


def archive(made):
    """CelebA with these bytes as its archive."""

    def spoil(at):
        shutil.rmtree(at.celeba / PICTURES)
        (at.celeba / f"{PICTURES}.zip").write_bytes(made)
        return lambda: read_celeba(at.celeba)

    return spoil


def of_people(captions=None, **files):
    """A folder for each person: text files by name, with __ for a slash, and pictures where the text is None."""

    def spoil(at):
        root = at.folder / "people"
        root.mkdir()
        for name, text in files.items():
            file = root / name.replace("__", "/").replace("_dot_", ".")
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(encoded(RGB) if text is None else text)
        if captions is not None:
            (root / "captions.csv").write_text(captions)
        return lambda: folders.read_folders(root)

    return spoil


def splits(*rows):
    """A table of (person, split), from which training people are taken."""
    table = pd.DataFrame(rows, columns=["person", "split"]).assign(path="a.png")
    return lambda at: lambda: identity_sets.split_people(table, 2, "train")


def table(text):
    """A pictures.csv with this text."""

    def spoil(at):
        (at.folder / "pictures.csv").write_text(text)
        return lambda: picture_table.read_table(at.folder / "pictures.csv")

    return spoil


def pairs(text):
    """A near_duplicates.csv with this text; None: without one."""

    def spoil(at):
        if text is not None:
            (at.folder / "near_duplicates.csv").write_text(text)
        return lambda: near_duplicates.read_pairs(at.folder / "near_duplicates.csv")

    return spoil


# ---- configurations and commands ----


def command(*arguments, cwd=files.ROOT, **environment):
    """A process of its own."""

    def call():
        done = subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": str(files.ROOT)} | environment)
        assert done.returncode == 1, f"status {done.returncode}: {done.stderr}"
        raise Said(done.stderr.removesuffix("\n"))

    return call


def profile(text, name="mine.yaml"):
    """A profile with this text, checked by the command that `make report` begins with."""

    def spoil(at):
        (at.folder / name).write_text(text)
        return within(config.main, at.folder / name)

    return spoil


def within(main, *arguments, to=redirect_stderr):
    """The same in this process, which is quicker."""

    def call():
        said = io.StringIO()
        with to(said):
            assert main([*map(str, arguments)]) == 1
        raise Said("\n".join(line for line in said.getvalue().splitlines() if not line.startswith("ok ")))

    return call


def notebook(*flags, of=GENERATE):
    """A notebook with these parameters."""
    return lambda at: within(runs.main, files.ROOT / of, at.folder / "out.ipynb", "-q", *flags)


def written_notebook(made):
    """A notebook with this text."""

    def spoil(at):
        (at.folder / "mine.ipynb").write_text(made)
        return within(runs.main, at.folder / "mine.ipynb", at.folder / "out.ipynb", "-q")

    return spoil


def cells(*sources):
    """The text of a notebook with these cells, the first of them tagged `parameters`."""
    made = [nbformat.v4.new_code_cell(source) for source in sources]
    made[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return nbformat.writes(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}))


def checked(text):
    """`make check` of a profile."""

    def spoil(at):
        (at.folder / "mine.yaml").write_text(text.format(at=at.folder, base=at.base))
        return within(check.main, at.folder / "mine.yaml", to=redirect_stdout)

    return spoil


# ---- models and checkpoints ----


def a_base(spoil_file, name, **source):
    """The base model with one file spoilt: `spoil_file` takes its bytes and gives others, or None to remove it."""

    def spoil(at):
        copy = shutil.copytree(at.base, at.folder / "base", copy_function=os.symlink)
        if name:
            made = spoil_file((copy / name).read_bytes())
            (copy / name).unlink()
            if made is not None:
                (copy / name).write_bytes(made)
        return lambda: backbone.load_base(backbone.Source(str(copy), **source))

    return spoil


def rewritten(**changes):
    return lambda made: json.dumps(json.loads(made) | changes).encode()


def of(at, n_slots=2, **how):
    """An adapter for the base."""
    return MultiImageAdapter.from_unet(at.models.unet, at.models.image_encoder.config.projection_dim, n_slots, **how)


def an_adapter(edit, load=MultiImageAdapter.load, name="adapter.safetensors"):
    """An adapter's file, spoilt: `edit` takes tensors and metadata, changes them, and may return bytes to write."""

    def spoil(at):
        file = at.folder / name
        of(at).save(file)
        _, notes = exchange.read_safetensors(file)
        tensors = load_file(file)
        made = edit(tensors, notes)
        if isinstance(made, bytes):
            file.write_bytes(made)
        else:
            save_file(tensors, file, notes)
        return lambda: load(file)

    return spoil


def a_trained(edit=lambda made: made, note=lambda text: text):
    """An adapter with its provenance beside it, as notebook 04 leaves them; then the bytes of either are changed."""

    def spoil(at):
        file = at.folder / "adapter.safetensors"
        of(at).save(file)
        noted = provenance.write_provenance(at.folder, 0, "cpu", "", sha256={file.name: files.sha256(file)})
        file.write_bytes(edit(file.read_bytes()))
        noted.write_text(note(noted.read_text()))
        return lambda: MultiImageAdapter.load(provenance.unspoilt(file))

    return spoil


def with_nan(tensors, notes):
    tensors[min(name for name in tensors if name.endswith("to_v"))][0, 0, 0] = torch.nan


class Malicious:
    """Unpickled, it would write a file into the folder where the test looks for surplus ones."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return Path.touch, (Path(self.folder) / "owned",)


def pickled(name, load):
    """A file whose pickle runs code, as `torch.save` writes it."""

    def spoil(at):
        torch.save({"image_proj": Malicious(at.folder), "ip_adapter": {}, "recipe": {}}, at.folder / name)
        return lambda: load(at.folder / name)

    return spoil


def sealed(at):
    """A training's state that runs code, with the digest that makes it a whole one."""
    checkpoint = training.Checkpoint(at.folder / "training.state", {})
    checkpoint.save(tensors=Malicious(at.folder))
    return checkpoint.load


def bare_pickle(name, load):
    def spoil(at):
        (at.folder / name).write_bytes(pickle.dumps(Malicious(at.folder)))
        return lambda: load(at.folder / name)

    return spoil


def published(edit, name="slot.safetensors"):
    """A published checkpoint for the base, spoilt as in `an_adapter`, and taken as a warm start."""

    def spoil(at):
        file = at.folder / name
        exchange.save_published(of(at), file)
        tensors = load_file(file)
        edit(tensors)
        save_file(tensors, file)
        return lambda: exchange.from_published(file, at.models.unet, 2)

    return spoil


def warm_start(tensors):
    tensors["image_proj.proj.bias"][3] = torch.inf


def drawn(n_refs=2, change=None, unet=None, embeds=None):
    """Pictures by an adapter for 2 prompts; `change` spoils the adapter, `embeds` the cached embeddings."""

    def spoil(at):
        stored, adapter = at.stored[1], of(at)
        sets = identity_sets.evaluation_sets(identity_sets.group_by_person(at.stored[0], 5, "test"), 3, 1, 0, 1)
        if change:
            change(adapter)
        if embeds:
            stored = features.Features(**vars(stored) | {"embeds": embeds(stored.embeds)})

        def call():
            with attached(at.models.unet):
                list(sampling.draw_sets(at.models, adapter, stored, sets, n_refs, [1.0], steps=1))

        return call

    return spoil


def rename_layer(adapter):
    layers = {name.replace("mid", "mud"): width for name, width in adapter.config.layers.items()}
    adapter.config = replace(adapter.config, layers=layers)
    adapter.layers = torch.nn.ModuleDict({name.replace("mid", "mud"): one for name, one in adapter.layers.items()})


def a_state(edit):
    """The kept state of a training, spoilt: what is written in place of its bytes."""

    def spoil(at):
        checkpoint = training.Checkpoint(at.folder / "training.state", {"lr": 1.0})
        checkpoint.save(tensors=[torch.zeros(9)])
        checkpoint.path.write_bytes(edit(checkpoint.path.read_bytes()))
        return checkpoint.load

    return spoil


def flipped(made, place=300):
    return made[:place] + bytes([made[place] ^ 1]) + made[place + 1:]


# ---- caches, galleries, judges, numbers ----


def a_cache(edit):
    """Cached features of CelebA; `edit` takes the folder of the cache and the source and may return another source."""

    def spoil(at):
        table, source = at.stored[0], backbone.Source(str(at.base))
        key = features.fingerprint(table, source)
        folder = at.folder / "features"
        folder.mkdir()
        save_file({name: x.contiguous() for name, x in vars(at.stored[1]).items()}, folder / "features.safetensors")
        digest = files.sha256(folder / "features.safetensors")
        (folder / "manifest.json").write_text(json.dumps(key | {"sha256": digest}))
        other = edit(folder, at)
        used = other if isinstance(other, backbone.Source) else source
        return lambda: features.load_features(table, used, folder)

    return spoil


def flip_cache(folder, at):
    file = folder / "features.safetensors"
    file.write_bytes(flipped(file.read_bytes(), 5000))


def other_encoder(folder, at):
    copy = shutil.copytree(at.base, at.folder / "base", copy_function=os.symlink)
    weights = copy / "image_encoder" / "model.safetensors"
    tensors = load_file(weights)
    weights.unlink()
    save_file({name: x + 1 for name, x in tensors.items()}, weights, {"format": "pt"})
    return backbone.Source(str(copy))


def a_gallery(edit):
    """A finished gallery of 4 pictures, spoilt, and read as the evaluation does."""

    def spoil(at):
        folder, table = at.folder / "n2", at.stored[0]
        sets = identity_sets.evaluation_sets(identity_sets.group_by_person(table, 4, "test"), 2, 2, seed=0)
        galleries.write_pictures(folder, sets.assign(lam=1.0), np.zeros((len(sets), 32, 32, 3), np.uint8))
        galleries.write_index(folder, sets, [1.0], table.file, n_refs=2)
        edit(folder)
        return lambda: galleries.read_pictures(folder, galleries.read_index(folder)[0])

    return spoil


def first_picture(folder):
    return sorted(folder.glob("lam1/*.png"))[0]


def judged_by(text):
    def spoil(at):
        (at.folder / "judges.yaml").write_text(text)
        return lambda: judges.load_judges(at.folder / "judges.yaml")

    return spoil


def features_of(rows, width=4, **odd):
    made = np.random.default_rng(0).normal(size=(rows, width))
    made[0, 0] = odd.get("first", made[0, 0])
    return made


def calls(function, *arguments):
    return lambda at: lambda: function(*arguments)
