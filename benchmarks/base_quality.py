"""Does the base follow its text, and what does its autoencoder keep? On the validation people of data/mini.

Text alone, w = 3, two samples a person: of the attributes that a caption mentions, how many does the judge see, and how
often all of them; for real pictures and for their reconstructions the same. Writes results/bench/base_quality.csv with
95 % intervals, bootstrapped over people.
"""
import numpy as np
import pandas as pd
from tqdm import tqdm

from ipa_lib import files
from ipa_lib.data import captions, celeba
from ipa_lib.diffusion import backbone, sampling
from ipa_lib.drawn.faces import write_mini_celeba
from ipa_lib.drawn.phrases import with_covers
from ipa_lib.evaluation import intervals, judges
from ipa_lib.workflow import code, paths

SAMPLES, BATCH, W, STEPS = 2, 100, 3.0, 20


def drawn_from_text(models, texts: list[str]) -> np.ndarray:
    """uint8 pictures [S,H,W,3] of S texts, each with a noise of its own."""
    states, empty = backbone.encode_captions(models, texts), backbone.encode_captions(models, [captions.EMPTY])[0]
    pictures = []
    for start in tqdm(range(0, len(texts), BATCH), desc="text alone"):
        text = states[start:start + BATCH]
        noise = sampling.initial_noise(range(start, start + len(text)), [0] * len(text), models.latent_shape, seed=0)
        *_, x_0 = sampling.denoise(models.unet, models.scheduler, noise, text, empty, w=W, steps=STEPS)
        pictures.append(backbone.decode_latents(models.vae, x_0))
    return np.concatenate(pictures)


def rows(kind: str, seen: np.ndarray, wanted: np.ndarray, people: np.ndarray) -> list[dict]:
    """Of each attribute, of all and of all at once: the share of wanted ones that are seen, with its interval."""
    shares = {name: (seen[wanted[:, i], i], people[wanted[:, i]]) for i, name in enumerate(captions.CAPTIONED)}
    shares["each"] = seen[wanted], np.broadcast_to(people[:, None], wanted.shape)[wanted]
    shares["all at once"] = (seen | ~wanted).all(1), people
    found = []
    for attribute, (hits, whose) in shares.items():
        value, low, high = intervals.bootstrap(hits.astype(float), whose)
        found.append({"pictures": kind, "attribute": attribute, "seen": value, "low": low, "high": high,
                      "count": len(hits)})
    return found


def main() -> None:
    root = write_mini_celeba(paths.data_dir("mini"), 1500, 12, seed=0, code=code.digest("drawn/faces.py"))
    table = with_covers(celeba.read_celeba(root), root)
    table = table[table["split"] == "val"].groupby("person").head(SAMPLES).reset_index(drop=True)
    models, judge = (load(paths.MODELS / "mini") for load in (backbone.load_base, judges.load_judges))
    wanted, people = judges.mentioned(table), table["person"].to_numpy()
    real = celeba.load_pictures(table["path"], models.picture_size)
    decoded = backbone.decode_latents(models.vae, backbone.encode_pictures(models.vae, real))
    shown = {"real": real, "reconstruction": decoded, "text alone": drawn_from_text(models, captions.captions(table))}
    found = [row for kind, pictures in shown.items()
             for row in rows(kind, judge.look(pictures).attribute_logits > 0, wanted, people)]  # fmt: skip
    measured = pd.DataFrame(found).round(4)
    measured.to_csv(files.ROOT / "results/bench/base_quality.csv", index=False)
    print(measured.pivot(index="attribute", columns="pictures", values="seen").to_string())


if __name__ == "__main__":
    main()
