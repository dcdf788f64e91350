"""What do the steps on sets of N + 1 pictures add to the adapter that every training of `full` starts from?

The start is given the prompts of the test people of `full` as the main adapter is, with the same noise, at λ = 1 and at
its smallest and largest N. `gain` is the paired difference of identity, trained minus start, over all seeds of the main
adapter; `over_n` what the largest N adds to the smallest in the start, and `gain_over_n` how much more it adds after
training. Needs results/full/features (`make report PROFILE=full`, or its notebooks 01 and 03 alone) and 6 minutes of a
core. Writes results/bench/training_gain.csv with 95 % intervals, bootstrapped over people.
"""
import pandas as pd
from start_quality import scored  # beside this file

from ipa_lib import files
from ipa_lib.data import picture_table
from ipa_lib.data.identity_sets import evaluation_sets, pictures_needed, split_people
from ipa_lib.diffusion import backbone, features, galleries
from ipa_lib.evaluation import judges, scoring
from ipa_lib.model import attention, exchange
from ipa_lib.report import ablations
from ipa_lib.report.variants import roles, usual
from ipa_lib.workflow import code, paths
from ipa_lib.workflow.config import Profile, load_profile
from ipa_lib.workflow.grid import main_run

COLUMNS = ["n_refs", "metric", "value", "low", "high", "count"]


def of_start(profile: Profile, n_refs: tuple[int, int]) -> tuple[list[dict], dict[int, pd.Series]]:
    """Rows of the tidy table for each N, and identity over (person, sample)."""
    results, judge = paths.results_dir(profile.name), judges.load_judges(paths.MODELS / "mini")
    table, source = picture_table.read_table(results / "pictures.csv"), features.source_of(results / "features")
    stored = features.load_features(table, source, results / "features", code=code.digest("03_cache_features"))
    models = backbone.load_base(source)
    drawn, sets = profile.settings("05_generate"), sets_of(profile, table)
    reference = scoring.make_reference(galleries.named_sets(sets, table["file"]), table, judge, models.picture_size)
    start = files.ROOT / profile.settings("04_train_adapter")["start"]
    adapter = exchange.from_published(start, models.unet, slots="shared")  # all slots are the same yet
    attention.attach(models.unet)
    how = {"w": drawn["guidance"], "steps": drawn["steps"], "seed": drawn["seed"]}
    found = {n: scored(adapter, models, stored, sets, n, judge, reference, **how) for n in n_refs}
    rows = [{**row, "n_refs": n} for n, (cell, _) in found.items() for row in cell]
    return rows, {n: scores.set_index(["person", "sample"])["identity"] for n, (_, scores) in found.items()}


def sets_of(profile: Profile, table: pd.DataFrame) -> pd.DataFrame:
    """Prompts and targets of the test people, as 05_generate has them."""
    drawn = profile.settings("05_generate")
    people = split_people(table, pictures_needed(profile.max_refs, drawn["samples"]), "test")
    count = min(drawn["people"], len(people.rows))
    return evaluation_sets(people, profile.max_refs, drawn["samples"], drawn["seed"], count)


def of_trained(n_refs: tuple[int, int]) -> dict[int, pd.DataFrame]:
    """Identity of the main adapter at λ = 1 for each N, [(person, sample) × seed]: of a run here, else as published."""
    here = paths.results_dir("full")
    folder = here if (here / "scores.csv").is_file() else files.ROOT / "results/published" / paths.PUBLISHED
    main = roles(pd.read_csv(folder / "table.csv"))["main"]
    scores = usual(pd.read_csv(folder / "scores.csv"))
    scores = scores[scores["adapter"].isin(main.names) & (scores["lam"] == 1)]
    return {int(n): part.pivot(index=["person", "sample"], columns="seed", values="identity")
            for n, part in scores.groupby("n_refs") if n in n_refs}


def main() -> None:
    if not (paths.results_dir("full") / "features/manifest.json").is_file():
        print("training_gain: left out, results/full/features is missing: make report PROFILE=full")
        return
    profile = load_profile("full")
    few, most = n_refs = min(main_run(profile.adapters).n_refs), max(main_run(profile.adapters).n_refs)
    rows, start = of_start(profile, n_refs)
    gains = {n: trained.sub(start[n], axis=0).stack() for n, trained in of_trained(n_refs).items()}
    differences = [(few, "gain", gains[few]), (most, "gain", gains[most]), (most, "over_n", start[most] - start[few]),
                   (most, "gain_over_n", gains[most] - gains[few])]
    for n, metric, values in differences:
        interval = dict(zip(("value", "low", "high"), ablations.mean(values), strict=True))
        rows.append({"n_refs": n, "metric": metric, "count": len(values), **interval})
    measured = pd.DataFrame(rows)[COLUMNS].round(6)
    measured.to_csv(files.ROOT / "results/bench/training_gain.csv", index=False)
    print(measured.to_string(index=False))


if __name__ == "__main__":
    main()
