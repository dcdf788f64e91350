"""Numbers and table rows of the paper, for LaTeX: answer tables in, `\\result` keys and rows out, rounded once, here.

A row of the answer table `question` has the keys question/index…/measure, with /low, /high, /interval, and of a
difference /verdict: over_n/n8/over_first/interval, merges/concat/own/difference/verdict. nmin and nmax stand for the
smallest and largest N of a question, lambest for the best λ; question/n, /nmin, /nmax are these N, question/runs the
trainings behind it. A key that ends in /en is in English. Only keys that main.tex names are written.
"""

from __future__ import annotations

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
from .answers import QUESTIONS, Results, answers, measured, read_results
from .variants import BOUNDS, best_lam, find_variants, roles, usual
from .words import words

SCALES = {"text": 100, "top1": 100, "share": 100, "faces": 100}  # shown in per cent
DECIMALS = {"text": 1, "top1": 1, "share": 1, "faces": 1, "is": 2}
BY_SIZE = ("fid", "kid", "clip_i", "clip_t", "unpaired")  # as many decimals as show three digits; of all else three
SECONDS = ("random_seconds", "fixed_seconds")
SETTINGS = ("lam", "w")  # shown as they were set
TABLE_METRICS = ("identity", "top1", "text", "kid", "fid", "is")
CITED = ("MobileFaceNet", "MobileNetV2")  # judges of others, for whose papers main.tex has a reference
DEVICE_NAMES = {"cpu": "процессор", "cuda": "видеокарта"}
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


# ---- answer tables to keys -----------------------------------------------------------------------------------


def keys(tables: Mapping[str, pd.DataFrame], best: float = math.nan) -> dict[str, str]:
    """The keys of all answer tables in Russian; best: the λ that lambest stands for."""
    return {key: text for name, frame in tables.items() for key, text in _keys_of(name, frame, best)}


def _keys_of(name: str, frame: pd.DataFrame, best: float) -> Iterator[tuple[str, str]]:
    counts = frame["n_refs"] if "n_refs" in frame else pd.Series(dtype=int)
    for row in frame.to_dict("records"):
        parts = [_names(column, row[column], counts, best) for column in QUESTIONS[name].index]
        for index, (column, text) in product(product(*parts), texts(row).items()):
            yield "/".join([name, *index, row["measure"], *filter(None, [column])]), text
    if len(counts):
        yield from ((f"{name}/{end}", str(int(n))) for end, n in (("nmin", counts.min()), ("nmax", counts.max())))
        yield f"{name}/n", str(int(counts.max()))
    if frame["runs"].notna().any():
        yield f"{name}/runs", span(frame["runs"].dropna())


def _names(column: str, value: object, counts: pd.Series, best: float) -> list[str]:
    """Names of a value of an index column in a key."""
    if column == "n_refs":
        ends = {"nmin": counts.min(), "nmax": counts.max()}
        return [f"n{value}", *(end for end, n in ends.items() if n == value)]
    if column == "lam":
        return [f"lam{value:g}", *["lambest"] * (value == best)]
    return [f"w{value:g}" if column == "w" else str(value)]


def texts(row: Mapping) -> dict[str, str]:
    """Column -> text of one row of an answer table; the value itself has no name."""
    measure, three = row["measure"], [row[name] for name in ("value", "low", "high")]
    if measure in SETTINGS:
        return {"": plain(three[0])}
    unit, digits = _unit(measure), _digits(measure, three)
    value, low, high = (rounded(x * SCALES.get(unit, 1), digits) for x in three)
    if not np.isfinite(three[1]):
        return {"": value}
    forms = {"": value, "low": low, "high": high, "interval": f"[{low};~{high}]"}
    return forms | ({"verdict": words("ru")[verdict(row)]} if row["against"] else {})


def verdict(row: Mapping) -> str:
    """higher, lower or same: a difference by its interval as it is printed; one that ends at zero is none."""
    measure, ends = row["measure"], (row["low"], row["high"])
    if measure != "unpaired":
        scale = SCALES.get(_unit(measure), 1)
        ends = [round(end * scale, _digits(measure, ends)) for end in ends]
    return "higher" if ends[0] > 0 else "lower" if ends[1] < 0 else "same"


def _unit(measure: str) -> str:
    """The metric that a measure is of: text_difference is of text."""
    return measure.removesuffix("_difference")


def _digits(measure: str, values: Sequence[float]) -> int:
    unit = _unit(measure)
    if unit in BY_SIZE:
        return _decimals(max(map(abs, values)) * SCALES.get(unit, 1))
    return 0 if measure in SECONDS else DECIMALS.get(unit, 3)


def english(text: str) -> str:
    """The text of a key in English: a decimal point, a comma between the ends of an interval, an English verdict."""
    russian = {words("ru")[name]: words("en")[name] for name in ("higher", "lower", "same")}
    return russian.get(text, text.replace("{,}", ".").replace(";", ","))


# ---- what is no answer: settings, facts, and claims that rest on several rows ----------------------------------


def settings(results: Results) -> dict[str, str]:
    """grid/<name>, judge/<metric>, count/<metric>, fact/<name>, label/main, label/alt.

    grid/reduced: the profile, but for the preprint's own; grid/photographs, the same where judges are not those trained
    on drawn people. judge/<metric>/<name> of a network in `CITED`, judge/<metric>/own of one trained with its base.
    """
    known = {f"fact/{name}": fact(name, results.facts[name]) for name in (*FACTS, "machine", "train_seconds")
             if name in results.facts}  # fmt: skip
    values = known | _grid(results) | _judged_by(results.table)
    if results.facts.get("people_judges", UNKNOWN) == UNKNOWN and "grid/reduced" in values:
        values["grid/photographs"] = values["grid/reduced"]
    return values | {f"label/{role}": tex(v.label()) for role, v in roles(results.table).items()}


def _grid(results: Results) -> dict[str, str]:
    main, rows = results.main, usual(results.table)
    rows = rows[~rows["adapter"].isin(BOUNDS)]
    lams = sorted(rows.loc[rows["adapter"].isin(main.names), "lam"].dropna().astype(float).unique())
    others = {len(v.names) for v in find_variants(results.table) if v.differs(main)} or {len(main.names)}
    scores = usual(results.scores)
    cell = scores[scores["adapter"].eq(main.names[0]) & scores["n_refs"].eq(main.n_refs[-1])]
    cell = cell[np.isclose(cell["lam"].astype(float), 1)]
    values = {
        "n_refs": ", ".join(map(str, main.n_refs)),
        "nmin": str(main.n_refs[0]),
        "nmax": str(main.n_refs[-1]),
        "lams": "; ".join(map(plain, lams)),
        "lambest": plain(best_lam(results.table)),
        "guidance": ", ".join(plain(w) for w in sorted(rows["guidance"].dropna().unique())),
        "seeds": str(len(main.names)),
        "seeds-others": span(others),
        "seeds-all": span({len(main.names), *others}),
        "people": plain(cell["person"].nunique()),
        "samples": plain(len(cell)),
        "targets": span(cell.groupby("person").size()),
    }
    if profiles := set(rows["profile"]) - {PUBLISHED}:
        values["reduced"] = ", ".join(tex(name) for name in sorted(profiles))
    return {f"grid/{name}": text for name, text in values.items()}


def _judged_by(table: pd.DataFrame) -> dict[str, str]:
    values, rows = {}, usual(table)
    for metric, named in rows[~rows["adapter"].isin(BOUNDS)].groupby("metric"):
        judges = [judge_name(name) for name in named["judge"].dropna().unique()]
        values[f"judge/{metric}"] = ", ".join(judges)
        values |= {f"judge/{metric}/{name}": name for name in judges if name in CITED}
        values |= {f"judge/{metric}/own": "own"} if "attribute judge" in set(named["judge"]) else {}
        values[f"count/{metric}"] = span(named["count"].dropna().astype(int))
    return values


def claims(results: Results, tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Statements that the text makes only where several rows bear them out, and lists of names.

    merges/higher|lower|same: labels of the merges with more identity than the mean, less, neither; merges/occluded,
    where prompts were; merges/weighted/like_mean, where the interval of its difference to the mean is printed as zero;
    each_n/seconds_random (one training), each_n/seconds_fixed (all of them); read_outs/n<N>/above, where the interval
    of the linear one lies above that of main; fitted/above, where the end's lies above the start's; fitted/same, where
    that of the most tokens holds the value of the fewest; read_outs/people, fitted/steps, fitted/most.
    """
    return {**_merge_claims(tables["merges"]), **_seconds(tables["each_n"]), **_read_out_claims(tables),
            **_fitted_claims(tables["fitted"])}  # fmt: skip


def _merge_claims(frame: pd.DataFrame) -> dict[str, str]:
    rows = measured(frame, "difference", prompts="own").to_dict("records")
    labels = [(verdict(row), merge_name(row["merge"])) for row in rows]
    texts = {name: ", ".join(label for verdict_, label in labels if verdict_ == name)
             for name in ("higher", "lower", "same")}  # fmt: skip
    texts |= {f"{row['merge']}/like_mean": "mean" for row in rows if round(row["low"], 3) == 0 == round(row["high"], 3)}
    texts["occluded"] = "occluded" if (frame["prompts"] != "own").any() else ""
    return {f"merges/{name}": text for name, text in texts.items() if text}


def _seconds(frame: pd.DataFrame) -> dict[str, str]:
    one, each = (measured(frame, measure)["value"] for measure in SECONDS)
    complete = len(each) and len(each) == frame["n_refs"].nunique()
    seconds = {"random": one.max() if len(one) else None, "fixed": each.sum() if complete else None}
    return {f"each_n/seconds_{name}": plain(round(x)) for name, x in seconds.items() if x is not None}


def _read_out_claims(tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    frame = measured(tables["read_outs"], "identity", read_out="linear")
    main = measured(tables["cells"], "identity", role="main", lam=1).set_index("n_refs")["high"]
    above = [n for n, low in zip(frame["n_refs"], frame["low"], strict=True) if low > main.get(n, math.inf)]
    texts = {f"read_outs/n{n}/above": "linear" for n in above}
    return texts | ({"read_outs/people": plain(frame["count"].max())} if len(frame) else {})


def _fitted_claims(frame: pd.DataFrame) -> dict[str, str]:
    rows = measured(frame, "identity").set_index(["tokens", "state"])
    if rows.empty:
        return {}
    start, end, most = (rows.loc[place] for place in (("few", "start"), ("few", "end"), ("most", "end")))
    texts = {"steps": plain(end["step"]), "most": plain(most["token_count"])}
    texts |= {"above": "fitted"} if end["low"] > start["high"] else {}
    texts |= {"same": "fitted"} if most["low"] <= end["value"] <= most["high"] else {}
    return {f"fitted/{name}": text for name, text in texts.items()}


def start_settings(start: str, pretraining: Mapping[str, Mapping]) -> dict[str, str]:
    """starts/published, starts/people, starts/steps where adapters started from a published one, else starts/new.

    start: as the adapters' files tell it; pretraining: notebook -> parameters, of the profile that made the published.
    """
    if start in PROJECTIONS:
        return {"starts/new": "new"}
    made = {"people": pretraining["01_prepare_data"]["people"], "steps": pretraining["04_train_adapter"]["steps"]}
    return {"starts/published": tex(Path(start.split()[0]).name)} | {f"starts/{k}": plain(v) for k, v in made.items()}


# ---- the whole ---------------------------------------------------------------------------------------------------


def numbers(results: Results, tables: Mapping[str, pd.DataFrame], pretraining: Mapping[str, Mapping]) -> dict[str, str]:
    """Every key of a run: of its answer tables, its settings and its claims."""
    start = start_settings(results.facts.get("start", "linear"), pretraining)
    return settings(results) | keys(tables, best_lam(results.table)) | claims(results, tables) | start


def of_photographs(profile: str, pretraining: Mapping[str, Mapping]) -> dict[str, str]:
    """The same under real/, with real/grid/profile, of a profile of photographs: its own tables, where its run is
    finished, or the published ones; else nothing."""
    if (folder := _finished(profile)) is None:
        return {}
    results = read_results(folder)
    values = numbers(results, answers(results), pretraining)
    return {f"real/{key}": text for key, text in values.items()} | {"real/grid/profile": tex(profile)}


def real_results(profile: str, values: Mapping[str, str]) -> list[str]:
    """Rows of tables/real.tex, of what `of_photographs` gives; none without it."""
    folder = _finished(profile)
    return main_results({key.removeprefix("real/"): text for key, text in values.items()}, read_results(folder)
                        ) if folder and values else []  # fmt: skip


def _finished(profile: str) -> Path | None:
    """The folder with the tables of a finished run, the profile's own or the published one."""
    folders = [results_dir(profile), results_dir("published") / profile] if profile else []
    files = ("table.csv", "scores.csv", "facts.json")
    return next((folder for folder in folders if all((folder / name).is_file() for name in files)), None)


def named_in(text: str) -> set[str]:
    """The keys that the source of the paper names."""
    text = re.sub(r"(?<!\\)%.*", "", text)
    keys = set(re.findall(r"\\(?:result|ifresult)\{([^#}]+)\}", text))
    for key in re.findall(r"\\valued\{([^#}]+)\}", text):
        keys |= {key, f"{key}/interval"}
    for key in re.findall(r"\\englishvalued\{([^#}]+)\}", text):
        keys |= {f"{key}/en", f"{key}/interval/en"}
    return keys | {f"{name}/runs" for name in re.findall(r"\\byruns\{([^#}]+)\}", text)}


def write_numbers(values: Mapping[str, str], source: str | Path, path: str | Path) -> Path:
    """Write a `\\setresult{key}{value}` line for each key that `source`, main.tex, names and a run has, sorted."""
    asked = named_in(Path(source).read_text(encoding="utf-8"))
    values = values | {key: english(values[key[:-3]]) for key in asked if key.endswith("/en") and key[:-3] in values}
    return _write([rf"\setresult{{{key}}}{{{values[key]}}}" for key in sorted(asked & set(values))], path)


# ---- tables ------------------------------------------------------------------------------------------------------


def table_rows(values: Mapping[str, str], tables: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Stem of a table of the paper -> its rows, none where the grid does not answer the question.

    A row: what stands in front, and the keys of its columns within the question.
    """
    name, differences = words("ru"), ("identity_difference", "copying_difference", "excess_difference")
    merge_columns = (*(f"own/{m}" for m in ("identity", "top1", "text", "kid", "difference")),
                     "occluded100/identity", "occluded100/difference")  # fmt: skip
    best_columns = ("identity/lam", "identity/identity_difference", "kid/lam", "fid/lam", "text/lam",
                    "text/text_difference")  # fmt: skip
    slot_columns = ("identity", "own_shared", "norm_given", "own_reversed", "cosine", "order_change")
    each_columns = ("random", "fixed", "difference", *SECONDS)
    places = {stem: list(dict.fromkeys(frame["n_refs"])) if "n_refs" in frame else [] for stem, frame in tables.items()}
    slots = tables["slots"][["merge", "slots", "order"]].drop_duplicates().itertuples(index=False)
    of_n = lambda stem, columns, end="": [  # noqa: E731
        row(values, f"$N={n}$", [f"{stem}/n{n}{end}/{column}" for column in columns]) for n in places[stem]]
    return {
        "over_n": of_n("over_n", ("identity", "share", "gain", "over_first")),
        "best_lam": of_n("best_lams", best_columns),
        "merges": [row(values, merge_name(merge), [f"merges/{merge}/{column}" for column in merge_columns])
                   for merge in dict.fromkeys(tables["merges"]["merge"])],
        "slots": [row(values, " & ".join([merge_name(merge), name[own], name[order]]),
                      [f"slots/{merge}/{own}/{order}/{column}" for column in slot_columns])
                  for merge, own, order in slots],
        "each_n": of_n("each_n", each_columns),
        "shown": of_n("target_shown", differences, "/shown"),
    }  # fmt: skip


def main_results(values: Mapping[str, str], results: Results) -> list[str]:
    """Rows of tables/main_results.tex and real.tex: ceilings, floors, the start, main over N and at the best λ, alt.

    Columns: what, λ, then `TABLE_METRICS`; a second line has the intervals.
    """
    name, best, variants = words("ru"), best_lam(results.table), roles(results.table)
    main, n_max = variants["main"], variants["main"].n_refs[-1]
    lines = [(name[bound], lam, f"bounds/{bound}") for bound, lam in
             (("real", None), ("reconstruction", None), ("text_alone", 0), ("other", 1))]
    lines += [(f"{name['start_adapter']}, $N={n}$", 1, f"starts/n{n}") for n in main.n_refs]
    lines += [None, *((f"{tex(main.label())}, $N={n}$", 1, f"cells/main/n{n}/lam1") for n in main.n_refs)]
    if best != 1:
        lines += [(f"{tex(main.label())}, $N={n_max}$", best, f"cells/main/n{n_max}/lam{best:g}")]
    if "alt" in variants:
        lines += [(f"{tex(variants['alt'].label())}, $N={n_max}$", 1, f"cells/alt/n{n_max}/lam1")]
    return [row(values, f"{line[0]} & {DASH if line[1] is None else plain(line[1])}",
                [f"{line[2]}/{metric}" for metric in TABLE_METRICS]) if line else r"\midrule"
            for line in lines if line is None or f"{line[2]}/identity" in values]  # fmt: skip


def profile_rows(facts: Mapping[str, object]) -> list[str]:
    """Rows of tables/profile.tex: name & value & name & value, read down the left half first."""
    entries = [f"{label} & {fact(name, facts.get(name, UNKNOWN))}" for name, label in FACTS.items()]
    half = math.ceil(len(entries) / 2)
    left, right = entries[:half], entries[half:] + ["&"] * (2 * half - len(entries))
    return [rf"{a} & {b} \\" for a, b in zip(left, right, strict=True)]


def row(values: Mapping[str, str], front: str, columns: Sequence[str]) -> str:
    """A line of the values of some keys and below it a small line of intervals; a dash for a key that is not there."""
    intervals = [values.get(f"{key}/interval", "") for key in columns]
    first = " & ".join([front, *(values.get(key, DASH) for key in columns)])
    second = " & ".join(["", *[""] * front.count("&"), *(rf"\scriptsize {text}" if text else "" for text in intervals)])
    return rf"{first} \\[-2pt]" + "\n" + rf"{second} \\[2pt]"


def write_table(rows: Sequence[str], path: str | Path) -> Path:
    """Write generated rows alone: rules, caption and label stay in main.tex."""
    return _write(rows, path)


# ---- LaTeX -------------------------------------------------------------------------------------------------------


def merge_name(merge: str) -> str:
    """Name of a merge in the paper."""
    return words("ru").get(merge, tex(merge))


def judge_name(name: str) -> str:
    """Name of a network behind a score: one that the paper does not know stands as its file names it."""
    return words("ru").get(name) or rf"\texttt{{{tex(str(name))}}}"


def fact(name: str, value) -> str:
    r"""A fact by its name: whole seconds, the machine and its device in Russian.

    Linux x86_64, 2 cores -> \texttt{Linux x86\_64}, ядер:~2.
    """
    if name == "train_seconds":
        return plain(round(value))
    if name == "device":
        return tex(DEVICE_NAMES.get(value, value))
    if name == "machine":
        return re.sub(r"(.*), (\d+) cores$", r"\\texttt{\1}, ядер:~\2", tex(value))
    return plain(value)


def plain(value) -> str:
    """A setting as it was set, not rounded: 10177 -> 10 177, 0.05 -> 0,05, 1e-4 -> 10^-4."""
    if isinstance(value, str):
        return tex(value)
    if float(value) == int(value):
        grouped = f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
        return grouped.replace(",", r"\,")
    if abs(value) < 1e-3:
        digits, power = f"{value:e}".split("e")
        factor = "" if float(digits) == 1 else _comma(f"{float(digits):g}") + r"\cdot "
        return rf"\ensuremath{{{factor}10^{{{int(power)}}}}}"
    return _comma(f"{value:g}")


def span(counts: Collection[float]) -> str:
    """2, or 1--2 where they differ."""
    return "--".join(map(plain, dict.fromkeys([min(counts), max(counts)])))


def rounded(value: float, digits: int) -> str:
    """Number with so many decimals, in LaTeX."""
    return _comma(f"{value:.{digits}f}") if math.isfinite(value) else "--"


def _decimals(value: float) -> int:
    """As many decimals as show three significant digits, at most three."""
    if not math.isfinite(value) or value == 0:
        return 2
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 3)


def _comma(number: str) -> str:
    """Decimal comma without the space that mathematics puts after it; a real minus, none before a zero."""
    if number.startswith("-") and not number.strip("-0."):
        number = number[1:]
    return number.replace(".", "{,}").replace("-", r"\ensuremath{-}")


def tex(text: str) -> str:
    """Text of the table with LaTeX's special characters escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)


def _write(lines: Sequence[str], path: str | Path) -> Path:
    with atomic(path) as temporary:
        Path(temporary).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Path(path)
