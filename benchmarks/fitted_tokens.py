"""How much of a person can the frozen U-Net of the mini base show at all? On the validation people of `full`.

In place of a projection each person has tokens of its own. They start as what the published adapter makes of the person
and are trained, with W'_k and W'_v, on the 8 prompts of that person, as textual inversion does
(https://arxiv.org/abs/2208.01618). No adapter is used so: it would be trained anew for every person. But what these
tokens show, judged on held-out pictures, so many tokens can make the frozen U-Net show, and perhaps more. 16 tokens
begin as the adapter's 4, four times and slightly apart.
Needs results/full/features (`make report PROFILE=full`, or its notebooks 01 and 03 alone), and half an hour of a core
for either number of tokens.
Writes results/bench/fitted_tokens.csv with 95 % intervals, bootstrapped over people.
"""
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from ipa_lib import files
from ipa_lib.data import identity_sets, picture_table
from ipa_lib.diffusion import backbone, features, galleries
from ipa_lib.diffusion.sampling import draw_sets
from ipa_lib.diffusion.training import train_adapter
from ipa_lib.evaluation import judges, scoring
from ipa_lib.model import attention, exchange
from ipa_lib.workflow import code, paths

TOKENS = (4, 16)
PROMPTS, SAMPLES, STEPS, BATCH, LR, GAMMA, EVERY, APART = 8, 2, 1000, 48, 2e-3, 0.02, 500, 0.1
START = paths.MODELS / "mini/ip_adapter/ip-adapter_mini.safetensors"


class FittedTokens(nn.Module):
    """Rows of a table in place of a projection: the first number of an "embedding" is the row, 0 that of no picture."""

    patches = False

    def __init__(self, projection: nn.Module, embeds: torch.Tensor, tokens: int):
        super().__init__()
        with torch.no_grad():
            made = projection.proj(embeds).unflatten(-1, (projection.tokens, -1))
            made = made.repeat(1, tokens // projection.tokens, 1)  # [1+P,T,D]
            if tokens > projection.tokens:  # else copies would stay equal
                apart = torch.randn(made.shape, generator=torch.Generator().manual_seed(0))
                made = made + APART * made.std() * apart
            self.tokens = nn.Parameter(made)
        self.norm = projection.norm

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows [..., E] -> [..., T, D]."""
        return self.norm(self.tokens[rows[..., 0].long()])


def fitted(adapter, stored: features.Features, prompts: dict[int, list[int]], tokens: int) -> features.Features:
    """Gives an adapter `FittedTokens` of some people; features whose embeddings of their `prompts` name the rows."""
    means = [stored.embeds[rows].float().mean(0) for rows in prompts.values()]
    adapter.projection = FittedTokens(adapter.projection, torch.stack([stored.nothing, *means]), tokens)
    rows = torch.zeros_like(stored.embeds)
    for number, own in enumerate(prompts.values(), start=1):
        rows[own, 0] = number
    return replace(stored, embeds=rows, nothing=torch.zeros_like(stored.nothing))


def measured(tokens: int) -> pd.DataFrame:
    """Scores of so many tokens a person before, half-way through and after their training."""
    torch.manual_seed(0)
    results, judge = paths.results_dir("full"), judges.load_judges(paths.MODELS / "mini")
    table, source = picture_table.read_table(results / "pictures.csv"), features.source_of(results / "features")
    stored = features.load_features(table, source, results / "features", code=code.digest("03_cache_features"))
    models = backbone.load_base(source)
    people = identity_sets.split_people(table, identity_sets.pictures_needed(PROMPTS, SAMPLES), "val")
    sets = identity_sets.evaluation_sets(people, PROMPTS, SAMPLES, 0, len(people.rows))
    prompts = {row.person: list(row.prompts) for row in sets.itertuples()}
    reference = scoring.make_reference(galleries.named_sets(sets, table["file"]), table, judge, models.picture_size)
    adapter = exchange.from_published(START, models.unet, slots="shared")
    stored = fitted(adapter, stored, prompts, tokens)
    attention.attach(models.unet)

    def scored(step: int) -> list[dict]:
        pictures = np.concatenate([part for _, part in draw_sets(models, adapter, stored, sets, 1, [1.0])])
        rows = scoring.evaluate_cell(judge.look(pictures), reference)[0]
        return [{**row, "tokens": tokens, "step": step} for row in rows]

    own = identity_sets.Groups({person: np.array(rows) for person, rows in prompts.items()}, PROMPTS, 0)
    batches, few = (identity_sets.LeaveOneOutSets(own, 1, BATCH, steps, seed=0) for steps in (STEPS, 1))
    stream = train_adapter(adapter, models.unet, models.scheduler, stored, batches, few, LR, 0, STEPS, GAMMA)
    found = scored(0)
    for record in tqdm(stream, total=STEPS, mininterval=5):
        if (made := record["step"] + 1) % EVERY == 0:
            found += scored(made)
    kept = pd.DataFrame(found).query("metric in ('identity', 'top1', 'text', 'kid')")
    return kept[["tokens", "step", "metric", "value", "low", "high", "count"]].round(4)


def main() -> None:
    if not (paths.results_dir("full") / "features/manifest.json").is_file():
        print("fitted_tokens: left out, results/full/features is missing: make report PROFILE=full")
        return
    table = pd.concat(map(measured, TOKENS))
    table.to_csv(files.ROOT / "results/bench/fitted_tokens.csv", index=False)
    print(table.pivot(index=["tokens", "step"], columns="metric", values="value").to_string())


if __name__ == "__main__":
    main()
