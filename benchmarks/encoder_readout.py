"""How much of a person's identity is in the image embeddings that an adapter gets? On the validation people of `full`.

A read-out learns, on training people, to turn one embedding into the identity judge's mean vector of that person: a
linear one, and one with a hidden layer. The mean of what it says of N prompts is scored like a sample, against held-out
pictures; beside it the judge's own vectors of the same prompts. What a read-out finds is there for an adapter to use;
it is no bound of what an adapter, which is not linear, can find, and a mean of vectors is smoother than a picture's.
Needs results/full/features (`make report PROFILE=full`, or its notebooks 01 and 03 alone). Writes
results/bench/encoder_readout.csv with 95 % intervals, bootstrapped over people.
"""
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from ipa_lib import files
from ipa_lib.data import identity_sets, picture_table
from ipa_lib.data.celeba import load_pictures
from ipa_lib.diffusion import features, training
from ipa_lib.evaluation import intervals, judges, metrics
from ipa_lib.workflow import code, paths

PROMPTS, HIDDEN, STEPS, BATCH, LR = (1, 2, 4, 8), 512, 1500, 256, 1e-3


def looked_at(table: pd.DataFrame, stored: features.Features, judge, groups: identity_sets.Groups) -> dict[int, tuple]:
    """person -> embeddings of the image encoder [P,E] and vectors of the judge [P,D] of all pictures of that person."""
    look = lambda rows: judge.identify(load_pictures(table["path"].iloc[rows], 64))  # noqa: E731
    return {person: (stored.embeds[torch.from_numpy(rows)].float(), torch.from_numpy(look(rows)))
            for person, rows in tqdm(groups.rows.items(), desc="people")}


def learn(read_out: nn.Module, people: dict[int, tuple], seed: int = 0) -> nn.Module:
    """Maximise the cosine between what `read_out` makes of an embedding and the mean vector of its person."""
    x = torch.cat([embeds for embeds, _ in people.values()])                                        # [M,E]
    y = torch.cat([vectors.mean(0).expand(len(vectors), -1) for _, vectors in people.values()])     # [M,D]

    def loss_at(step: int):
        rows = torch.randint(len(x), (BATCH,), generator=training.step_generator(seed, step))
        yield 1 - F.cosine_similarity(read_out(x[rows]), y[rows]).mean()

    for _ in training.fit(read_out.parameters(), loss_at, STEPS, LR):
        pass
    return read_out.eval()


@torch.no_grad()
def scored(read, people: dict[int, tuple], n_refs: int) -> list[dict]:
    """identity and top1 of the mean vector of the first `n_refs` pictures of each person; the last half is held out."""
    known = {person: vectors[max(PROMPTS):].numpy() for person, (_, vectors) in people.items()}
    said = {person: F.normalize(read(*(part[:n_refs] for part in both)), dim=-1).mean(0).numpy()
            for person, both in people.items()}
    names, vectors = np.array([*said]), np.array([*said.values()])
    found = {"identity": metrics.identity_similarity(vectors, [known[person] for person in said]),
             "top1": metrics.retrieval_top1(vectors, names, *metrics.gallery(known)).astype(float)}
    rows = [(name, *intervals.bootstrap(values, names)) for name, values in found.items()]
    return [dict(zip(("metric", "value", "low", "high"), row, strict=True), n_refs=n_refs, count=len(names))
            for row in rows]


def main() -> None:
    torch.manual_seed(0)
    results, judge = paths.results_dir("full"), judges.load_judges(paths.MODELS / "mini")
    if not (results / "features/manifest.json").is_file():
        print("encoder_readout: left out, results/full/features is missing: make report PROFILE=full")
        return
    table, source = picture_table.read_table(results / "pictures.csv"), features.source_of(results / "features")
    stored = features.load_features(table, source, results / "features", code=code.digest("03_cache_features"))
    train, val = (looked_at(table, stored, judge, identity_sets.split_people(table, 2 * max(PROMPTS), split))
                  for split in ("train", "val"))
    width, out = stored.embeds.shape[-1], judges.IDENTITY_WIDTH
    linear = learn(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out)), train)
    two_layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, out))
    hidden = learn(two_layers, train)
    read = {"linear": lambda x, _: linear(x), "hidden": lambda x, _: hidden(x), "judge": lambda _, vectors: vectors}
    found = [{"read_out": name, **row} for name, by in read.items() for n in PROMPTS for row in scored(by, val, n)]
    columns = ["read_out", "n_refs", "metric", "value", "low", "high", "count"]
    measured = pd.DataFrame(found)[columns].round(4)
    measured.to_csv(files.ROOT / "results/bench/encoder_readout.csv", index=False)
    print(measured.pivot(index=["read_out", "n_refs"], columns="metric", values="value").to_string())


if __name__ == "__main__":
    main()
