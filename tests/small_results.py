"""What `make report` leaves behind, of a few drawn people and few steps, in a folder of a test's own.

    python tests/small_results.py results/dev    # a profile `dev` to try notebooks/explore.ipynb on: half a minute
"""

import sys
from pathlib import Path

from ipa_lib.data import identity_sets, picture_table
from ipa_lib.diffusion import backbone, features, galleries, sampling
from ipa_lib.drawn import faces
from ipa_lib.evaluation import judges, scoring
from ipa_lib.model import attention, exchange
from ipa_lib.workflow import paths

PEOPLE, PICTURES, MAX_REFS = 40, 12, 4  # four of them are test people
ADAPTERS = {"mean-own-n4r-s0": "mean", "concat-own-n4-s0": "concat"}
SOURCE = backbone.Source("models/mini")
LAMS = (0.0, 1.0)


def write(results: Path, steps: int = 4) -> Path:
    """People, two adapters that start from the published one, samples of N = 1 and 4, and the tidy table."""
    faces.write_mini_celeba(results / "data", PEOPLE, PICTURES, seed=2, workers=1)
    table = picture_table.read(results / "data")
    table = table[table["split"] == "test"].reset_index(drop=True)
    picture_table.write_table(table, results / "pictures.csv")
    models, judge = backbone.load_base(SOURCE), judges.load_judges(paths.MODELS / "mini")
    stored = features.cached_features(table, models, SOURCE, results / "features")
    attention.attach(models.unet)
    sets = identity_sets.evaluation_sets(identity_sets.split_people(table, MAX_REFS + 2, "test"), MAX_REFS, 1, seed=0)
    rows = [row for name, merge in ADAPTERS.items() for n in (1, 4)
            for row in write_cell(results, table, models, judge, stored, sets, name, merge, n, steps)]  # fmt: skip
    scoring.table(rows).to_csv(results / "table.csv", index=False)
    return results


def write_cell(results, table, models, judge, stored, sets, name, merge, n_refs, steps):
    """The rows of one gallery, which is made on the way."""
    adapter = exchange.start_adapter("models/mini/ip_adapter/ip-adapter_mini.safetensors", models.unet,
                                     models.image_encoder, MAX_REFS, merge=merge)  # fmt: skip
    adapter.save(results / "adapters" / name / "adapter.safetensors")
    gallery = results / "samples" / name / f"n{n_refs}"
    for drawn, pictures in sampling.draw_sets(models, adapter, stored, sets, n_refs, LAMS, steps=steps):
        galleries.write_pictures(gallery, drawn, pictures)
    settings = {"profile": "small", "adapter": name, "merge": merge, "slots": "own", "order": "given",
                "target": "left_out", "n_max": 4, "random_n": merge == "mean", "seed": 0, "cell": f"n{n_refs}",
                "prompts": "own", "n_refs": n_refs, "guidance": 3.0}  # fmt: skip
    galleries.write_index(gallery, sets, LAMS, table["file"], **settings)
    (gallery / "05_generate.ipynb").write_text("{}")
    index, settings = galleries.read_index(gallery)
    reference = scoring.make_reference(index, table, judge, models.picture_size)
    for lam, part in index.groupby("lam"):
        keys = scoring.cell_keys(settings) | {"lam": lam}
        judged = judge.look(galleries.read_pictures(gallery, part))
        yield from scoring.evaluate_cell(judged, reference, None, keys, 20)[0]


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve())
