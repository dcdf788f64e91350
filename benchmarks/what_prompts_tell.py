"""What do N prompts tell of a person under each condition, and how much of it is in the embeddings? No U-Net.

    python benchmarks/what_prompts_tell.py [models/mini]        a base, of which the image encoder is looked at

A read-out of the embeddings (`evaluation.readout`), trained on training people with mixed views, says who is shown of
test people; identity is the cosine of the identity judge between that and their held-out pictures, top1 how
often the nearest of all of them is the right one. `each`: at N = 1, averaged over all prompts of a person. Writes
results/bench/what_prompts_tell.csv with 95 % intervals, bootstrapped over people.
"""
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ipa_lib import files
from ipa_lib.bars import tqdm
from ipa_lib.choices import PROMPTS
from ipa_lib.data import celeba, identity_sets
from ipa_lib.diffusion import backbone, features
from ipa_lib.drawn import occlusion
from ipa_lib.drawn.faces import write_mini_celeba
from ipa_lib.evaluation import intervals, judges, metrics, readout
from ipa_lib.workflow import code, paths

N_MAX, WINDOWS, STEPS, BATCH = 8, 2, 3000, 96
COUNTS = (1, 2, 4, 8)
CONDITIONS = [word for word in PROMPTS if word not in ("other", "reversed")]


def prompts_of(embeds: torch.Tensor, sets: pd.DataFrame, n: int) -> torch.Tensor:
    """Embeddings [S,n,E] of the first n prompts of each set."""
    return embeds[torch.tensor([row[:n] for row in sets["prompts"]])]


def rows(said: np.ndarray, sets: pd.DataFrame, held_out: dict, index: dict) -> list[dict]:
    """identity and top1 of unit vectors [S,D], with their intervals."""
    person = sets["person"].to_numpy()
    scores = {"identity": metrics.identity_similarity(said, [held_out[one] for one in person.tolist()]),
              "top1": metrics.retrieval_top1(said, person, *metrics.gallery(held_out)).astype(float)}
    parts = {name: intervals.bootstrap(each, person) for name, each in scores.items()}
    return [index | {"metric": name, "value": value, "low": low, "high": high, "count": len(said)}
            for name, (value, low, high) in parts.items()]


def main(base: str = "models/mini") -> None:
    root = write_mini_celeba(paths.data_dir("mini"), 1500, 12, seed=0, code=code.digest("drawn/faces.py"))
    table, source = celeba.read_celeba(root), backbone.Source(base)
    models, judge = backbone.load_base(source), judges.load_judges(paths.MODELS / "mini")
    with tempfile.TemporaryDirectory() as folder:
        stored = features.cached_features(table, models, source, Path(folder), windows=WINDOWS)
    looks = [judge.identify(celeba.load_pictures(table["path"].iloc[i:i + 512], models.picture_size))
             for i in tqdm(range(0, len(table), 512), desc="judge")]
    identity = torch.from_numpy(np.concatenate(looks))
    net = readout.SetReadout(stored.embeds.shape[-1], identity.shape[-1])
    train = identity_sets.split_people(table, N_MAX + 1, "train")
    sets = identity_sets.LeaveOneOutSets(train, N_MAX, BATCH, STEPS, 0, True, views="mixed", windows=WINDOWS)
    for _ in tqdm(readout.train_readout(net, stored, identity, sets), total=STEPS, desc="read-out"):
        pass
    measured = pd.DataFrame(list(conditions(net, models, stored, table, identity, root))).round(4)
    measured.insert(0, "base", base)
    measured.to_csv(files.ROOT / "results/bench/what_prompts_tell.csv", index=False)
    print(measured.pivot_table("value", ["metric", "prompts"], "n_refs", sort=False).to_string())


@torch.no_grad()
def conditions(net: readout.SetReadout, models: backbone.Backbone, stored: features.Features, table: pd.DataFrame,
               identity: torch.Tensor, root: Path):
    """Rows of every condition and N on test people: one set each, targets and held-out pictures as in the report."""
    people = identity_sets.split_people(table, N_MAX + 2, "test")
    own = identity_sets.evaluation_sets(people, N_MAX, 1, seed=0)
    held_out = {row.person: identity[list(row.held_out)].numpy() for row in own.itertuples()}
    for prompts in CONDITIONS:
        for n in COUNTS:
            try:
                sets = identity_sets.with_prompts(own, prompts, n)
                seen = features.through_windows(stored, models, table, sets, prompts, n)
            except ValueError:  # more foreign prompts than N, fewer places than prompts
                continue
            seen = occlusion.occluded(seen, models, root, table["file"], sets, prompts, n)
            embeds = prompts_of(seen.embeds, sets, n)
            yield from rows(net(embeds).numpy(), sets, held_out, {"prompts": prompts, "n_refs": n})
            if n == N_MAX:
                each = own.loc[own.index.repeat(n)].reset_index(drop=True)
                single = net(embeds.flatten(0, 1).unsqueeze(1)).numpy()
                yield from rows(single, each, held_out, {"prompts": f"{prompts}, each", "n_refs": 1})


if __name__ == "__main__":
    main(*sys.argv[1:])
