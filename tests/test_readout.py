"""The read-out of a set of embeddings: any order, any N, and it learns what is there."""

import numpy as np
import torch

from ipa_lib.data.identity_sets import Groups, LeaveOneOutSets
from ipa_lib.diffusion.features import Features
from ipa_lib.evaluation.readout import SetReadout, train_readout


def test_order_and_missing_prompts_do_not_matter():
    torch.manual_seed(0)
    net, embeds = SetReadout(6, 5, width=16).eval(), torch.randn(3, 4, 6)
    said = net(embeds)
    torch.testing.assert_close(said.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(net(embeds[:, [2, 0, 3, 1]]), said)
    mask = torch.tensor([[True, True, False, False]] * 3)
    torch.testing.assert_close(net(embeds, mask), net(embeds[:, :2]))


def test_it_finds_what_two_prompts_tell_and_one_does_not():
    """A person is two numbers, of which a picture shows one: two prompts can show both."""
    rng = torch.Generator().manual_seed(0)
    people, pictures = 200, 6
    who = torch.nn.functional.normalize(torch.randn(people, 4, generator=rng), dim=-1)
    identity = who.repeat_interleave(pictures, 0)                                                   # [M,4]
    half = torch.arange(people * pictures) % 2
    shown = torch.stack([half == 0, half == 0, half == 1, half == 1], 1)
    embeds = torch.cat([identity * shown, shown[:, ::2].float()], 1)                                # [M,6]
    stored = Features(torch.zeros(len(embeds), 1, 1, 1), embeds, torch.zeros(6), torch.zeros(1, 1, 1),
                      torch.zeros(len(embeds), dtype=torch.long))  # fmt: skip
    rows = np.arange(len(embeds)).reshape(people, pictures)
    groups = Groups(dict(enumerate(rows)), pictures, 0)
    torch.manual_seed(0)
    net = SetReadout(6, 4, width=32)
    records = list(train_readout(net, stored, identity, LeaveOneOutSets(groups, 2, 64, 300, 0, random_n=True)))
    assert records[-1]["loss"] < records[0]["loss"]
    with torch.no_grad():
        both, one = net(embeds[rows[:, :2]]), net(embeds[rows[:, :1]])
    alike = [(said * who).sum(-1).mean().item() for said in (both, one)]
    assert alike[0] > 0.95 > alike[1] + 0.1
