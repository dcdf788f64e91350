"""What the embeddings of N prompts tell of a person: a bound for every adapter that sees the same embeddings.

A read-out goes from a set of embeddings to the identity judge's embedding of that person. It is trained on training
people, with sets as adapters are trained with, and judged as samples are: by the cosine to held-out pictures of test
people, and by whom of all it is nearest to. What it does not find need not be absent; what it finds is there.

B sets, N prompts, E width of an embedding of the image encoder, D of one of the judge.
"""
from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.identity_sets import LeaveOneOutSets
from ..diffusion.features import Features
from ..diffusion.training import fit


class SetReadout(nn.Module):
    """Attention among the embeddings of a set, their mean, and a unit vector; any N, in any order."""

    def __init__(self, embed_dim: int, identity_dim: int, width: int = 256, depth: int = 2):
        super().__init__()
        self.inward = nn.Linear(embed_dim, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.attention = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.outward = nn.Linear(width, identity_dim)

    def forward(self, embeds: Tensor, mask: Tensor | None = None) -> Tensor:
        """embeds [B,N,E], mask [B,N] bool (False: a missing prompt) -> unit vectors [B,D]."""
        mask = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device) if mask is None else mask
        x = self.attention(self.inward(embeds), src_key_padding_mask=~mask)                         # [B,N,W]
        share = mask / mask.sum(1, keepdim=True)                                                    # [B,N]
        return F.normalize(self.outward(torch.einsum("bn,bnw->bw", share, x)), dim=-1)


def train_readout(readout: SetReadout, features: Features, identity: Tensor, sets: LeaveOneOutSets, lr: float = 1e-3,
                  seed: int = 0) -> Iterator[dict]:
    """Streams the records of `training.fit`: one minus the cosine to the judge's embedding of each set's target.

    identity: unit vectors [M,D] of the pictures that `features` and `sets` number.
    """
    def loss_at(step: int) -> Iterator[Tensor]:
        batch = sets[step]
        with torch.random.fork_rng(devices=[]):  # of the dropout
            torch.manual_seed(seed * 2**20 + step)
            said = readout(features.prompts(batch["refs"], batch["view"]), batch["mask"])
        yield 1 - (said * identity[batch["target"]]).sum(-1).mean()

    yield from fit(readout.train().parameters(), loss_at, len(sets), lr)
    readout.eval()
