"""What do the published adapters of the mini base show of a person, before other adapters start from them?

Every file of models/mini/ip_adapter is given N prompts of the validation people of `full` at λ = 1, as `mean` with
shared slots has it: what to start from is chosen on these people, not on those of the tables. `gain` is the paired
difference of identity to the first file, which `make base` makes; configs/pretrain-mlp.yaml says how another is made.
Needs results/full/features (`make report PROFILE=full`, or its notebooks 01 and 03 alone) and 10 minutes of a core.
Writes results/bench/start_quality.csv with 95 % intervals, bootstrapped over people.
"""
import numpy as np
import pandas as pd
from tqdm import tqdm

from ipa_lib.data import identity_sets, picture_table
from ipa_lib.diffusion import backbone, features, galleries
from ipa_lib.diffusion.sampling import draw_sets
from ipa_lib.evaluation import judges, scoring
from ipa_lib.evaluation.intervals import bootstrap
from ipa_lib.model import attention, exchange
from ipa_lib.workflow import code, paths

PROMPTS, SAMPLES, METRICS = (1, 4), 2, ("identity", "top1", "text", "kid", "gain")


def scored(adapter, models, stored, sets: pd.DataFrame, n_refs: int, judge, reference, **how,
           ) -> tuple[list, pd.DataFrame]:
    """Rows of the tidy table and the scores of one sample for each of `sets`; how: w, steps, seed of `draw_sets`."""
    stream = draw_sets(models, adapter, stored, sets, n_refs, [1.0], **how)
    pictures = np.concatenate([part for _, part in tqdm(stream, desc=f"N = {n_refs}")])
    return scoring.evaluate_cell(judge.look(pictures), reference)


def of_start(file, models, stored, sets: pd.DataFrame, judge, reference, first: dict) -> pd.DataFrame:
    """The rows of one file; `first` holds the identity of the samples of the first one, by N."""
    adapter, found = exchange.from_published(file, models.unet, slots="shared"), []
    for n in PROMPTS:
        rows, scores = scored(adapter, models, stored, sets, n, judge, reference)
        gain = scores["identity"] - first.setdefault(n, scores["identity"])
        ends = dict(zip(("value", "low", "high"), bootstrap(gain, scores["person"]), strict=True))
        found += [{**row, "n_refs": n} for row in [*rows, {"metric": "gain", "count": len(gain), **ends}]]
    return pd.DataFrame(found).assign(start=file.name, projection=adapter.config.projection)


def main() -> None:
    results, judge = paths.results_dir("full"), judges.load_judges(paths.MODELS / "mini")
    if not (results / "features/manifest.json").is_file():
        print("start_quality: left out, results/full/features is missing: make report PROFILE=full")
        return
    files = sorted((paths.MODELS / "mini/ip_adapter").glob("*.safetensors"), reverse=True)  # …_mini, then …-mlp_mini
    if len(files) == 1:
        print("start_quality: left out, there is one start alone: configs/pretrain-mlp.yaml makes another")
        return
    table, source = picture_table.read_table(results / "pictures.csv"), features.source_of(results / "features")
    stored = features.load_features(table, source, results / "features", code=code.digest("03_cache_features"))
    models = backbone.load_base(source)
    people = identity_sets.split_people(table, identity_sets.pictures_needed(8, SAMPLES), "val")
    sets = identity_sets.evaluation_sets(people, 8, SAMPLES, 0, len(people.rows))
    reference = scoring.make_reference(galleries.named_sets(sets, table["file"]), table, judge, models.picture_size)
    attention.attach(models.unet)
    first: dict = {}
    measured = pd.concat(of_start(file, models, stored, sets, judge, reference, first) for file in files)
    columns = ["start", "projection", "n_refs", "metric", "value", "low", "high", "count"]
    measured = measured.query("metric in @METRICS")[columns].round(4)
    measured.to_csv(files.ROOT / "results/bench/start_quality.csv", index=False)
    print(measured.pivot(index=["projection", "n_refs"], columns="metric", values="value").to_string())


if __name__ == "__main__":
    main()
