"""Kill -9 at random moments of a training, a generation and a feature cache; the same call goes on to the same bytes.

    python tests/kill_resume.py 50      # fifty kills of each, half of them while a file is being written

Each run is a process of its own, forked from this one, which has loaded what they need. After a kill the very same call
is made again in the same folder. A run that came to its end is held against an unbroken one, byte by byte: the adapter,
the optimiser's state, the log; every picture; the cache. Random streams are functions of (seed, step) and of
(seed, person, sample): what they gave is in these files. Pictures of an unfinished gallery have to stay the very files.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import random_base
import torch
from conftest import _write_celeba

from ipa_lib import files
from ipa_lib.data import celeba, identity_sets
from ipa_lib.diffusion import features, galleries, sampling, training
from ipa_lib.diffusion.backbone import Source, load_base
from ipa_lib.model import attention
from ipa_lib.model.adapter import MultiImageAdapter


class Stage:
    """What all three read, made once; a method is a stage that goes on from what it finds in a folder."""

    def __init__(self, folder):
        torch.set_num_threads(1)  # a fork takes no other thread along
        base, people = random_base.write(folder / "base"), folder / "celeba"
        people.mkdir()
        self.table = celeba.read_celeba(_write_celeba(people, people=12, pictures=6))
        self.source, self.base = Source(str(base)), load_base(base)
        self.features = features.compute_features(self.table, self.base)
        attention.attach(self.base.unet)
        torch.manual_seed(0)
        self.adapter = MultiImageAdapter.from_unet(self.base.unet, self.features.embeds.shape[-1], 2, merge="gated")

    def training(self, folder):
        people = identity_sets.group_by_person(self.table, 3, "train")
        sets = identity_sets.LeaveOneOutSets(people, 2, 2, steps=13, seed=0, random_n=True)
        checkpoint = training.Checkpoint(folder / "training.state", {"lr": 1e-3}, every=3)
        stream = training.train_adapter(self.adapter, self.base.unet, self.base.scheduler, self.features, sets,
                                        [sets[0]], 1e-3, validate_every=5, checkpoint=checkpoint)
        records = list(stream)
        state = {name: x for name, x in checkpoint.load().items() if name != "seconds"}  # before the last step
        with files.atomic(folder / "log.jsonl") as file:
            file.write_text("".join(json.dumps(record) + "\n" for record in records))
        with files.atomic(folder / "state.sha256") as file:
            file.write_text(digest(state))
        self.adapter.save(folder / "adapter.safetensors")
        checkpoint.remove()

    def generation(self, folder):
        sets = identity_sets.evaluation_sets(identity_sets.group_by_person(self.table, 4), 2, 1, seed=0, people=8)
        galleries.begin(folder, weights="a", lams=[0.0, 1.0])
        stream = sampling.draw_sets(self.base, self.adapter, self.features, sets, 2, [0.0, 1.0], steps=2, batch_size=4,
                                    made=lambda rows: galleries.are_made(folder, rows))
        for rows, pictures in stream:
            if pictures is not None:
                galleries.write_pictures(folder, rows, pictures)
        galleries.write_index(folder, sets, [0.0, 1.0], self.table["file"])

    def cache(self, folder):
        features.cached_features(self.table, self.base, self.source, folder, batch_size=8)


def digest(state) -> str:
    """sha256 of all that a state holds: of tensors their bytes, of the rest its text."""
    if isinstance(state, torch.Tensor):
        return sha256(state.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(state, dict):
        return digest([(str(name), state[name]) for name in sorted(state, key=str)])
    if isinstance(state, list | tuple):
        return sha256("".join(map(digest, state)).encode()).hexdigest()
    return sha256(repr(state).encode()).hexdigest()


def forked(stage, folder) -> int:
    """The id of a new process that runs `stage` in `folder` and nothing else."""
    if process := os.fork():
        return process
    try:
        os.dup2(os.open(folder.parent / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        files.sweep(folder)  # as every notebook does first
        stage(folder)
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
        os._exit(1)


def ended(process) -> bool:
    """Has a process come to its end by itself? RuntimeError where that was another one than a stage's own."""
    found, status = os.waitpid(process, os.WNOHANG)
    if found and status:
        raise RuntimeError(f"status {status}")
    return bool(found)


def half_written(folder) -> list[Path]:
    return [file for file in folder.rglob(f".*{files.HOST}+*") if file.exists()]


def contents(folder) -> dict[str, bytes]:
    """Files and their bytes, but for temporary ones of safetensors, which a kill leaves for `files.sweep`."""
    written = [file for file in folder.rglob("*") if file.is_file() and not file.match(".tmp??????")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in written}


def pictures(folder) -> dict[str, int]:
    """Each finished picture and its inode, another one of which would be another file."""
    return {file.name + file.parent.name: file.stat().st_ino for file in folder.glob("lam*/[!.]*.png")}


def to_keep(folder) -> dict[str, int]:
    """Pictures that the next call has to leave alone: those of an unfinished gallery. A finished one is made anew."""
    return pictures(folder) if (folder / galleries.BEGUN).is_file() else {}


def kill_within(process, folder, delay, aimed) -> str:
    """Kill at a moment after `delay` seconds; if `aimed`, when a file is being written. How the process ended."""
    until = time.monotonic() + delay
    while not ended(process):
        if time.monotonic() > until and (not aimed or half_written(folder)):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return "while writing" if half_written(folder) else "killed"
        time.sleep(0.0005)
    return "whole"


def kept(before, folder, batch=4) -> bool:
    """Of the pictures that were there, all but those of one batch that was cut off are the very same files."""
    after = pictures(folder)
    return sum(after.get(name) != inode for name, inode in before.items()) < batch


def trial(name, stage, root, kills, rng) -> str:
    """Kill runs of a stage so many times, in as many folders as come to their end. What happened, in a line."""
    whole, counts = root / name / "whole", {"killed": 0, "while writing": 0, "whole": 0}
    whole.mkdir(parents=True)
    began = time.monotonic()
    os.waitpid(forked(stage, whole), 0)
    took, expected, folder = time.monotonic() - began, contents(whole), root / name / "killed"
    while counts["killed"] + counts["while writing"] < kills or folder.exists():
        folder.mkdir(exist_ok=True)
        before, left = to_keep(folder), kills - counts["killed"] - counts["while writing"]
        process = forked(stage, folder)
        how = kill_within(process, folder, rng.uniform(0, 0.8 * took) if left > 0 else 1e9, aimed=left % 2)
        counts[how] += 1
        assert kept(before, folder), f"{name}: a picture that was there was made again"
        if how == "whole":
            found = contents(folder)
            odd = [file for file in {*expected, *found} if expected.get(file) != found.get(file)]
            assert not odd, f"{name}: {', '.join(sorted(odd))} differ after {counts}"
            shutil.rmtree(folder)
    done = counts["killed"] + counts["while writing"]
    return (f"{name}: {done} kills, {counts['while writing']} of them while a file was being written, "
            f"{counts['whole']} runs to the end, {len(expected)} files equal byte by byte")


def main(kills: int, seed: int = 0) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        stages = Stage(Path(folder))
        for name in ("training", "generation", "cache"):
            print(trial(name, getattr(stages, name), Path(folder), kills, rng), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ["50"]))
