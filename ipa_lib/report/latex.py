"""Numbers and table rows of the paper: rounded once, here, and named by role, not by run.

`main` and `alt` are those of `variants.roles`; numbers of them, of the references and of the grid are of usual cells
(`variants.usual`), those of the questions come from the frames of `ablations`. Over several seeds a value and the ends
of its interval are means. The text is LaTeX in Russian: a decimal comma and [low; high] for an interval.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ..choices import PROJECTIONS
from ..files import atomic
from ..workflow.paths import PUBLISHED, results_dir
from ..workflow.provenance import read_log
from . import ablations
from .ablations import SCALES
from .variants import JUDGE_NAMES, MERGE_NAMES, REFERENCES, Variant, best_lam, find_variants, of_variant, roles, usual

DECIMALS = {"identity": 3, "copying": 3, "top1": 1, "text": 1, "faces": 1, "share": 1, "is": 2}  # else: _decimals
TABLE_METRICS = ("identity", "top1", "text", "kid", "fid", "is")
ORDER_NAMES = {"given": "случайный", "norm": "по норме"}
SLOT_NAMES = {"own": "свои", "shared": "общие"}
CITED = ("MobileFaceNet", "MobileNetV2")  # judges of others, for whose papers main.tex has a reference
DEVICE_NAMES = {"cpu": "процессор", "cuda": "видеокарта"}
VERDICTS = {1: "выше, чем", -1: "ниже, чем", 0: "не отличается значимо от значения"}
IN_ENGLISH = {"выше, чем": "higher than", "ниже, чем": "lower than", VERDICTS[0]: "not significantly different from"}
ABSTRACT = ("main/nmax/lam1/identity", "floor/identity", "verdict/gain", "contrast/n", "verdict/n",
            "start/nmax/identity", "real/contrast/gain")  # what the English abstract says
UNKNOWN = "--"  # of a fact that the runs have not left behind
DASH = "---"  # in a cell of a table that has no value
FACTS = {  # what the text says of data and settings besides the table; labels of tables/profile.tex
    "people_train": "людей в обучающей части",
    "people_val": "людей в проверочной части",
    "people_test": "людей в тестовой части",
    "pictures": "изображений всего",
    "picture_size": "сторона изображения, пикселей",
    "latent_size": "сторона скрытого представления",
    "latent_channels": "каналов скрытого представления",
    "vae_params": "параметров автокодировщика",
    "unet_params": "параметров U-Net",
    "text_params": "параметров кодировщика текста",
    "image_params": "параметров кодировщика изображений",
    "attention_layers": "слоёв перекрёстного внимания",
    "text_dim": "ширина признаков текста",
    "embed_dim": "ширина признаков изображения",
    "tokens": "токенов на подсказку",
    "adapter_params": "обучаемых параметров адаптера",
    "train_steps": "шагов обучения адаптера",
    "batch_size": "размер пакета",
    "learning_rate": "скорость обучения",
    "snr_gamma": "граница $\\gamma$ при выборе шага $t$",
    "weight_decay": "коэффициент регуляризации AdamW",
    "drop": "вероятность отбрасывания условия",
    "diffusion_steps": "шагов диффузии $T$",
    "sampling_steps": "шагов DDIM при генерации",
    "people_judges": "людей в обучении сетей-судей",
    "feature_dim": "ширина признаков для FID и KID",
    "is_classes": "классов для IS",
    "device": "вычислительное устройство",
}


# ---- what the paper asks for -------------------------------------------------------------------------------


def numbers(
    table: pd.DataFrame,
    scores: pd.DataFrame,
    facts: Mapping[str, object],
    answers: Mapping[str, pd.DataFrame],
) -> dict[str, str]:
    """Every \\result{key} of the paper. `facts` has a value for each name of `FACTS`; answers: `ablations.answers`.

    Those of a start from published weights: `start_numbers`, and of what it can do: `start_cells`; of photographs:
    `of_photographs`; of what is left of identity in the image embeddings: `readout_numbers`.
    Keys of usual cells: main|alt/n<N>|nmin|nmax/lam<λ>|lambest/<metric>, <metric>/<adapter>/n<N>/lam<λ>,
    ceiling/real|reconstruction/<metric>, floor/<metric>, floor/other/<metric>; paired differences:
    contrast/<name>. Each of these also with /low, /high, /interval. Words: verdict/<name>, main|alt/label.
    Settings: grid/<name>, judge/<metric> (and judge/<metric>/<name> of one in `CITED`, judge/<metric>/own of one
    trained with its base), count/<metric>, fact/<name>; grid/reduced, the profile, but for the preprint's own;
    grid/photographs, the same where judges are not those trained on drawn people.

    Keys of the questions, only where the grid answers them; …/difference comes with the words …/verdict, and
    runs/<name of the function of `ablations`> is the number of trainings behind a value:
    (a) range/n<N>/share (per cent), range/n<N>/gain-over-previous, range/n<N>/verdict, range/n<N>/over-first/…,
        occlusion/n<N>/<share of prompts>/identity|difference|excess/difference of main
    (b) best/n<N>/lam-identity|lam-kid|lam-fid|lam-text, and where it is not 1 what it has more than λ = 1:
        best/n<N>/identity|text/difference
    (c) merge/n, merge/occluded (where prompts were), merge/<merge>/like-mean (where the interval of its difference to
        the mean is printed as zero), merge/higher|lower|same (labels of those with more identity than the mean, less,
        neither),
        merge/<merge>/label|identity|top1|kid|text|difference, and the same but the label at
        merge/<merge>/occluded0|occluded50|occluded100/…, there also excess/difference
    (d) slots/n, slots/<merge>/own-shared/difference (prompts in the order given), slots/<merge>/norm-given/difference
        (own slots), slots/<merge>/sorted-shared/difference, slots/<merge>/<slots>-<order>/identity|cosine|order-change|
        reversed/difference
    (e) each/n<N>/random|fixed|difference, each/seconds-random|seconds-fixed (one training, all of them)
    (f) guidance/n, guidance/w<w>/lam<λ>/identity|kid|text, the best w at λ = 1: guidance/best-identity|-kid|-text, and
        where it is not the usual one what it has more: guidance/best-identity|best-text/identity|text/difference
    (g) shown/n<N>/identity|copying|excess, of the target left out shown/n<N>/left-out/…, and
        shown/n<N>/identity|copying|excess/difference; shown/n, the largest N at which both were judged
    n<N> is also nmin and nmax, the smallest and the largest N of the question. Those of `ABSTRACT` also in English,
    <key>/en, and so are their intervals.
    Raises ValueError: a missing fact, no adapter in the table, a grid without λ = 0 or λ = 1.
    """
    missing = [name for name in FACTS if name not in facts]
    if missing:
        raise ValueError(f"facts: {missing[0]!r} is missing; expected a value for each of {', '.join(FACTS)}")
    values = {
        **_runs(usual(table)),
        **_usual_numbers(table, scores),
        **_questions(answers, roles(table)["main"]),
        **{f"fact/{name}": _told(name, value) for name, value in facts.items()},
    }
    if facts["people_judges"] == UNKNOWN and "grid/reduced" in values:
        values["grid/photographs"] = values["grid/reduced"]
    return values | _english(values)


def of_photographs(profile: str) -> tuple[dict[str, str], list[str]]:
    """The keys of usual cells, of the questions (a), (c) and (d) and of facts under real/, with real/grid/profile and,
    of adapters without a published start, real/start/new; and
    the rows of tables/real.tex, of a profile of photographs: its own tables, where its run is finished, or the
    published ones; else nothing."""
    folders = [results_dir(profile), results_dir("published") / profile] if profile else []
    files = next((files for files in (_whole(folder) for folder in folders) if files), None)
    if files is None:
        return {}, []
    table, scores, facts = pd.read_csv(files[0]), pd.read_csv(files[1]), json.loads(files[2].read_text())
    known = {f"fact/{name}": _told(name, facts[name]) for name in (*FACTS, "machine", "train_seconds") if name in facts}
    known |= {"start/new": "new"} if facts.get("start") in PROJECTIONS else {}
    asked = {
        **_of_over_n(ablations.over_n(table, scores)),
        **_of_merges(ablations.merges(table, scores)),
        **_of_slots(ablations.slots(table, scores)),
    }
    named = {f"real/{key}": value for key, value in (_usual_numbers(table, scores) | asked | known).items()}
    return named | _english(named) | {"real/grid/profile": tex(profile)}, main_results(table)


def _whole(folder: Path) -> list[Path]:
    """Tables and facts of a finished run; empty where one is missing."""
    files = [folder / name for name in ("table.csv", "scores.csv", "facts.json")]
    return files if all(file.is_file() for file in files) else []


def start_numbers(start: str, pretraining: Mapping[str, Mapping]) -> dict[str, str]:
    """start/published, start/people, start/steps where adapters started from a published one, none where they were new.

    start: as the adapters' files tell it; pretraining: notebook -> parameters, of the profile that made the published.
    """
    if start in PROJECTIONS:
        return {}
    settings = {"people": pretraining["01_prepare_data"]["people"], "steps": pretraining["04_train_adapter"]["steps"]}
    return {"start/published": tex(Path(start.split()[0]).name)} | {f"start/{k}": _fact(v) for k, v in settings.items()}


def start_cells(file: str | Path, table: pd.DataFrame) -> dict[int, dict[str, tuple]]:
    """N -> metric -> (value, low, high) of the adapter that the trainings of the preprint's grid start from, with its
    gain by the training (`gain`), over the smallest N (`over_n`), and of both (`gain_over_n`): of the table of
    benchmarks/training_gain.py, in `file`. Nothing without it, or where `table` is of another grid."""
    if not Path(file).is_file() or set(table["profile"].dropna()) - {PUBLISHED}:
        return {}
    return {int(n): _values(rows) for n, rows in pd.read_csv(file).groupby("n_refs")}


def start_results(cells: Mapping[int, Mapping[str, tuple]]) -> dict[str, str]:
    """start/n<N>|nmin|nmax/<metric>, of gain, over_n and gain_over_n with the words …/verdict: of `start_cells`."""
    found = {}
    for n, cell in cells.items():
        names = [f"n{n}", *["nmin"] * (n == min(cells)), *["nmax"] * (n == max(cells))]
        for name, (metric, three) in product(names, cell.items()):
            of_identity = metric in ("gain", "over_n", "gain_over_n")
            found |= _keys(f"start/{name}/{metric}", "identity" if of_identity else metric, *three)
            found |= {f"start/{name}/{metric}/verdict": verdict(*three[1:])} if of_identity else {}
    return found | _english(found)


def readout_numbers(file: str | Path, table: pd.DataFrame) -> dict[str, str]:
    """readout/n<N>/linear|hidden|judge, as differences are given, readout/people; none without `file`, the table of
    benchmarks/encoder_readout.py: identity that can be read off the image embeddings of N prompts.

    readout/n<N>/above, only where the whole interval of the linear one lies above that of main at λ = 1.
    """
    if not Path(file).is_file():
        return {}
    rows = pd.read_csv(file).query("metric == 'identity'")
    keys = [_keys(f"readout/n{row.n_refs}/{row.read_out}", "identity", row.value, row.low, row.high)
            for row in rows.itertuples()]
    above = {f"readout/n{n}/above": "linear" for n in rows["n_refs"].unique() if _above_main(rows, n, usual(table))}
    return {key: value for found in keys for key, value in found.items()} | above | {
        "readout/people": _fact(rows["count"].max())}


def _above_main(rows: pd.DataFrame, n_refs: int, table: pd.DataFrame) -> bool:
    main = roles(table)["main"]
    linear = rows[(rows["read_out"] == "linear") & (rows["n_refs"] == n_refs)]["low"]
    return n_refs in main.n_refs and bool((linear > _cell(table, main, n_refs, 1)["identity"][2]).all())


def lost_numbers(folder: Path) -> dict[str, str]:
    """What is lost behind the embeddings, from tables of benchmarks in `folder`; nothing of one that is missing.

    Of benchmarks/fitted_tokens.py, the fewest tokens a person, fitted/start, fitted/end, fitted/top1, fitted/steps, and
    fitted/above only where the interval of the end lies above that of the start; of the most tokens fitted/most,
    fitted/most/end, fitted/most/top1, and fitted/same only where this interval holds the end of the fewest. At N = 4
    mlp/difference and mlp/verdict of start_quality.py.
    """
    fitted, starts = folder / "fitted_tokens.csv", folder / "start_quality.csv"
    return (_fitted(pd.read_csv(fitted)) if fitted.is_file() else {}) | (
        _of_mlp(pd.read_csv(starts)) if starts.is_file() else {})


def _fitted(table: pd.DataFrame) -> dict[str, str]:
    steps, few, most = table["step"].max(), table["tokens"].min(), table["tokens"].max()
    values = table.set_index(["tokens", "step", "metric"])[["value", "low", "high"]]
    start, end = values.loc[few, 0, "identity"], values.loc[few, steps, "identity"]
    known = {"fitted/steps": _fact(steps), "fitted/most": _fact(most)}
    known |= {"fitted/above": "fitted"} if end["low"] > start["high"] else {}
    known |= _keys("fitted/start", "identity", *start) | _keys("fitted/end", "identity", *end)
    known |= _keys("fitted/top1", "top1", *values.loc[few, steps, "top1"])
    other = values.loc[most, steps, "identity"]
    known |= {"fitted/same": "fitted"} if other["low"] <= end["value"] <= other["high"] else {}
    known |= _keys("fitted/most/end", "identity", *other)
    return known | _keys("fitted/most/top1", "top1", *values.loc[most, steps, "top1"])


def _of_mlp(table: pd.DataFrame) -> dict[str, str]:
    row = table.query("projection == 'mlp' and n_refs == 4 and metric == 'gain'").iloc[0]
    return _difference("mlp", {"gain": row["value"], "gain_low": row["low"], "gain_high": row["high"]}, "gain")


def _usual_numbers(table: pd.DataFrame, scores: pd.DataFrame) -> dict[str, str]:
    found, plain = roles(table), usual(table)
    return {
        **_roles(plain, found),
        **_references(plain, found["main"]),
        **_contrasts(plain, usual(scores), found),
        **_grid(plain, usual(scores), found),
    }


def _english(values: Mapping[str, str]) -> dict[str, str]:
    """<key>/en: a decimal point, a comma between the ends of an interval, English words for a verdict."""
    keys = [key for name in ABSTRACT for key in (name, f"{name}/interval") if key in values]
    pointed = {key: values[key].replace("{,}", ".").replace(";", ",") for key in keys}
    return {f"{key}/en": IN_ENGLISH.get(value, value) for key, value in pointed.items()}


def write_numbers(values: Mapping[str, str], path: str | Path) -> Path:
    """Write `\\setresult{key}{value}` lines for paper/results.sty, sorted by key."""
    bad = [key for key in values if not re.fullmatch(r"[\w./+=-]+", key, re.ASCII)]
    if bad:
        raise ValueError(f"numbers: {bad[0]!r} can't be a key; expected letters, digits and . / + = - _")
    return _write([rf"\setresult{{{key}}}{{{values[key]}}}" for key in sorted(values)], path)


def write_table(rows: list[str], path: str | Path) -> Path:
    """Write generated rows alone: rules, caption and label stay in main.tex."""
    return _write(rows, path)


def main_results(table: pd.DataFrame, start: Mapping[int, Mapping[str, tuple]] | None = None) -> list[str]:
    """Rows of tables/main_results.tex: ceilings, floors, `start_cells`, main over N and at the best λ, alt.

    Columns: what, λ, then `TABLE_METRICS`; a second line has the intervals.
    """
    found, table = roles(table), usual(table)
    main, best = found["main"], best_lam(table)
    n = main.n_refs[-1]
    rows = [_table_row(REFERENCES[name], None, _reference(table, name)) for name in ("real", "reconstruction")]
    rows += [_table_row("только текст", 0, _cell(table, main, n, 0))]
    rows += [_table_row(REFERENCES["other"], 1, _reference(table, "other"))]
    rows += [_table_row(f"начальный адаптер, $N={k}$", 1, cell) for k, cell in (start or {}).items()]
    rows += [r"\midrule"]
    rows += [_table_row(f"{tex(main.label)}, $N={k}$", 1, _cell(table, main, k, 1)) for k in main.n_refs]
    if best != 1:
        rows += [_table_row(f"{tex(main.label)}, $N={n}$", best, _cell(table, main, n, best))]
    if "alt" in found:
        rows += [_table_row(f"{tex(found['alt'].label)}, $N={n}$", 1, _cell(table, found["alt"], n, 1))]
    return [row for row in rows if row]


def profile_rows(facts: Mapping[str, object]) -> list[str]:
    """Rows of tables/profile.tex: name & value & name & value, read down the left half first."""
    entries = [f"{label} & {_told(name, facts[name])}" for name, label in FACTS.items()]
    half = math.ceil(len(entries) / 2)
    left, right = entries[:half], entries[half:] + ["&"] * (2 * half - len(entries))
    return [rf"{a} & {b} \\" for a, b in zip(left, right, strict=True)]


def gather(parts: Sequence[str | Path], path: str | Path) -> Path:
    """One CSV of several with the same columns, in their order: the tidy table, and the scores."""
    whole = pd.concat([pd.read_csv(part) for part in parts], ignore_index=True)
    with atomic(path) as temporary:
        whole.to_csv(temporary, index=False)
    return Path(path)


def gather_logs(files: Sequence[str | Path], path: str | Path) -> Path:
    """The losses of several trainings, from their log.jsonl: CSV with columns adapter, step, loss, val_loss.

    A loss is that of one step, of six significant digits; `val_loss` is empty but for the steps that validated.
    """
    logs = {Path(file).parent.name: pd.DataFrame(read_log(Path(file))) for file in files}
    whole = pd.concat(log.assign(adapter=name) for name, log in logs.items())
    whole = whole.reindex(columns=["adapter", "step", "loss", "val_loss"])
    with atomic(path) as temporary:
        whole.to_csv(temporary, index=False, float_format="%.6g")
    return Path(path)


# ---- rows of the questions: of a frame of `ablations`, none of an empty one ---------------------------------


def question_rows(answers: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Stem of a table of the paper -> its rows, none where the grid does not answer the question."""
    return {
        "over_n": over_n_rows(answers["over_n"]),
        "best_lam": best_lam_rows(answers["tradeoff"]),
        "merges": merge_rows(answers["merges"]),
        "slots": slot_rows(answers["slots"]),
        "each_n": each_n_rows(answers["each_n"]),
        "shown": shown_rows(answers["target_shown"]),
    }


def over_n_rows(over_n: pd.DataFrame) -> list[str]:
    """Columns: N, identity, share of the range in per cent, gain over the previous N and over the smallest."""
    return [_line(f"$N={row['n_refs']}$", _pair(row, "identity"), _pair(row, "share", "share"),
                  *(_pair(row, name) for name in ("gain", "over_first")))
            for row in _records(over_n)]  # fmt: skip


def best_lam_rows(tradeoff: pd.DataFrame) -> list[str]:
    """Columns: N, the best λ for identity and its gain over λ = 1, the best λ for KID and for FID, the best λ for the
    text and its gain over λ = 1 in percentage points."""
    rows = []
    for n, _ in tradeoff.groupby("n_refs"):
        best = {metric: _best_row(tradeoff, n, metric) for metric in ("identity", "kid", "fid", "text")}
        lam = {metric: (DASH if row is None else _fact(row["lam"]), "") for metric, row in best.items()}
        gain = {metric: _pair(best[metric] or {}, f"{metric}_difference", metric) for metric in ("identity", "text")}
        columns = (lam["identity"], gain["identity"], lam["kid"], lam["fid"], lam["text"], gain["text"])
        rows.append(_line(f"$N={n}$", *columns))
    return rows


def _best_row(tradeoff: pd.DataFrame, n: int, metric: str) -> dict | None:
    return next(iter(_records(tradeoff[(tradeoff["n_refs"] == n) & tradeoff[f"best_{metric}"]])), None)


def merge_rows(merges: pd.DataFrame) -> list[str]:
    """Columns: merge, then of own prompts identity, top1, text, KID, difference of identity to the mean, then
    identity and that difference with all prompts occluded."""
    own, occluded = ({row["merge"]: row for row in _records(merges[merges["prompts"] == kind])}
                     for kind in ("own", "occluded100"))  # fmt: skip
    metrics = ("identity", "top1", "text", "kid")
    return [_line(_merge_name(name), *(_pair(row, metric, metric) for metric in metrics), _pair(row, "difference"),
                  *(_pair(occluded.get(name, {}), quantity) for quantity in ("identity", "difference")))
            for name, row in own.items()]  # fmt: skip


def slot_rows(slots: pd.DataFrame) -> list[str]:
    """Columns: merge, slots, order, identity, its differences own − shared, norm − given and own − reversed order of
    the prompts, cosine of W'_p and W'_q, change of the picture with the order."""
    quantities = ("identity", "own_shared", "norm_given", "own_reversed")
    measures = ("cosine", "order_change")
    return [_line(_merge_name(row["merge"]), (SLOT_NAMES[row["slots"]], ""), (ORDER_NAMES[row["order"]], ""),
                  *(_pair(row, name) for name in quantities), *(_alone(row[name]) for name in measures))
            for row in _records(slots)]  # fmt: skip


def each_n_rows(each_n: pd.DataFrame) -> list[str]:
    """Columns: N, identity of the model for all N, of the model for this N, difference, seconds to train each."""
    return [_line(f"$N={row['n_refs']}$", *(_pair(row, name) for name in ("random", "fixed", "difference")),
                  *(_alone(row[name], 0) for name in ("random_seconds", "fixed_seconds")))
            for row in _records(each_n)]  # fmt: skip


def shown_rows(target_shown: pd.DataFrame) -> list[str]:
    """Columns: N, and the differences shown − left out of identity, of copying and of the excess of copying over
    identity."""
    differences = ("identity_difference", "copying_difference", "excess_difference")
    return [_line(f"$N={row['n_refs']}$", *(_pair(row, name) for name in differences))
            for row in _records(target_shown[target_shown["target"] == "shown"])]  # fmt: skip


def _merge_name(merge: str) -> str:
    return MERGE_NAMES.get(merge, tex(merge))


def _records(frame: pd.DataFrame) -> list[dict]:
    return frame.to_dict("records")


def _pair(row: Mapping, name: str, metric: str = "identity") -> tuple[str, str]:
    """A quantity of a frame and, small, its interval; a dash where the frame has none."""
    if not np.isfinite(row.get(name, np.nan)):
        return DASH, ""
    keys = _keys("x", metric, *_values_of(row, name))
    return keys["x"], _small(keys["x/interval"])


def _alone(value: float, digits: int = 3) -> tuple[str, str]:
    return (_rounded(value, digits) if np.isfinite(value) else DASH, "")


def _line(label: str, *pairs: tuple[str, str]) -> str:
    """A line of values and below it a small line of intervals."""
    first, second = zip((label, ""), *pairs, strict=True)
    return rf"{' & '.join(first)} \\[-2pt]" + "\n" + rf"{' & '.join(second)} \\[2pt]"


# ---- cells of the table: {metric: (value, low, high)} ------------------------------------------------------


def _cell(table: pd.DataFrame, role: Variant, n_refs: int, lam: float) -> dict[str, tuple]:
    """Mean over the seeds of one cell."""
    rows = table[table["adapter"].isin(role.names) & (table["n_refs"] == n_refs)]
    rows = rows[np.isclose(rows["lam"].astype(float), lam)]
    if rows.empty:
        raise ValueError(f"table: no rows of {role.names[0]} at n_refs = {n_refs}, lam = {lam:g}")
    return _values(rows)


def _reference(table: pd.DataFrame, name: str) -> dict[str, tuple]:
    rows = table[table["adapter"] == name]
    if name == "other" and len(rows):  # the most prompts, λ = 1
        rows = rows[rows["n_refs"] == rows["n_refs"].max()]
        rows = rows[np.isclose(rows["lam"].astype(float), 1)]
    return _values(rows)


def _values(rows: pd.DataFrame) -> dict[str, tuple]:
    means = rows.groupby("metric")[["value", "low", "high"]].mean()
    return {metric: tuple(values) for metric, values in zip(means.index, means.to_numpy(float), strict=True)}


def _runs(table: pd.DataFrame) -> dict[str, str]:
    """<metric>/<adapter>/n<N>/lam<λ> of every run in the table."""
    rows = table[~table["adapter"].isin(REFERENCES)]
    found = {}
    for (adapter, n, lam), cell in rows.groupby(["adapter", "n_refs", "lam"]):
        for metric, values in _values(cell).items():
            found |= _keys(f"{metric}/{adapter}/n{n:g}/lam{lam:g}", metric, *values)
    return found


def _roles(table: pd.DataFrame, found: Mapping[str, Variant]) -> dict[str, str]:
    best, values = best_lam(table), {}
    n_min, n_max = found["main"].n_refs[0], found["main"].n_refs[-1]
    for role_name, role in found.items():
        values[f"{role_name}/label"] = tex(role.label)
        rows = table[table["adapter"].isin(role.names)]
        for n, lam in {(int(n), float(lam)) for n, lam in zip(rows["n_refs"], rows["lam"], strict=True)}:
            n_names = [f"n{n}"] + ["nmin"] * (n == n_min) + ["nmax"] * (n == n_max)
            lam_names = [f"lam{lam:g}"] + ["lambest"] * (lam == best)
            for metric, cell in _cell(table, role, n, lam).items():
                for place in (f"{a}/{b}" for a in n_names for b in lam_names):
                    values |= _keys(f"{role_name}/{place}/{metric}", metric, *cell)
    return values


def _references(table: pd.DataFrame, main: Variant) -> dict[str, str]:
    cells = {
        "ceiling/real": _reference(table, "real"),
        "ceiling/reconstruction": _reference(table, "reconstruction"),
        "floor/other": _reference(table, "other"),
        "floor": _cell(table, main, main.n_refs[-1], 0),
    }
    found = {}
    for name, cell in cells.items():
        for metric, values in cell.items():
            found |= _keys(f"{name}/{metric}", metric, *values)
    return found


# ---- contrasts and verdicts --------------------------------------------------------------------------------


def _contrasts(table: pd.DataFrame, scores: pd.DataFrame, found: Mapping[str, Variant]) -> dict[str, str]:
    """Paired differences of the same samples, and what the text may say of them."""
    main, best = found["main"], best_lam(table)
    n_min, n_max = main.n_refs[0], main.n_refs[-1]
    at = lambda role, n, lam, metric="identity": _scores(scores, role, n, lam, metric)  # noqa: E731
    pairs = {
        "gain": (at(main, n_max, 1), at(main, n_max, 0)),
        "gain-nmin": (at(main, n_min, 1), at(main, n_min, 0)),
        "gain-best": (at(main, n_max, best), at(main, n_max, 0)),
        "n": (at(main, n_max, 1), at(main, n_min, 1)),
    }
    if best != 1:
        pairs["n-best"] = (at(main, n_max, best), at(main, n_min, best))
    if "text" in set(table["metric"]):
        pairs["text"] = (at(main, n_max, 1, "text"), at(main, n_max, 0, "text"))
    if "alt" in found:
        pairs["merge"] = (at(found["alt"], n_max, 1), at(main, n_max, 1))
    if (foreign := _foreign_scores(scores, main)) is not None:
        pairs["other"] = (at(main, n_max, 1), foreign)
    values = {}
    for name, (a, b) in pairs.items():
        estimate, low, high = _paired(a, b)
        metric = "text" if name == "text" else "identity"
        values |= _keys(f"contrast/{name}", metric, estimate, low, high)
        values[f"verdict/{name}"] = verdict(low, high, metric)
    return _unpaired_verdicts(table, main) | values


def _scores(scores: pd.DataFrame, role: Variant, n_refs: int, lam: float, metric: str) -> pd.Series:
    """Scores of one cell by (seed, person, sample). At λ = 0 the prompts play no part: any n_refs will do."""
    found = ablations.scored(scores, role.names, f"n{n_refs}", lam, metric)
    if found.empty:
        raise ValueError(f"scores: no rows of {role.names[0]} at n_refs = {n_refs}, lam = {lam:g}")
    return found


def _foreign_scores(scores: pd.DataFrame, main: Variant) -> pd.Series | None:
    """Identity of the same people when the first run of `main` is shown another person's pictures, λ = 1."""
    rows = scores[(scores["adapter"] == "other") & np.isclose(scores["lam"].astype(float), 1)]
    rows = rows[rows["n_refs"] == main.n_refs[-1]]
    seeds = scores.loc[scores["adapter"] == main.names[0], "seed"]
    if rows.empty:
        return None
    return rows.assign(seed=seeds.iloc[0]).set_index(["seed", "person", "sample"])["identity"].astype(float)


def _paired(a: pd.Series, b: pd.Series) -> tuple[float, float, float]:
    found = ablations.difference(a, b)
    if np.isnan(found[0]):
        raise ValueError("scores: two cells to compare have no (seed, person, sample) in common")
    return found


def _unpaired_verdicts(table: pd.DataFrame, main: Variant) -> dict[str, str]:
    """For scores of whole sets, and for others without scores to pair: do the two intervals lie apart?"""
    n = main.n_refs[-1]
    one, zero, other = _cell(table, main, n, 1), _cell(table, main, n, 0), _reference(table, "other")
    pairs = {metric: (one[metric], zero[metric]) for metric in ("fid", "kid", "is") if metric in one}
    if "identity" in other:
        pairs["other"] = (one["identity"], other["identity"])
    return {f"verdict/{k}": verdict(a[1] - b[2], a[2] - b[1], "") for k, (a, b) in pairs.items()}


def verdict(low: float, high: float, metric: str = "identity") -> str:
    """Words for a difference by its interval: «… при N = 4 {verdict} при N = 1» is a sentence with each."""
    return VERDICTS[_sign(low, high, metric)]


def _sign(low: float, high: float, metric: str = "identity") -> int:
    """Of a difference by its interval as it is printed: 1, −1, or 0 where zero lies in it or is one of its ends."""
    if metric in DECIMALS:
        low, high = (round(end * SCALES.get(metric, 1), DECIMALS[metric]) for end in (low, high))
    return int(low > 0) - int(high < 0)


# ---- questions ---------------------------------------------------------------------------------------------


def _questions(answers: Mapping[str, pd.DataFrame], main: Variant) -> dict[str, str]:
    """The keys of (a) to (g), see `numbers`; a number that the grid does not give has none."""
    return {
        **_of_over_n(answers["over_n"]),
        **_of_occlusion(of_variant(answers["occlusion"], main)),
        **_of_tradeoff(answers["tradeoff"]),
        **_of_merges(answers["merges"]),
        **_of_slots(answers["slots"]),
        **_of_each_n(answers["each_n"]),
        **_of_guidance(answers["guidance"]),
        **_of_target_shown(answers["target_shown"]),
        **{f"runs/{name}": _range(frame["runs"]) for name, frame in answers.items() if len(frame)},
    }


def _of_over_n(frame: pd.DataFrame) -> dict[str, str]:
    found = {}
    for n, row in _by_n(frame):
        found |= _quantity(f"range/{n}/share", row, "share", "share")
        found |= _quantity(f"range/{n}/gain-over-previous", row, "gain") | _verdict(f"range/{n}/verdict", row, "gain")
        found |= _difference(f"range/{n}/over-first", row, "over_first")
    return found


def _of_occlusion(frame: pd.DataFrame) -> dict[str, str]:
    counts = frame["n_refs"]
    found = {"occlusion/nmin": str(counts.min()), "occlusion/nmax": str(counts.max())} if len(frame) else {}
    for n, row in _by_n(frame):
        place = f"occlusion/{n}/{row['share']}"
        found |= _quantity(f"{place}/identity", row, "identity") | _difference(place, row)
        found |= _difference(f"{place}/excess", row, "excess")
    return found


def _of_tradeoff(frame: pd.DataFrame) -> dict[str, str]:
    found = {}
    for (n, row), name in product(_by_n(frame), ("identity", "kid", "fid", "text")):
        if row[f"best_{name}"]:
            found[f"best/{n}/lam-{name}"] = _fact(row["lam"])
            if name in ablations.SAMPLED:
                found |= _difference(f"best/{n}/{name}", row, f"{name}_difference", name)
    return found


def _of_merges(frame: pd.DataFrame) -> dict[str, str]:
    found = {"merge/n": str(frame["n_refs"].iloc[0])} if len(frame) else {}
    for name, against in (("higher", 1), ("lower", -1), ("same", 0)):
        judged = _records(frame[(frame["prompts"] == "own") & frame["difference"].notna()])
        labels = [_merge_name(row["merge"]) for row in judged if _sign(*_values_of(row, "difference")[1:]) == against]
        found |= {f"merge/{name}": ", ".join(labels)} if labels else {}
    for row in _records(frame):
        name = f"merge/{row['merge']}"
        place = name if row["prompts"] == "own" else f"{name}/{row['prompts']}"
        found[f"{name}/label"] = _merge_name(row["merge"])
        for metric in ("identity", "top1", "kid", "text"):
            found |= _quantity(f"{place}/{metric}", row, metric, metric)
        found |= _difference(place, row) | _difference(f"{place}/excess", row, "excess")
        found |= {"merge/occluded": row["prompts"]} if row["prompts"] != "own" else {}
        found |= {f"{name}/like-mean": "mean"} if row["prompts"] == "own" and _vanishes(row, "difference") else {}
    return found


def _vanishes(row: Mapping, name: str) -> bool:
    """Is the whole interval of a difference of identity zero, as it is printed?"""
    return all(round(end, DECIMALS["identity"]) == 0 for end in _values_of(row, name)[1:])


def _of_slots(frame: pd.DataFrame) -> dict[str, str]:
    found = {"slots/n": str(frame["n_refs"].iloc[0])} if len(frame) else {}
    for row in _records(frame):
        merge = f"slots/{row['merge']}"
        place = f"{merge}/{row['slots']}-{row['order']}"
        found |= _quantity(f"{place}/identity", row, "identity") | _difference(f"{place}/reversed", row, "own_reversed")
        if row["order"] == "given":
            found |= _difference(f"{merge}/own-shared", row, "own_shared")
        if row["slots"] == "own":
            found |= _difference(f"{merge}/norm-given", row, "norm_given")
        if row["order"] == "norm":
            found |= _difference(f"{merge}/sorted-shared", row, "own_shared")
        measures = {"cosine": row["cosine"], "order-change": row["order_change"]}
        found |= {f"{place}/{name}": _rounded(x, 3) for name, x in measures.items() if np.isfinite(x)}
    return found


def _of_each_n(frame: pd.DataFrame) -> dict[str, str]:
    found = {}
    for n, row in _by_n(frame):
        found |= _quantity(f"each/{n}/random", row, "random") | _quantity(f"each/{n}/fixed", row, "fixed")
        found |= _difference(f"each/{n}", row)
    seconds = {"random": frame["random_seconds"].max(), "fixed": frame["fixed_seconds"].sum(skipna=False, min_count=1)}
    return found | {f"each/seconds-{name}": _fact(round(x)) for name, x in seconds.items() if np.isfinite(x)}


def _of_guidance(frame: pd.DataFrame) -> dict[str, str]:
    at_one = frame[np.isclose(frame["lam"].astype(float), 1)].set_index("guidance")
    found = {"guidance/n": str(at_one["n_refs"].iloc[0])} if len(at_one) else {}
    for row, metric in product(_records(frame), ("identity", "kid", "text")):
        found |= _quantity(f"guidance/w{row['guidance']:g}/lam{row['lam']:g}/{metric}", row, metric, metric)
    for metric, sign in (("identity", 1), ("kid", -1), ("text", 1)):
        judged = (sign * at_one[metric]).dropna()
        if len(judged):
            best = judged.idxmax()
            found[f"guidance/best-{metric}"] = _fact(best)
            for name in ablations.SAMPLED:
                row = at_one.loc[best].to_dict()
                found |= _difference(f"guidance/best-{metric}/{name}", row, f"{name}_difference", name)
    return found


def _of_target_shown(frame: pd.DataFrame) -> dict[str, str]:
    both = frame[frame["identity_difference"].notna()]
    found = {"shown/n": str(both["n_refs"].max())} if len(both) else {}
    for (n, row), name in product(_by_n(frame, both["n_refs"]), ("identity", "copying", "excess")):
        place = f"shown/{n}" + "/left-out" * (row["target"] == "left_out")
        found |= _quantity(f"{place}/{name}", row, name) | _difference(f"{place}/{name}", row, f"{name}_difference")
    return found


def _by_n(frame: pd.DataFrame, counts: pd.Series | None = None) -> Iterator[tuple[str, dict]]:
    """Every row under the name of its N, and again as nmin or nmax where it is the smallest or largest of `counts`."""
    counts = frame["n_refs"] if counts is None else counts
    for row in _records(frame):
        yield f"n{row['n_refs']}", row
        yield from ((name, row) for name, n in (("nmin", counts.min()), ("nmax", counts.max())) if row["n_refs"] == n)


def _values_of(row: Mapping, name: str) -> tuple[float, float, float]:
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


def _quantity(key: str, row: Mapping, name: str, metric: str = "identity") -> dict[str, str]:
    """The keys of a quantity of a frame, none for one that it lacks."""
    return _keys(key, metric, *_values_of(row, name)) if np.isfinite(row[name]) else {}


def _difference(place: str, row: Mapping, name: str = "difference", metric: str = "identity") -> dict[str, str]:
    return _quantity(f"{place}/difference", row, name, metric) | _verdict(f"{place}/verdict", row, name, metric)


def _verdict(key: str, row: Mapping, name: str, metric: str = "identity") -> dict[str, str]:
    return {key: verdict(*_values_of(row, name)[1:], metric)} if np.isfinite(row[name]) else {}


# ---- grid and facts ----------------------------------------------------------------------------------------


def _grid(table: pd.DataFrame, scores: pd.DataFrame, found: Mapping[str, Variant]) -> dict[str, str]:
    main = found["main"]
    rows = table[~table["adapter"].isin(REFERENCES)]
    lams = sorted(rows.loc[rows["adapter"].isin(main.names), "lam"].dropna().astype(float).unique())
    others = {len(v.names) for v in find_variants(table) if v.differs(main)} or {len(main.names)}
    cell = scores[scores["adapter"].eq(main.names[0]) & scores["n_refs"].eq(main.n_refs[-1])]
    cell = cell[np.isclose(cell["lam"].astype(float), 1)]
    values = {
        "grid/n_refs": ", ".join(map(str, main.n_refs)),
        "grid/nmin": str(main.n_refs[0]),
        "grid/nmax": str(main.n_refs[-1]),
        "grid/lams": "; ".join(map(_fact, lams)),
        "grid/lammax": _fact(lams[-1]),
        "grid/lambest": _fact(best_lam(table)),
        "grid/guidance": ", ".join(_fact(w) for w in sorted(rows["guidance"].dropna().unique())),
        "grid/seeds": str(len(main.names)),
        "grid/seeds-others": _range(others),
        "grid/seeds-all": _range({len(main.names), *others}),
        "grid/adapters": str(rows["adapter"].nunique()),
        "grid/people": _fact(cell["person"].nunique()),
        "grid/samples": _fact(len(cell)),
        "grid/targets": _range(cell.groupby("person").size()),
    }
    if (profiles := set(rows["profile"]) - {PUBLISHED}):
        values["grid/reduced"] = ", ".join(tex(name) for name in sorted(profiles))
    return values | _judged_by(rows)


def _judged_by(rows: pd.DataFrame) -> dict[str, str]:
    """judge/<metric> with its additions and count/<metric>, of rows of adapters."""
    values = {}
    for metric, named in rows.groupby("metric"):
        judges = [judge_name(name) for name in named["judge"].dropna().unique()]
        values[f"judge/{metric}"] = ", ".join(judges)
        values |= {f"judge/{metric}/{name}": name for name in judges if name in CITED}
        values |= {f"judge/{metric}/own": "own"} if "attribute judge" in set(named["judge"]) else {}
        values[f"count/{metric}"] = _range(named["count"].dropna().astype(int))
    return values


def _range(counts: Collection[int]) -> str:
    """2, or 1--2 where they differ."""
    return "--".join(map(_fact, dict.fromkeys([min(counts), max(counts)])))


def judge_name(name: str) -> str:
    """What the paper calls a network behind a score: one that it does not know stands as its file names it."""
    return JUDGE_NAMES.get(name) or rf"\texttt{{{tex(str(name))}}}"


def _told(name: str, value) -> str:
    r"""A fact by its name: whole seconds, the machine and its device in Russian.

    Linux x86_64, 2 cores -> \texttt{Linux x86\_64}, ядер:~2.
    """
    if name == "train_seconds":
        return _fact(round(value))
    if name == "device":
        return tex(DEVICE_NAMES.get(value, value))
    if name == "machine":
        return re.sub(r"(.*), (\d+) cores$", r"\\texttt{\1}, ядер:~\2", tex(value))
    return _fact(value)


def _fact(value) -> str:
    """A setting as it was set, not rounded: 10177 -> 10 177, 0.05 -> 0,05, 1e-4 -> 10^-4."""
    if isinstance(value, str):
        return tex(value)
    if float(value) == int(value):
        grouped = f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
        return grouped.replace(",", r"\,")
    if abs(value) < 1e-3:
        return _power(f"{value:e}")
    return _comma(f"{value:g}")


def _power(scientific: str) -> str:
    digits, power = scientific.split("e")
    factor = "" if float(digits) == 1 else _comma(f"{float(digits):g}") + r"\cdot "
    return rf"\ensuremath{{{factor}10^{{{int(power)}}}}}"


# ---- LaTeX -------------------------------------------------------------------------------------------------


def _keys(key: str, metric: str, value: float, low: float, high: float) -> dict[str, str]:
    """A number, the ends of its interval, and the interval, all with the decimals that suit the largest of them."""
    scale = SCALES.get(metric, 1)
    digits = DECIMALS.get(metric, _decimals(max(map(abs, (value, low, high))) * scale))
    value, low, high = (_rounded(number * scale, digits) for number in (value, low, high))
    interval = f"[{low};~{high}]"
    return {key: value, f"{key}/low": low, f"{key}/high": high, f"{key}/interval": interval}


def _decimals(value: float) -> int:
    """As many decimals as show three significant digits, at most three."""
    if not math.isfinite(value) or value == 0:
        return 2
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 3)


def _rounded(value: float, digits: int) -> str:
    return _comma(f"{value:.{digits}f}") if math.isfinite(value) else "--"


def _comma(number: str) -> str:
    """Decimal comma without the space that mathematics puts after it; a real minus, none before a zero."""
    if number.startswith("-") and not number.strip("-0."):
        number = number[1:]
    return number.replace(".", "{,}").replace("-", r"\ensuremath{-}")


def tex(text: str) -> str:
    """Text of the table with LaTeX's special characters escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)


def _table_row(label: str, lam: float | None, cell: Mapping[str, tuple]) -> str:
    """A line of values and below it a small line of intervals; empty where the table has no such rows."""
    if not cell:
        return ""
    keys = [_keys("x", metric, *cell[metric]) if metric in cell else {} for metric in TABLE_METRICS]
    pairs = [(key.get("x", DASH), _small(key.get("x/interval", ""))) for key in keys]
    return _line(label, (DASH if lam is None else _fact(lam), ""), *pairs)


def _small(interval: str) -> str:
    return "" if not interval or "--" in interval else rf"\scriptsize {interval}"


def _write(lines: Sequence[str], path: str | Path) -> Path:
    with atomic(path) as temporary:
        Path(temporary).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Path(path)
