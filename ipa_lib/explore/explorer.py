"""A session to look around in: one person, some prompts, a text and λ in; pictures, scores and maps out, at once.

    session = explorer.open_session("mini")
    who = session.subject(session.people[0])
    stream = session.draw(explorer.Wish(session.adapters[0], who, who.caption, explorer.grid((0, 1), lam=0.8)))

Models are loaded once; text states, K'/V' and finished pictures are kept, so that only what changed is computed. What
takes time is a stream: it yields the number of steps done and may be closed between two of them; its return value is
the result.  No widgets here; `widgets` is the page over it.

B pictures of a wish · M pictures of a person · N prompts · E, D widths of the image encoder and of the identity judge
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import diffusers
import numpy as np
import pandas as pd
import torch
import transformers
from torch import Tensor

from ..data import identity_sets, picture_table, windows
from ..data.captions import EMPTY, caption, captions, resolve
from ..data.celeba import load_picture, load_pictures
from ..diffusion import features, sampling
from ..diffusion.backbone import Backbone, decode_latents, embed_pictures, encode_captions, load_base, no_picture
from ..drawn import faces
from ..evaluation import metrics
from ..evaluation.judges import Judges, load_judges
from ..files import ROOT
from ..model import attention_maps
from ..model.adapter import MultiImageAdapter
from ..model.attention import ImageKV, attach
from ..workflow.config import DEFAULT, load_profile, profile_names
from ..workflow.paths import results_dir
from ..workflow.provenance import unspoilt
from .table_browser import command

EXPECTED = (ValueError, OSError, FloatingPointError, ModuleNotFoundError)  # a user's mistakes, each a sentence
EVERYWHERE = "all layers"
KEPT = 100  # things computed
Made = TypeVar("Made")
OWN = 1_000_000  # number of the first subject of own photographs


class Row(NamedTuple):
    """One picture: which pictures of the person are prompts (none: text alone), λ, and the number of its noise."""

    prompts: tuple[int, ...]
    lam: float
    sample: int


@dataclass(frozen=True, eq=False)
class Subject:
    """One person: M pictures that may be prompts, and what a drawn picture is held against.

    `marks` says what hides the face, empty for nothing. `truth` and `held_out` are never prompts; where there are none,
    as of own photographs, `seen`, the judge's embeddings of the M pictures, serves: of those that are no prompts.
    """

    number: int
    name: str
    pictures: np.ndarray  # uint8 [M,H,W,3]
    embeds: Tensor  # [M,E] or [M,patches,E]
    marks: tuple[str, ...]
    caption: str  # of the truth
    attributes: Mapping[str, bool]  # `captions.CAPTIONED`, of the truth
    seen: np.ndarray  # [M,D]
    truth: np.ndarray | None = None  # uint8 [H,W,3]
    held_out: np.ndarray | None = None  # [K,D]
    shown: str = "own"  # how much of the pictures is seen, see `Session.seen_through`

    def others(self, prompts: Sequence[int]) -> np.ndarray:
        """Embeddings [K,D] that a picture drawn from these prompts is judged against, of pictures with a face."""
        left = np.setdiff1d(np.arange(len(self.seen)), prompts)
        held = self.seen[left] if self.held_out is None else self.held_out
        return held[np.isfinite(held).all(1)]


@dataclass(frozen=True)
class Wish:
    """Request for one batch: a picture for each row, all of one person, text and adapter."""

    adapter: str
    subject: Subject
    caption: str
    rows: tuple[Row, ...]
    w: float = 3.0
    steps: int = 20
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Drawn:
    """The pictures of a wish, row by row, and the identity judge's similarity; NaN where it has nothing to compare."""

    pictures: np.ndarray  # uint8 [B,H,W,3]
    scores: np.ndarray  # [B]


def grid(prompts: Sequence[int], lam: float, samples: int = 4) -> tuple[Row, ...]:
    """Pictures that differ in their noise alone."""
    return tuple(Row(tuple(prompts), lam, sample) for sample in range(samples))


def over_lam(prompts: Sequence[int], lams: Sequence[float], sample: int = 0) -> tuple[Row, ...]:
    """Pictures of the same noise that differ in λ alone."""
    return tuple(Row(tuple(prompts), lam, sample) for lam in lams)


def over_n(prompts: Sequence[int], lam: float, sample: int = 0) -> tuple[Row, ...]:
    """Pictures of the same noise from none, the first, the first two … of the prompts."""
    return tuple(Row(tuple(prompts[:n]), lam, sample) for n in range(len(prompts) + 1))


@dataclass(frozen=True, eq=False)
class Session:
    """Frozen models, judges and people of a profile, and what was computed with them. See `open_session`."""

    results: Path
    models: Backbone
    judges: Judges
    table: pd.DataFrame
    sets: pd.DataFrame
    adapters: tuple[str, ...]
    memory: dict[Hashable, object] = field(default_factory=dict)

    @property
    def people(self) -> list[int]:
        """Numbers of the people to choose from."""
        return self.sets["person"].tolist()

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Value made for `key` before, else made now; of more than `KEPT` the oldest goes."""
        if key not in self.memory:
            self.memory[key] = make()
            if len(self.memory) > KEPT:
                self.memory.pop(next(iter(self.memory)))
        return self.memory[key]

    def subject(self, person: int) -> Subject:
        """A person of the set: those set aside as prompts and half of the others may be prompts, the rest judges."""
        return self.once(("subject", person), lambda: self._subject(person))

    def _subject(self, person: int) -> Subject:
        row = self.sets.set_index("person").loc[person]
        rest = [one for one in row["held_out"] if one != row["target"]]
        usable, judged = [*row["prompts"], *rest[: len(rest) // 2]], rest[len(rest) // 2 :]
        truth, own = self.table.iloc[row["target"]], self.table.iloc[usable]
        target, *shown = load_pictures([truth["path"], *own["path"]], self.models.picture_size)
        shown = np.stack(shown)
        held_out = self.judges.identify(load_pictures(self.table["path"].iloc[judged], self.models.picture_size))
        return Subject(person, str(truth.get("name", f"person {person}")), shown, self.embed(shown), marks(own),
                       captions(truth.to_frame().T)[0], resolve(truth), self.judges.identify(shown), target,
                       held_out)  # fmt: skip

    def own_subject(self, pictures: np.ndarray, count: int = 0) -> Subject:
        """Own photographs, uint8 [M,H,W,3] of `models.picture_size`, as the `count`-th person of this kind."""
        return Subject(OWN + count, "your photographs", pictures, self.embed(pictures), ("",) * len(pictures),
                       caption({}), resolve({}), self.judges.identify(pictures))  # fmt: skip

    def seen_through(self, subject: Subject, prompts: str) -> Subject:
        """The same person where each picture is seen as the condition `prompts` shows it to an adapter.

        prompts: "own", "window25" or "window14"; truth and held-out pictures stay whole.
        """
        if prompts == "own":
            return subject
        return self.once(("windows", subject, prompts), lambda: self._seen_through(subject, prompts))

    def _seen_through(self, subject: Subject, prompts: str) -> Subject:
        who = pd.DataFrame({"person": [subject.number]})
        count, size = subject.pictures.shape[:2]
        sides, *places = windows.prompt_windows(who, prompts, count, size)[0].T  # each [M]
        shown = windows.visible(subject.pictures, sides, np.stack(places, 1))
        return replace(subject, pictures=shown, embeds=self.embed(shown), shown=prompts)

    def thumbnail(self, person: int) -> np.ndarray:
        """The first picture of a person, uint8 [H,W,3]."""
        first = self.sets.set_index("person").loc[person, "prompts"][0]
        return load_picture(self.table["path"].iloc[first], self.models.picture_size)

    def embed(self, pictures: np.ndarray) -> Tensor:
        """Embeddings of uint8 pictures [M,H,W,3] for the adapters: [M,E], or [M,patches,E] for a resampler."""
        return embed_pictures(self.models, pictures, patches=self.patches)

    @property
    def patches(self) -> bool:
        """Tell whether the adapters take hidden states of patches."""
        return bool(self.adapter(self.adapters[0]).projection.patches)

    def adapter(self, name: str) -> MultiImageAdapter:
        """By the name of its folder; errors as `unspoilt` and `MultiImageAdapter.load`."""
        return self.once(("adapter", name), lambda: self._adapter(name))

    def _adapter(self, name: str) -> MultiImageAdapter:
        trained = MultiImageAdapter.load(unspoilt(adapter_file(self.results, name)))
        return trained.to(self.models.device).requires_grad_(False)

    def text(self, caption: str) -> Tensor:
        """Text states [L,D]."""
        return self.once(("text", caption), lambda: encode_captions(self.models, [caption])[0].to(self.models.device))

    # K' and V' of both branches of equation (5), once for all steps, samples and λ
    def keys_values(self, adapter: str, subject: Subject, prompts: tuple[tuple[int, ...], ...]) -> ImageKV | None:
        """Keys and values of choices of prompts; None where none has any. Errors as `MultiImageAdapter.forward`."""
        return self.once((adapter, subject, prompts), lambda: self._keys_values(adapter, subject, prompts))

    def _keys_values(self, adapter: str, subject: Subject, prompts: tuple[tuple[int, ...], ...]) -> ImageKV | None:
        if not (n := max(map(len, prompts))):
            return None
        rows = torch.tensor([[*chosen, *[0] * (n - len(chosen))] for chosen in prompts])  # [B,N]
        there = torch.arange(n) < torch.tensor([max(1, len(chosen)) for chosen in prompts])[:, None]
        nothing = no_picture(self.models, self.patches).to(self.models.device)
        embeds = subject.embeds[rows].to(self.models.device)
        return self.adapter(adapter).guided(embeds, there.to(self.models.device), nothing)

    def draw(self, wish: Wish) -> Generator[int, None, Drawn]:
        """Yields the number of steps done; the pictures and their scores are the return value.

        A wish that was fulfilled before is there at once. ValueError for more prompts than the adapter has slots,
        FloatingPointError where latents are not finite.
        """
        if (kept := self.memory.get(wish)) is not None:
            return kept
        for step, x_t in enumerate(self._denoise(wish), start=1):  # noqa: B007 the last one is x_0
            yield step
        return self.once(wish, lambda: self._judged(wish, self._decoded(x_t)))

    def listen(self, wish: Wish) -> Generator[int, None, dict[str, np.ndarray]]:
        """Attention of each place of the one picture of a wish to each prompt, means over the steps.

        Returns [N,h,w] by the name of the layer, under `EVERYWHERE` the mean over the layers. ValueError where nothing
        can be listened to: without prompts, and at λ = 0.
        """
        if not wish.rows[0].prompts or not wish.rows[0].lam:
            raise ValueError("attention: there is nothing to listen to without prompts or at λ = 0; tick some, raise λ")
        total: dict[str, Tensor] = {}
        with attention_maps.recorded(self.models.unet) as records:
            for step, _ in enumerate(self._denoise(wish), start=1):
                for name, of_step in by_layer(records).items():
                    total[name] = total.get(name, 0) + of_step / wish.steps
                records.clear()
                yield step
        return {name: shares.cpu().numpy() for name, shares in total.items()}

    def _denoise(self, wish: Wish) -> Iterator[Tensor]:
        """Latents [B,c,h,w] after each step."""
        prompts = [row.prompts for row in wish.rows]
        same = len(set(prompts)) == 1
        kv = self.keys_values(wish.adapter, wish.subject, tuple(prompts[:1] if same else prompts))
        if kv is not None and same:
            kv = kv.repeat_interleave(len(prompts))  # both branches, [2B,…]
        samples = [row.sample for row in wish.rows]
        noise = sampling.initial_noise([wish.subject.number] * len(samples), samples, self.models.latent_shape,
                                       wish.seed)  # fmt: skip
        text = self.text(wish.caption).expand(len(prompts), -1, -1)
        return sampling.denoise(self.models.unet, self.models.scheduler, noise, text, self.text(EMPTY), kv,
                                self._lam(wish), wish.w, wish.steps)  # fmt: skip

    def _lam(self, wish: Wish) -> float | Tensor:
        """One number where all rows agree, which at 0 spares the image attention; no prompts stand for λ = 0."""
        lams = [row.lam * bool(row.prompts) for row in wish.rows]
        return lams[0] if len(set(lams)) == 1 else torch.tensor(lams, device=self.models.device)

    def _decoded(self, x_0: Tensor) -> np.ndarray:
        if not x_0.isfinite().all():
            raise FloatingPointError("latents are not finite; lower w or λ, or take float32")
        return decode_latents(self.models.vae, x_0)

    def _judged(self, wish: Wish, pictures: np.ndarray) -> Drawn:
        embeds = self.judges.identify(pictures)
        scores = [likeness(one, wish.subject.others(row.prompts)) for one, row in zip(embeds, wish.rows, strict=True)]
        return Drawn(pictures, np.array(scores))

    def score_of_truth(self, subject: Subject) -> float:
        """Score of the held-out picture itself: about as much as can be reached. NaN as `likeness`."""
        if subject.truth is None:
            return float("nan")
        return likeness(self.judges.identify(subject.truth[None])[0], subject.others(()))


def open_session(profile: str = DEFAULT, max_refs: int = 4, people: int = 24, seed: int = 0,
                 judged_by: str = "", device: str = "cpu") -> Session:
    """The session of a profile whose adapters are trained: `people` of the test split, chosen as notebook 05 does.

    judged_by: as in notebook 06; empty: the profile's own.
    FileNotFoundError of one line that names the command where there is nothing yet; other errors as of the loaders.
    """
    results = results_dir(profile)
    adapters = tuple(sorted(file.parent.name for file in results.glob("adapters/*/adapter.safetensors")))
    if not adapters or not (results / "pictures.csv").is_file():
        raise FileNotFoundError(f"results/{profile} has no adapter and no people yet: run `{command(profile)}`")
    table = picture_table.read_table(results / "pictures.csv")
    groups = identity_sets.split_people(table, identity_sets.pictures_needed(max_refs, 1), "test")
    sets = identity_sets.evaluation_sets(groups, max_refs, 1, seed, min(people, len(groups.rows)))
    with quietly():
        models = load_base(features.source_of(results / "features"), device)
        judges = load_judges(ROOT / (judged_by or own_judges(profile)), device)
    attach(models.unet)
    return Session(results, models, judges, table, sets, adapters)


def own_judges(profile: str) -> str:
    """Judges of a profile, as its file names them; of results without one, those of drawn faces."""
    known = load_profile(profile if profile in profile_names() else DEFAULT)
    return str(known.settings("06_evaluate")["judged_by"])


@contextmanager
def quietly() -> Iterator[None]:
    """Models are loaded without bars and remarks, which would stand above the page."""
    bars = diffusers.utils.logging, transformers.utils.logging
    for library in bars:
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for library in bars:
            library.enable_progress_bar()


def adapter_file(results: Path, name: str) -> Path:
    """Path of an adapter's weights."""
    return results / "adapters" / name / "adapter.safetensors"


def marks(pictures: pd.DataFrame) -> tuple[str, ...]:
    """Names of what hides the face in each row: of drawn faces as drawn, else a hat where attributes tell of one."""
    root = Path(pictures["path"].iloc[0]).parent.parent
    if faces.is_drawn(root):
        return tuple(faces.occluders(root, pictures["file"]))
    worn = pictures.get("Wearing_Hat", pd.Series(False, pictures.index)).astype(str).eq("True")
    return tuple("hat" if hat else "" for hat in worn)


def likeness(embed: np.ndarray, held_out: np.ndarray) -> float:
    """Mean cosine of a picture [D] to held-out ones [K,D]; NaN where it shows no face or there are none."""
    if not len(held_out) or not np.isfinite(embed).all():
        return float("nan")
    return float(metrics.identity_similarity(embed[None], [held_out])[0])


def by_layer(records: Sequence[attention_maps.Record]) -> dict[str, Tensor]:
    """[N,h,w] of the conditional half of one picture for each layer, and for all of them."""
    shares = {EVERYWHERE: attention_maps.average(records)[-1]}
    return shares | {one.layer: attention_maps.average([one])[-1] for one in records}


def read_photographs(files: Mapping[str, bytes], size: int) -> tuple[np.ndarray, list[str]]:
    """Photographs by name and contents, each cut to its central square: uint8 [M,size,size,3], and a sentence for each
    file that is no picture."""
    pictures, wrong = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (file := Path(folder) / Path(name).name).write_bytes(content)
            try:
                pictures.append(load_picture(file, size))
            except ValueError as error:
                wrong.append(str(error).replace(f"{folder}/", ""))
    return np.array(pictures, np.uint8).reshape(-1, size, size, 3), wrong
