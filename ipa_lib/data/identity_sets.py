"""Sets of pictures of one person, equation (4): of N + 1 pictures one is the target x_0, the others prompts.

Rows in, rows out: a picture is its row number in the table of `picture_table.read_table`. Every random choice is a
function of its arguments, so that neither the number of workers nor a resumed run changes a set.
Shapes: B batch, N prompts (`n_max` slots).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from ..choices import FOREIGN, MOST_PROMPTS, PROMPTS, TARGETS, VIEWS
from .picture_table import copies, with_hashes

P_WINDOW, P_FOREIGN = 0.5, 0.05  # chances of a prompt of mixed views
EPOCH, STEP, PERSON, ORDER = range(4)  # one stream of random numbers for each kind of choice


@dataclass(frozen=True, eq=False)
class Groups:
    """People with enough pictures, and how many people and pictures are not among them."""

    rows: dict[int, np.ndarray]  # person => row numbers of the pictures, ascending
    min_pictures: int
    left_out: int  # people with fewer pictures than that


def group_by_person(pictures: pd.DataFrame, min_pictures: int, split: str | None = None) -> Groups:
    """Rows of each person, of one split or of all. ValueError where nobody has `min_pictures` pictures."""
    _check_at_least("min_pictures", min_pictures, 1)
    table = pictures[["person", "split"]].reset_index(drop=True)
    table = table if split is None else table[table["split"] == split]
    rows = {int(person): own.to_numpy() for person, own in table.index.groupby(table["person"]).items()}
    return _keep_large(rows, Groups({}, min_pictures, left_out=0))


def check_splits(pictures: pd.DataFrame) -> None:
    """ValueError where pictures of one person lie in two splits."""
    pairs = pictures[["person", "split"]].drop_duplicates()
    shared = pairs[pairs["person"].duplicated(keep=False)]
    if len(shared):
        person = shared["person"].iloc[0]
        splits = " and ".join(sorted(shared["split"][shared["person"] == person]))
        raise ValueError(f"person {person} is in {splits}; one split a person was expected")


def check_pictures_differ(pictures: pd.DataFrame) -> None:
    """ValueError where two pictures of a person have the same bytes: a target could be among its prompts."""
    pictures = with_hashes(pictures)
    if (copied := copies(pictures)).any():
        file, person = pictures.loc[copied, ["file", "person"]].iloc[0]
        raise ValueError(f"{file}: a copy of another picture of person {person}; run notebooks/01_prepare_data.ipynb")


def split_people(pictures: pd.DataFrame, min_pictures: int, split: str) -> Groups:
    """Groups of one split with every guard: one split a person, no byte-identical copies, pictures enough.

    Raises ValueError as the three guards do.
    """
    check_splits(pictures)
    groups = group_by_person(pictures, min_pictures, split)
    check_pictures_differ(pictures)
    return groups


def pictures_needed(n_max: int, samples: int) -> int:
    """Pictures that a person of an evaluation needs: prompts, and a target and one to judge by for each sample."""
    return n_max + 2 * samples


class LeaveOneOutSets(Dataset):
    """Training sets of equation (4): item `step` is a dict of LongTensors of row numbers and a mask.

    target [B]; refs [B, n_max]; mask [B, n_max] bool, True where a prompt is present: the first n slots,
    n = n_max or, with `random_n`, uniform in 1…n_max for each sample. A masked slot repeats refs[:, 0].
    view [B, n_max] says how a prompt is seen, as `Features.prompts` counts: 0 whole, 1 … `windows` through a cached
    random window, the four after these through a quarter.
    An epoch visits every person once, in an order of its own. A pure function of (seed, step), for
    `DataLoader(sets, batch_size=None)`.

    `target`: "left_out" as in equation (4): n + 1 pictures are drawn, and one of them is target and no prompt.
    "shown" is what published training code does, where the prompt is the target's own picture: n are drawn, all are
    prompts, and one of them is the target as well (for n = 1, the prompt itself). The loss then falls by copying that
    prompt, pose and light included; equation (4) asks for what the pictures of a person share. How much copying
    the usual practice teaches is question (g) of the paper.

    `views`: "whole"; "mixed", the training for partial prompts: each prompt is whole with chance ½, else seen through
    one of its `windows`, and with chance 0.05 a picture of somebody else, never all of them; "roles": slot p sees
    quarter p, so that slots differ in what they are shown.

    ValueError where an argument is out of range or somebody has fewer than n_max + 1 pictures, also where n_max would
    do: both kinds learn from the same people.
    """

    # "shown": one raw_image of `MyDataset` becomes both `image` and `clip_image` in
    # https://github.com/tencent-ailab/IP-Adapter/blob/main/tutorial_train.py
    def __init__(self, groups: Groups, n_max: int, batch_size: int, steps: int, seed: int, random_n: bool = False,
                 target: str = "left_out", views: str = "whole", windows: int = 0):  # fmt: skip
        _check_word("target", target, TARGETS)
        _check_word("views", views, VIEWS)
        if views == "mixed" and windows < 1:
            raise ValueError("views = 'mixed' needs windows of the pictures; 03_cache_features has `windows: 0`")
        if views == "roles" and n_max > MOST_PROMPTS["roles"]:
            raise ValueError(f"views = 'roles' has places for {MOST_PROMPTS['roles']} prompts; n_max = {n_max}")
        _check_at_least("batch_size", batch_size, 1)
        _check_at_least("steps", steps, 0)
        _check_seed(seed)
        _check_enough(groups, n_max)
        self.people, self.rows = sorted(groups.rows), groups.rows
        self.n_max, self.batch_size, self.steps = n_max, batch_size, steps
        self.seed, self.random_n, self.target = seed, random_n, target
        self.views, self.windows = views, windows

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of {self.steps}")
        rng = _random(self.seed, STEP, step)
        draws = [self._draw(person, rng) for person in self.people_of(step)]
        target, refs, mask = (np.stack(column) for column in zip(*draws, strict=True))  # [B], [B, N], [B, N]
        refs, view = self._seen(refs, mask, rng)
        batch = {"target": target, "refs": refs, "mask": mask, "view": view}
        return {name: torch.from_numpy(column) for name, column in batch.items()}

    def people_of(self, step: int) -> list[int]:
        """The B people of a step, in the order of the samples."""
        count = len(self.people)
        visits = range(step * self.batch_size, (step + 1) * self.batch_size)  # counted from the first step
        epochs = range(visits[0] // count, visits[-1] // count + 1)
        orders = {epoch: _random(self.seed, EPOCH, epoch).permutation(self.people) for epoch in epochs}
        return [int(orders[visit // count][visit % count]) for visit in visits]

    def _seen(self, refs: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Prompts, some of them of other people, and their views, both [B, N]."""
        view = np.zeros_like(refs)
        if self.views == "roles":
            view += 1 + self.windows + np.arange(self.n_max)
        elif self.views == "mixed":
            view = rng.integers(1, self.windows, refs.shape, endpoint=True) * (rng.random(refs.shape) < P_WINDOW)
            foreign = (rng.random(refs.shape) < P_FOREIGN) & mask
            foreign &= (foreign != mask).any(1, keepdims=True)  # somebody's own picture is among them
            refs = np.where(foreign, np.roll(refs, 1, axis=0), refs)  # of the set before, another person's
        return refs, view

    def _draw(self, person: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = int(rng.integers(1, self.n_max, endpoint=True)) if self.random_n else self.n_max
        drawn = rng.choice(self.rows[person], n + (self.target == "left_out"), replace=False)
        chosen = rng.integers(len(drawn))  # the target is any of them with equal chance
        refs = np.delete(drawn, chosen) if self.target == "left_out" else drawn
        mask = np.arange(self.n_max) < n
        return drawn[chosen], np.where(mask, np.resize(refs, self.n_max), refs[0]), mask


def evaluation_sets(
    groups: Groups, n_max: int, samples: int, seed: int, people: int | None = None
) -> pd.DataFrame:
    """Prompts, targets and held-out pictures for evaluation: one row a sample, `samples` rows a person.

    Columns: person, sample (0…), target (row number), prompts (tuple of n_max rows, the same for all samples
    of a person; n < n_max prompts are the first n), held_out (tuple of all other rows, target among them).
    Targets of a person differ while there are held-out pictures enough. People come in an order of the seed,
    the first `people` of them; what a person gets depends on (seed, person) alone.
    ValueError as `LeaveOneOutSets`.
    """
    _check_at_least("samples", samples, 1)
    _check_seed(seed)
    _check_enough(groups, n_max)
    people = len(groups.rows) if people is None else people
    if not 1 <= people <= len(groups.rows):
        raise ValueError(f"people = {people}; 1 to {len(groups.rows)} was expected, so many are there")
    order = _random(seed, ORDER).permutation(sorted(groups.rows))[:people]
    sets = [_person_sets(groups, n_max, samples, seed, person) for person in order.tolist()]
    return pd.DataFrame(sum(sets, []))


def with_prompts(sets: pd.DataFrame, prompts: str, n_refs: int | None = None) -> pd.DataFrame:
    """Evaluation sets with the prompts that a word of `PROMPTS` names.

    "other": those of the next person, what a picture of somebody else gives. "reversed": the first `n_refs`, the ones
    that are used, in reversed order. "foreign1", "foreign2": so many of the first `n_refs` are the next person's, each
    in its place; which places, goes round with the person. "own", windows and the occluded ones: as they are; what is
    hidden is said by `windows.prompt_windows`, which pictures are drawn anew by `occluded_prompts`. Targets, held-out
    pictures and so captions and noise stay.
    ValueError for any word else, for another person's prompts with one person, for more foreign prompts than `n_refs`,
    and where it is needed unless `n_refs` is of 1 … n_max.
    """
    _check_word("prompts", prompts, PROMPTS)
    if prompts in FOREIGN:
        return _with_foreign(sets, int(prompts.removeprefix("foreign")), _check_n_refs(sets, n_refs))
    if prompts == "other":
        return _with_others(sets)
    if prompts == "reversed":
        n = _check_n_refs(sets, n_refs)
        return sets.assign(prompts=[rows[:n][::-1] + rows[n:] for rows in sets["prompts"]])
    return sets


def occluded_prompts(sets: pd.DataFrame, prompts: str, n_refs: int) -> np.ndarray | None:
    """Mask of the first `n_refs` prompts of each row of `sets` that are to have an occluder: bool [S, n_refs].

    "occluded0" none, "occluded100" all; "occluded50" every other one, beginning with an occluded one for every second
    person in the order of `sets`, so that half of the people have one in each slot, at N = 1 too. The same for all
    samples of a person. None for the other words of `PROMPTS`, whose pictures are taken as they are stored.
    ValueError for any word else and for `n_refs` not of 1 … n_max.
    """
    _check_word("prompts", prompts, PROMPTS)
    n = _check_n_refs(sets, n_refs)
    turn = np.add.outer(pd.factorize(sets["person"])[0], np.arange(n))  # [S, N] place of the person + slot
    choices = {"occluded0": turn < 0, "occluded50": turn % 2 == 0, "occluded100": turn >= 0}
    return choices.get(prompts)


def _with_foreign(sets: pd.DataFrame, count: int, n: int) -> pd.DataFrame:
    if count > n:
        raise ValueError(f"prompts = 'foreign{count}' needs {count} prompts or more; n_refs = {n}")
    others, turn = _with_others(sets)["prompts"], pd.factorize(sets["person"])[0]
    foreign = [{(first + i) % n for i in range(count)} for first in turn]  # slots
    mixed = [tuple(theirs[p] if p in slots else own for p, own in enumerate(row))
             for row, theirs, slots in zip(sets["prompts"], others, foreign, strict=True)]
    return sets.assign(prompts=mixed)


def _with_others(sets: pd.DataFrame) -> pd.DataFrame:
    people = list(sets["person"].unique())
    if len(people) < 2:
        raise ValueError("prompts = 'other' needs at least 2 people")
    of_person = dict(zip(sets["person"], sets["prompts"], strict=True))
    following = dict(zip(people, people[1:] + people[:1], strict=True))
    return sets.assign(prompts=[of_person[following[person]] for person in sets["person"]])


def _person_sets(groups: Groups, n_max: int, samples: int, seed: int, person: int) -> list[dict]:
    rows = _random(seed, PERSON, person).permutation(groups.rows[person]).tolist()
    prompts, held_out = tuple(rows[:n_max]), tuple(rows[n_max:])
    targets = [held_out[sample % len(held_out)] for sample in range(samples)]
    common = {"prompts": prompts, "held_out": held_out}
    return [{"person": person, "sample": i, "target": target} | common for i, target in enumerate(targets)]


def _keep_large(rows: dict[int, np.ndarray], groups: Groups) -> Groups:
    """`groups` with those of `rows` that are enough, the other people counted."""
    kept = {person: own for person, own in rows.items() if len(own) >= groups.min_pictures}
    if not kept:
        most = max(map(len, rows.values()), default=0)
        raise ValueError(f"nobody has {groups.min_pictures} pictures; the most that a person has is {most}")
    return replace(groups, rows=kept, left_out=groups.left_out + len(rows) - len(kept))


def _check_enough(groups: Groups, n_max: int) -> None:
    _check_at_least("n_max", n_max, 1)
    person, rows = min(groups.rows.items(), key=lambda item: len(item[1]))
    if len(rows) <= n_max:
        raise ValueError(f"n_max = {n_max} needs {n_max + 1} pictures; person {person} has {len(rows)}")


def _check_n_refs(sets: pd.DataFrame, n_refs: int | None) -> int:
    n_max = min(map(len, sets["prompts"]))
    if n_refs is None or not 1 <= n_refs <= n_max:
        raise ValueError(f"n_refs = {n_refs}; 1 to {n_max} was expected, so many prompts are set aside")
    return n_refs


def _check_word(name: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise ValueError(f"{name} = {word!r}; one of {', '.join(known)} was expected")


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} = {value}; at least {least} was expected")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed = {seed}; 0 to 2**32 - 1 was expected")


def _random(seed: int, *choice: int) -> np.random.Generator:
    return np.random.default_rng([seed, *map(int, choice)])
