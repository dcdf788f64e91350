"""From what the judges say about one cell of the grid to rows of the tidy table and scores of single samples.

Metrics depend on the judges: `is` needs one of classes, `clip_i` and `clip_t` CLIP, `faces` one that can miss a face.
`text`, how well a sample follows its caption, is the share of right attributes, or clip_t where no judge looks for
these. A sample without a face has no identity, top1 and copying; `count` says over how many others the mean is taken,
beside the share and count of `faces`.

A cell is one (adapter, n_refs, prompts, w, λ) with its S samples; the references (real pictures, reconstructions,
another person's prompts) are cells like any other, judged against the same `Reference`: all rows are comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..choices import OCCLUDED, WINDOWS
from ..data.captions import captions
from ..data.celeba import load_pictures
from ..diffusion.galleries import read_index, read_pictures
from ..files import atomic
from . import intervals, metrics
from .judges import Judged, Judges, mentioned

ADAPTER_KEYS = ("profile", "adapter", "merge", "slots", "order", "target", "views", "n_max", "random_n", "seed")
KEYS = (*ADAPTER_KEYS, "cell", "prompts", "n_refs", "lam", "guidance")
TABLE_COLUMNS = (*KEYS, "metric", "value", "low", "high", "count", "judge")
BY_IDENTITY = ("identity", "top1", "copying", "faces")
BY_CLIP = ("clip_i", "clip_t")
BATCH = 512  # pictures that are in memory at a time
SCORES = ("identity", "top1", "text", "copying", "faces", *BY_CLIP)
SCORE_KEYS = ("adapter", "seed", "cell", "n_refs", "lam")
SCORE_COLUMNS = (*SCORE_KEYS, "person", "sample", *SCORES)


@dataclass(frozen=True)
class Reference:
    """Real pictures that every cell is judged against: none is a prompt and none a sample's target.

    So the targets themselves, judged as a cell, are the ceiling, and no picture is compared with itself.
    """

    person: np.ndarray  # [S] of each sample
    sample: np.ndarray  # [S] number of the sample of its person
    wanted: np.ndarray | None  # bool [S, A] what the sample's caption mentions; None where no judge looks for it
    held_out: Mapping[int, np.ndarray]  # person -> identity embeddings [H, D] of the pictures that show a face
    real_features: np.ndarray  # [M, F]
    real_person: np.ndarray  # [M]
    identity_judge: str = "mini identity judge"
    attribute_judge: str = "mini attribute judge"
    clip_held_out: Mapping[int, np.ndarray] | None = None  # person -> CLIP embeddings [H, C]
    captions: np.ndarray | None = None  # [S, C] CLIP embeddings of the samples' captions
    clip_judge: str = ""
    text_judge: str = "mini attribute judge"  # attributes or CLIP


def make_reference(sets: pd.DataFrame, pictures: pd.DataFrame, judges: Judges, size: int) -> Reference:
    """The reference of samples: held-out pictures of their people, targets left out, seen by the same judges.

    sets: columns person, sample, target (file) and held_out (list of files), a row a sample; pictures: the table of
    `picture_table.read_table`; size in pixels. Raises ValueError for a person whose held-out pictures are all targets.
    """
    sets, by_file = sets.drop_duplicates(["person", "sample"]), pictures.set_index("file")
    targets = set(sets["target"])
    people = sets.drop_duplicates("person").set_index("person")["held_out"]
    files = {person: [file for file in held_out if file not in targets] for person, held_out in people.items()}
    if empty := [person for person, rest in files.items() if not rest]:
        raise ValueError(f"person {empty[0]}: every held-out picture is a target; fewer samples were expected")
    person = np.repeat(list(files), [len(rest) for rest in files.values()])
    seen = _looked_at(judges, by_file.loc[sum(files.values(), []), "path"].tolist(), size)
    held_out = {one: with_face(seen.identity[person == one]) for one in files}
    target = by_file.loc[sets["target"]]
    return Reference(
        sets["person"].to_numpy(), sets["sample"].to_numpy(),
        None if seen.attribute_logits is None else mentioned(target),
        held_out, seen.features, person, judges.identity_name, judges.attribute_name,
        None if seen.clip is None else {one: seen.clip[person == one] for one in files},
        judges.read(captions(target)), judges.clip_name, judges.text_name)


def _looked_at(judges: Judges, paths: Sequence[str], size: int) -> Judged:
    """Outputs of the judges for files, of which few are in memory at a time."""
    parts = [judges.look(load_pictures(paths[i:i + BATCH], size)) for i in range(0, len(paths), BATCH)]
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Judged)}
    whole: dict[str, Any] = {name: None if x[0] is None else np.concatenate(x) for name, x in columns.items()}
    return Judged(**whole)


def with_face(embeds: np.ndarray) -> np.ndarray:
    """The rows of identity embeddings [M,D] that are not NaN: those of pictures in which a face was found."""
    return embeds[np.isfinite(embeds).all(1)]


def prompt_embeds(sets: pd.DataFrame, pictures: pd.DataFrame, judges: Judges, size: int,
                  settings: Mapping) -> list | None:
    """Identity embeddings [n_refs,D] of the prompts that each sample was given; `sets` as in `make_reference`.

    settings: a gallery's `n_refs` and `prompts`. None where prompts were drawn anew or shown in part: they are no
    pictures of the set.
    """
    if settings["prompts"] in (*OCCLUDED, *WINDOWS):
        return None
    n_refs = settings["n_refs"]
    sets, paths = sets.drop_duplicates(["person", "sample"]), pictures.set_index("file")["path"]
    used = [file for prompts in sets["prompts"] for file in prompts[:n_refs]]
    row, files = pd.factorize(np.array(used))  # samples of a person share their prompts
    parts = [judges.identify(load_pictures(paths.loc[files[i:i + BATCH]], size)) for i in range(0, len(files), BATCH)]
    return list(np.concatenate(parts)[row].reshape(len(sets), n_refs, -1))


def cell_keys(settings: Mapping) -> dict:
    """Leading columns of the table from a gallery's settings; another person's prompts are the reference `other`."""
    if settings["prompts"] != "other":
        return {name: settings[name] for name in KEYS if name in settings}
    keys = ("profile", "cell", "prompts", "n_refs", "guidance")
    return {name: settings[name] for name in keys} | {"adapter": "other"}


def write(folder: Path, rows: Iterable[Mapping], scores: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Store `folder`/table.csv and scores.csv of some cells; returns the table."""
    parts = {"scores.csv": pd.concat(list(scores)), "table.csv": table(rows)}
    for name, part in parts.items():
        with atomic(folder / name) as file:
            part.to_csv(file, index=False)
    return parts["table.csv"]


def evaluate_cell(
    judged: Judged,
    reference: Reference,
    prompts: Sequence | None = None,
    keys: Mapping | None = None,
    resamples: int = 200,
) -> tuple[list[dict], pd.DataFrame]:
    """(rows of the tidy table, scores of the samples) of one cell; intervals are bootstraps over people.

    prompts: identity embeddings of the prompts in use, [S,n,D] or S matrices; None: no row `copying`.
    keys: the leading columns, such as {"adapter": "mean-own-n4r-s0", "n_refs": 4, "lam": 1.0}.
    resamples: for FID, KID and IS; means take ten times as many. FID and KID use as many real pictures as
    there are samples (`matched_rows`).
    Raises ValueError: an unknown key, arrays that do not fit together, a person with too few real pictures.
    """
    keys = dict(keys or {})
    unknown = sorted(set(keys) - set(KEYS))
    if unknown:
        raise ValueError(f"keys: {unknown[0]} is no column of the table; expected some of {', '.join(KEYS)}")
    scores = sample_scores(judged, reference, prompts)
    by_metric = {**_mean_rows(scores, 10 * resamples), **_set_rows(judged, reference, resamples)}
    rows = [_row(keys, reference, metric, interval, _count(scores, metric)) for metric, interval in by_metric.items()]
    return rows, scores.assign(**{k: keys.get(k, np.nan) for k in SCORE_KEYS})[list(SCORE_COLUMNS)]


def sample_scores(judged: Judged, reference: Reference, prompts: Sequence | None = None) -> pd.DataFrame:
    """One row a sample: person, sample and `SCORES`, NaN where no judge or no prompt gives one.

    Without a face there is no identity, top1 and copying, nor where no real picture of the person shows one.
    """
    person = np.asarray(reference.person)
    missing = set(person.tolist()) - set(reference.held_out)
    if missing:
        raise ValueError(f"held_out: person {min(missing)} has no held-out picture")
    scores = pd.DataFrame({"person": person, "sample": np.asarray(reference.sample)})
    scores = scores.join(_identity_scores(judged, reference, prompts)).assign(text=np.nan, faces=np.nan)
    if judged.attribute_logits is not None:
        scores["text"] = metrics.attribute_agreement(judged.attribute_logits, reference.wanted)
    if judged.faces is not None:
        scores["faces"] = np.asarray(judged.faces).astype(int)
    scores = scores.assign(**_clip_scores(judged, reference))
    return scores if judged.attribute_logits is not None else scores.assign(text=scores["clip_t"])


def _identity_scores(judged: Judged, reference: Reference, prompts: Sequence | None) -> pd.DataFrame:
    """identity, top1 and copying of the samples that can be judged, by their row."""
    people, embeds = np.asarray(reference.person), np.asarray(judged.identity)
    known = {person: rows for person, rows in reference.held_out.items() if len(rows)}
    seen = np.flatnonzero(np.isfinite(embeds).all(1) & np.isin(people, list(known)))
    if not len(seen):
        return pd.DataFrame(columns=["identity", "top1", "copying"], dtype=float)
    top1 = metrics.retrieval_top1(embeds[seen], people[seen], *metrics.gallery(known))
    similarity = metrics.identity_similarity(embeds[seen], [known[person] for person in people[seen].tolist()])
    scores = pd.DataFrame({"identity": similarity, "top1": top1.astype(int), "copying": np.nan}, index=seen)
    shown = {} if prompts is None else {row: with_face(np.asarray(prompts[row])) for row in seen.tolist()}
    copied = [row for row, rows in shown.items() if len(rows)]
    if copied:
        scores.loc[copied, "copying"] = metrics.nearest_prompt(embeds[copied], [shown[row] for row in copied])
    return scores


def _clip_scores(judged: Judged, reference: Reference) -> dict[str, np.ndarray | float]:
    if judged.clip is None or reference.clip_held_out is None:
        return dict.fromkeys(BY_CLIP, np.nan)
    held_out = [reference.clip_held_out[person] for person in reference.person.tolist()]  # S matrices [H, C]
    return {"clip_i": metrics.identity_similarity(judged.clip, held_out),
            "clip_t": metrics.caption_similarity(judged.clip, reference.captions)}


def over_counts(judged: Judged, reference: Reference, counts: Sequence[int], draws: int = 20, seed: int = 0,
                ) -> pd.DataFrame:
    """FID and KID of fewer samples than there are: columns metric, count, value, low, high.

    At each of `counts` below S: mean and 95 % of `draws` random subsets, each against as many real pictures of the same
    people. Last all S samples, without a spread.
    """
    rng, whole = np.random.default_rng(seed), len(reference.person)
    smaller = {count: draws for count in sorted(counts) if count < whole}
    parts = [_at_count(judged, reference, count, times, rng) for count, times in {**smaller, whole: 1}.items()]
    return pd.DataFrame(sum(parts, []))


def _at_count(judged: Judged, reference: Reference, count: int, draws: int, rng: np.random.Generator) -> list[dict]:
    subsets = [rng.permutation(len(reference.person))[:count] for _ in range(draws)]
    pairs = [_real_and_drawn(judged, reference, rows) for rows in subsets]
    values = {"fid": [metrics.fid(*pair) for pair in pairs], "kid": [metrics.kid(*pair)[0] for pair in pairs]}
    ends = {name: np.quantile(draws_, [0.025, 0.975]) for name, draws_ in values.items()}
    return [{"metric": name, "count": count, "value": np.mean(draws_), "low": ends[name][0], "high": ends[name][1]}
            for name, draws_ in values.items()]


def _real_and_drawn(judged: Judged, reference: Reference, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    real = matched_rows(reference.real_person, reference.person[rows])
    return np.asarray(reference.real_features)[real], np.asarray(judged.features)[rows]


def order_change(judges: Judges, in_order: Path, reversed_: Path, lam: float = 1.0) -> float:
    """Change of samples when their prompts are reversed: mean of 1 − cosine of the identity embeddings of two.

    Two galleries, alike but for the order of the prompts. Pairs of which one shows no face are left out. ValueError
    where the samples of the two are not the same people, targets and noise.
    """
    (a, keys), (b, reversed_keys) = (_identities(judges, folder, lam) for folder in (in_order, reversed_))
    if keys != reversed_keys:
        raise ValueError(f"{reversed_}: other samples than in {in_order.name}; run notebooks/05_generate.ipynb again")
    return float(1 - np.nanmean((a * b).sum(-1)))


def _identities(judges: Judges, folder: Path, lam: float) -> tuple[np.ndarray, list]:
    """Identity embeddings of unit length [S,D] of a gallery at one λ, and the (person, sample, target) of each."""
    index, _ = read_index(folder)
    index = index[np.isclose(index["lam"], lam)]
    embeds = judges.identify(read_pictures(folder, index))
    unit = embeds / np.linalg.norm(embeds, axis=-1, keepdims=True)
    return unit, index[["person", "sample", "target"]].to_numpy().tolist()


def matched_rows(real_person, sample_person, seed: int = 0) -> np.ndarray:
    """[S] rows of the real set: of each person as many pictures as it has samples, drawn without replacement.

    So both sets have equal counts and the same people, and every cell meets the same real pictures.
    Raises ValueError for a person with fewer real pictures than samples.
    """
    rng, real_person = np.random.default_rng(seed), np.asarray(real_person)
    people, counts = np.unique(np.asarray(sample_person), return_counts=True)
    rows = []
    for person, count in zip(people, counts, strict=True):
        mine = np.flatnonzero(real_person == person)
        if len(mine) < count:
            raise ValueError(
                f"real_person: person {person} has {len(mine)} real pictures for {count} samples"
            )
        rows.append(rng.choice(mine, count, replace=False))
    return np.concatenate(rows)


def table(rows: Iterable[Mapping]) -> pd.DataFrame:
    """The tidy table with its columns in order; keys that a row lacks are empty."""
    return pd.DataFrame(list(rows)).reindex(columns=list(TABLE_COLUMNS))


def _mean_rows(scores: pd.DataFrame, resamples: int) -> dict[str, intervals.Interval]:
    """Means over the samples that have the score, where these are of two people or more."""
    parts = {name: scores[scores[name].notna()] for name in SCORES}
    return {
        name: intervals.bootstrap(part[name], part["person"], resamples=resamples)
        for name, part in parts.items() if part["person"].nunique() > 1
    }


def _count(scores: pd.DataFrame, metric: str) -> int:
    return int(scores[metric].notna().sum()) if metric in SCORES else len(scores)


def _set_rows(judged: Judged, reference: Reference, resamples: int) -> dict[str, intervals.Interval]:
    rows = matched_rows(reference.real_person, reference.person)
    real, real_person = np.asarray(reference.real_features)[rows], np.asarray(reference.real_person)[rows]
    both = (real, judged.features, real_person, reference.person, resamples)
    by_metric = {"fid": metrics.fid_interval(*both), "kid": metrics.kid_interval(*both)}
    if judged.class_logits is None:
        return by_metric
    return by_metric | {"is": metrics.inception_score_interval(judged.class_logits, reference.person, resamples)}


def _row(keys: dict, reference: Reference, metric: str, interval: intervals.Interval, count: int) -> dict:
    judges = dict.fromkeys(BY_IDENTITY, reference.identity_judge) | dict.fromkeys(BY_CLIP, reference.clip_judge)
    judge = (judges | {"text": reference.text_judge}).get(metric, reference.attribute_judge)
    numbers = dict(zip(("value", "low", "high"), interval, strict=True))
    return {**keys, "metric": metric, **numbers, "count": count, "judge": judge}
