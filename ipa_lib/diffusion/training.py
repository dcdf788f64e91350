"""Training: the loss of the paper, equations (1) and (4), and one loop that every part of the report is trained with.

Shapes: B batch, N prompts, E image-embedding width, D text width, L caption tokens, c/h/w latent channels/height/width.
"""
import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256 as new_sha256
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.optim.lr_scheduler import LambdaLR

from ..files import atomic, sha256

WEIGHT_DECAY = 0.01  # of AdamW, as in the published training of the IP-Adapter
P_DROP = 0.05        # of text, of images, and of both
AT_ONCE = 2**14      # places of latents that training takes through the U-Net at once: 4 pictures of 512 px


def step_generator(seed: int, step: int) -> torch.Generator:
    """A CPU random stream that depends on (seed, step) alone: a resumed run draws what an unbroken one draws."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def warmup_cosine(steps: int, warmup: int) -> Callable[[int], float]:
    """Learning-rate factor: half a cosine from 1 to 0 over `steps`, ramped up over the first `warmup`."""
    def factor(step: int) -> float:
        ramp = min(1.0, (step + 1) / max(warmup, 1))
        return ramp * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item())
    return factor


@dataclass
class Checkpoint:
    """File in which a training keeps its state every so many steps, so that an interrupted one resumes from there.

    The file is torch's, of tensors alone, and after its end the sha256 of it: torch reads over a flipped bit.
    """
    path: Path
    recipe: dict  # of JSON's kinds; a state by another recipe is not taken up
    every: int = 200
    began: float = field(default_factory=time.monotonic, init=False)

    def load(self) -> dict:
        """The state of a training by this recipe; empty where there is none. ValueError where the file is damaged."""
        if not self.path.is_file():
            return {}
        try:
            _check_seal(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except (ValueError, pickle.UnpicklingError):  # a flipped bit, a part of a file; code in the place of tensors
            raise ValueError(f"{self.path}: damaged; remove it to train from the beginning") from None
        if state["recipe"] != self.recipe:
            return {}
        self.began = time.monotonic() - state["seconds"]
        return state

    def save(self, **state) -> None:
        """Keep the state; a crash leaves the one before."""
        with atomic(self.path) as file:
            torch.save({"recipe": self.recipe, "seconds": self.seconds, **state}, file)
            seal = bytes.fromhex(sha256(file))
            with open(file, "ab") as end:
                end.write(seal)

    @property
    def seconds(self) -> float:
        """Wall time of the training, what was kept of its earlier runs included."""
        return time.monotonic() - self.began

    def remove(self) -> None:
        """Forget the state, once what was trained is saved."""
        self.path.unlink(missing_ok=True)

    def kept_before(self, step: int) -> str:
        """Name of the state to go back to, as the end of a message."""
        last = step // self.every * self.every
        return f"; the last good state, of step {last}, is {self.path}" if last else "; no state was kept before it"


def _check_seal(path: Path) -> None:
    """ValueError unless the last 32 bytes of a file are the sha256 of all before."""
    content = np.memmap(path, np.uint8, "r")  # of an empty file a ValueError, too
    if new_sha256(content[:-32].data).digest() != content[-32:].tobytes():
        raise ValueError


def fit(parameters: Iterable[torch.nn.Parameter], loss_at: Callable[[int], Iterator[torch.Tensor]], steps: int,
        lr: float, weight_decay: float = WEIGHT_DECAY, accelerator: Accelerator | None = None,
        checkpoint: Checkpoint | None = None, also: Sequence[torch.Tensor] = (),
        after_step: Callable[[int], None] = lambda step: None,
        blame: Callable[[int], str] = lambda step: "") -> Iterator[dict]:
    """AdamW with warm-up and cosine decay, one dict a step: {step, loss, lr}.

    A generator: the caller draws progress, logs, validates and stops. `loss_at(step)` yields that step's loss in one or
    more summands; the gradient of one is taken before the next is asked for. The record has their sum, the mean over
    all processes. `after_step(step)` is called when a step is made. With `checkpoint` an interrupted training goes on
    where its state was kept, the tensors `also` included (buffers, averages), to the same end as an unbroken one;
    records of the earlier steps, and what the caller has added to them, come again.
    Raises FloatingPointError when the loss or its gradient is not finite, naming the step, what `blame(step)` says of
    it, and the state to go back to, which is not touched.
    """
    accelerator = accelerator or Accelerator()
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    schedule = LambdaLR(optimizer, warmup_cosine(steps, warmup=min(100, steps // 10 + 1)))
    optimizer = accelerator.prepare(optimizer)  # not the schedule, which accelerate would step once for every process
    records = _restore(checkpoint, [*parameters, *also], optimizer, schedule)
    yield from records
    for step in range(len(records), steps):
        if checkpoint and accelerator.is_main_process and step and step % checkpoint.every == 0:
            checkpoint.save(tensors=[t.detach() for t in (*parameters, *also)], optimizer=optimizer.state_dict(),
                            schedule=schedule.state_dict(), records=records)
        loss = _backward(accelerator, loss_at(step))
        norm = accelerator.clip_grad_norm_(parameters, 1.0).item()
        if not math.isfinite(loss + norm):
            what = f"gradient is {norm}" if math.isfinite(loss) else f"loss is {loss}"
            kept = checkpoint.kept_before(step) if checkpoint else ""
            raise FloatingPointError(f"{what} at step {step}{blame(step)}{kept}; lower lr or look at these pictures")
        optimizer.step()
        lr_now = schedule.get_last_lr()[0]
        schedule.step()
        optimizer.zero_grad()
        after_step(step)
        records.append({"step": step, "loss": loss, "lr": lr_now})
        yield records[-1]


def _backward(accelerator: Accelerator, losses: Iterable[torch.Tensor]) -> float:
    """Takes the gradient of the sum of some losses, one after another; that sum, the mean over the processes."""
    values = []
    for loss in losses:
        accelerator.backward(loss * accelerator.gradient_accumulation_steps)  # it divides by them
        values.append(loss.detach().float())
    return accelerator.reduce(torch.stack(values).sum(), "mean").item()


def _restore(checkpoint: Checkpoint | None, tensors: Sequence[torch.Tensor], optimizer, schedule) -> list[dict]:
    """Puts a kept state in place and returns its records; none and nothing where there is no state."""
    if not (state := checkpoint.load() if checkpoint else {}):
        return []
    for ours, kept in zip(tensors, state["tensors"], strict=True):
        ours.detach().copy_(kept)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return state["records"]


# Equation (1), x_t = α_t x_0 + σ_t ε
def add_noise(scheduler, x_0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Noised latents x_t [B,c,h,w] of `x_0` at integer times `t` [B], with the scheduler's α_t and σ_t."""
    return scheduler.add_noise(x_0, eps, t)


def draw_noise(scheduler, shape: Sequence[int], generator: torch.Generator,
               weights: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """ε of `shape` [B,c,h,w] and times t [B] of equation (1): all alike, or with chances as the `weights` [T]."""
    eps = torch.randn(tuple(shape), generator=generator)
    if weights is None:
        return eps, torch.randint(scheduler.config.num_train_timesteps, (len(eps),), generator=generator)
    return eps, torch.multinomial(weights, len(eps), replacement=True, generator=generator)


# Equation (1): E ‖ε − ε_θ(x_t, c, t)‖², and equation (4) where `condition` carries image keys and values; for a model
# that predicts v = α_t ε − σ_t x_0 the same of v, https://arxiv.org/abs/2202.00512
def denoising_loss(unet, scheduler, x_0: torch.Tensor, text: torch.Tensor, eps: torch.Tensor, t: torch.Tensor,
                   weights: torch.Tensor | None = None, **condition) -> torch.Tensor:
    """Mean squared error of ε_θ itself (not of the guided ε̂) for latents `x_0` [B,c,h,w] and text states [B,L,D].

    eps, t: `draw_noise`. With `weights` [T] the error at time t counts so much. `condition` goes to the U-Net's
    attention processors: `image_kv` and `lam` of `ipa_lib.model.attention`.
    """
    dtype, x_0, eps, t = x_0.dtype, x_0.float(), eps.to(x_0.device), t.to(x_0.device)
    x_t = add_noise(scheduler, x_0, eps, t).to(dtype)  # in half precision σ_t of the first t would be 0
    prediction = unet(x_t, t, text, cross_attention_kwargs=condition or None).sample.float()        # [B,c,h,w]
    wanted = scheduler.get_velocity(x_0, eps, t) if scheduler.config.prediction_type == "v_prediction" else eps
    if weights is None:
        return F.mse_loss(prediction, wanted)
    error = (prediction - wanted).square().mean((1, 2, 3))                                          # [B]
    return (weights.to(error)[t] * error).mean()


# Min-SNR weighting, Hang et al. 2023, https://arxiv.org/abs/2303.09556, for the prediction of ε
def min_snr_weights(scheduler, gamma: float) -> torch.Tensor:
    """min(SNR, γ) / SNR [T], SNR = α_t² / σ_t²: less for times with little noise, where no condition helps."""
    snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    return snr.clamp(max=gamma) / snr


# --- the adapter ----------------------------------------------------------------------------------------------------

def drop_conditions(text: torch.Tensor, embeds: torch.Tensor, empty: torch.Tensor, nothing: torch.Tensor,
                    generator: torch.Generator, p: float = P_DROP) -> tuple[torch.Tensor, torch.Tensor]:
    """Text [B,L,D] and embeddings [B,N,E] or [B,N,patches,E] with text, images, both dropped, each with chance `p`.

    One joint draw for all N images of a sample. A dropped text is the `empty` one [L,D], a dropped image is `nothing`
    [E] or [patches,E]: the unconditional branch that equation (5) samples with.
    """
    u = torch.rand(len(text), generator=generator).to(text.device)
    no_text, no_images = (u < p) | (u > 1 - p), (u > p) & (u < 2 * p) | (u > 1 - p)
    return (torch.where(no_text[:, None, None], empty, text),
            torch.where(no_images.view(-1, *[1] * (embeds.ndim - 1)), nothing, embeds))


# Equation (4)
def adapter_loss(adapter, unet, scheduler, features, batch: dict[str, torch.Tensor], generator: torch.Generator,
                 p_drop: float = P_DROP, share: slice = slice(None),
                 weights: torch.Tensor | None = None) -> torch.Tensor:
    """Loss of one batch of sets: target [B], refs, mask and, if not all are whole, view [B,N], of `LeaveOneOutSets`.

    With `share` that of some of its sets: what is drawn for a set does not depend on who draws it. `weights`: as in
    `draw_noise`.
    """
    target, refs, mask = (batch[name].to(features.latents.device) for name in ("target", "refs", "mask"))
    view = batch["view"].to(refs.device) if "view" in batch else None
    text, embeds = features.text(target), features.prompts(refs, view)
    text, embeds = drop_conditions(text, embeds, features.empty, features.nothing, generator, p_drop)
    x_0 = features.latents[target]
    eps, t = draw_noise(scheduler, x_0.shape, generator, weights)
    x_0, text, eps, t, embeds, mask = (x[share] for x in (x_0, text, eps, t, embeds, mask))
    return denoising_loss(unet, scheduler, x_0, text, eps, t, image_kv=adapter(embeds, mask), lam=1.0)


@torch.no_grad()
def bad_sets(adapter, unet, scheduler, features, batch: dict[str, torch.Tensor], seed: int, step: int,
             weights: torch.Tensor | None = None) -> str:
    """Sets of a batch that have no finite loss by themselves, as a part of a message; of several the first."""
    count = len(batch["target"])
    losses = [adapter_loss(adapter, unet, scheduler, features, batch, step_generator(seed, step), P_DROP,
                           slice(i, i + 1), weights) for i in range(count)]
    bad = [i for i, loss in enumerate(losses) if not loss.isfinite()]
    if not bad:
        return ""
    target, refs = batch["target"][bad[0]].item(), batch["refs"][bad[0]][batch["mask"][bad[0]]].tolist()
    return f", in {len(bad)} of its {count} sets, the first of target {target} and prompts {refs} of pictures.csv"


def shares(batch_size: int, places: int, least: int = 1, processes: int = 1, process: int = 0) -> list[slice]:
    """The equal parts of a batch that one of several processes has, of sets with so many `places` of latents each.

    As few as have at most `AT_ONCE` places, but `least`. ValueError where the batch can't be divided so.
    """
    own, rest = divmod(batch_size, processes)
    most = max(1, AT_ONCE // places)
    parts = next((n for n in range(least, own + 1) if own % n == 0 and own // n <= most), 0)
    if rest or not parts:
        raise ValueError(f"batch_size: {batch_size} sets, not to be divided among {processes} × {least}")
    size = own // parts
    return [slice(i * size, (i + 1) * size) for i in range(process * parts, (process + 1) * parts)]


@torch.no_grad()
def validation_loss(adapter, unet, scheduler, features, sets, weights: torch.Tensor | None = None) -> float:
    """Mean loss over the fixed `sets` of unseen people, with fixed noise and times and nothing dropped."""
    losses, places = [], features.latents[0, 0].numel()
    for i in range(len(sets)):
        batch = sets[i]
        for share in shares(len(batch["target"]), places):
            generator = step_generator(2**20, i)
            losses.append(adapter_loss(adapter, unet, scheduler, features, batch, generator, 0.0, share, weights))
    return torch.stack(losses).mean().item()


def train_adapter(adapter, unet, scheduler, features, sets, val_sets, lr: float = 1e-4, seed: int = 0,
                  validate_every: int = 50, snr_gamma: float = math.inf, accelerator: Accelerator | None = None,
                  checkpoint: Checkpoint | None = None) -> Iterator[dict]:
    """Streams {step, loss, lr, val_loss (now and then)}; only the adapter's parameters receive gradients.

    `sets` and `val_sets` are `LeaveOneOutSets` of training and of validation people; the U-Net must have the image
    attention attached. In both, times are drawn as often as `min_snr_weights` weigh them at γ = `snr_gamma`; above the
    largest SNR all times are alike, as published. A batch is divided among the processes, and each one's share into
    parts that go through the U-Net one after another and take less memory, at least as many as the accelerator has
    `gradient_accumulation_steps`; neither changes the loss, but for rounding.
    Raises ValueError if a parameter of the U-Net asks for gradients or is in float16, whose numbers are too coarse for
    them, or if a batch can't be divided.
    """
    if unet.dtype == torch.float16:
        raise ValueError("dtype: gradients vanish in float16; bfloat16 or float32 was expected")
    if any(p.requires_grad for p in unet.parameters()):
        raise ValueError("unet: frozen parameters were expected; call unet.requires_grad_(False) first")
    accelerator = accelerator or Accelerator()
    unet, features = unet.to(accelerator.device), features.to(accelerator.device)
    adapter = accelerator.prepare(adapter)
    weights = min_snr_weights(scheduler, snr_gamma)
    own = shares(sets.batch_size, features.latents[0, 0].numel(), accelerator.gradient_accumulation_steps,
                 accelerator.num_processes, accelerator.process_index)

    def loss_at(step: int) -> Iterator[torch.Tensor]:
        for share in own:
            generator = step_generator(seed, step)
            loss = adapter_loss(adapter, unet, scheduler, features, sets[step], generator, P_DROP, share, weights)
            yield loss / len(own)

    for record in fit(adapter.parameters(), loss_at, len(sets), lr, accelerator=accelerator, checkpoint=checkpoint,
                      blame=lambda step: bad_sets(adapter, unet, scheduler, features, sets[step], seed, step, weights)):
        due = record["step"] % validate_every == 0 or record["step"] == len(sets) - 1
        if due and "val_loss" not in record:
            record["val_loss"] = validation_loss(adapter, unet, scheduler, features, val_sets, weights)
        yield record
