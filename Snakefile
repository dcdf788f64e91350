"""data → features → adapters → pictures → metrics → tidy table → figures → paper.

A stage runs again where an input, a parameter or its code (`code.digest`) has changed; of 10 to 13 the prose counts too.
Inputs are all files that a stage reads, not only the last of a chain: a stage before it may make the same bytes again,
of small files Snakemake compares these, and after an interruption it asks again which stages are stale.

    snakemake --config profile=mini        # `make report` calls it through scripts/snakemake.sh
"""
import re
import shlex
import sys

from ipa_lib.data import picture_table
from ipa_lib.files import ROOT
from ipa_lib.workflow import code, gather, paths, provenance
from ipa_lib.workflow.config import load_profile
from ipa_lib.workflow.grid import AXES, main_run

PROFILE = load_profile(config.get("profile", "mini"))
RESULTS, PAPER = f"results/{PROFILE.name}", paths.paper_dir(PROFILE.name).relative_to(ROOT)
ONE = shlex.quote(sys.executable)
RUN = f"{ONE} -m ipa_lib.workflow.runs notebooks/{{params.nb}}.ipynb {{log.nb}} {{params.flags}}"
TRAIN = f"{PROFILE.launch or ONE} -m ipa_lib.workflow.runs notebooks/{{params.nb}}.ipynb {{log.nb}} {{params.flags}}"  # of several processes
PARTS = ("model_index.json", "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
         "text_encoder/model.safetensors", "image_encoder/model.safetensors")
MINI_JUDGES = [f"models/mini/{judge}/model.safetensors" for judge in ("identity_judge", "attribute_judge")]
OWN_BASE = PROFILE.values("02_train_base").get("publish")  # of a profile that trains its own
USED_BASE = PROFILE.settings("03_cache_features")["base"]
BASE = [f"{USED_BASE}/{part}" for part in PARTS] if USED_BASE in ("models/mini", OWN_BASE) else []  # else 03 looks
SPEC = PROFILE.values("06_evaluate").get("judged_by", "models/mini")
OWN_JUDGE = [f"{OWN_BASE}/attribute_judge/model.safetensors"] * bool(
    OWN_BASE and "attribute_judge" in PROFILE.settings("02_train_base")["parts"])
JUDGES = [SPEC, *OWN_JUDGE] if SPEC.endswith((".yaml", ".yml", ".json")) else MINI_JUDGES
SOURCES = ["main.tex", "refs.bib", "preprint.sty", "results.sty"]

START = PROFILE.settings("04_train_adapter")["start"]  # a kind of projection, or a published adapter
STARTS = [START] if (ROOT / START).is_file() else []

REAL = PROFILE.settings("14_write_paper")["real"] or "none"  # a profile of photographs that the paper shows besides
BESIDES = [file for file in (
    *(f"results/bench/{name}.csv" for name in ("encoder_readout", "fitted_tokens", "start_quality", "training_gain")),
    f"results/{REAL}/table.csv", f"results/published/{REAL}/table.csv",
) if (ROOT / file).is_file()]

CELLS, RUNS = PROFILE.cells.values(), PROFILE.adapters.values()
FIGURES = {
    "10_ablate_n_refs": ["identity_vs_n_refs", "fid_vs_n_refs", "fid_vs_count"],
    "11_ablate_lambda": ["identity_vs_lam", "fid_vs_lam", "is_vs_lam", "text_vs_lam", "tradeoff"],
    "12_compare_adapters": ["identity_of_adapters", "training_curves"],
    "13_show_samples": ["sample_grid", "failure_cases"],
}
FIGURES["10_ablate_n_refs"] += ["identity_vs_occlusion"] * any("occluded" in cell.prompts for cell in CELLS)
FIGURES["11_ablate_lambda"] += ["guidance"] * any(cell.guidance is not None for cell in CELLS)
FIGURES["12_compare_adapters"] += ["copying_vs_identity"] * any(run.target == "shown" for run in RUNS)
FIGURES["13_show_samples"] += ["generated_grid"] * (not PROFILE.settings("01_prepare_data")["draw"])  # may be shown
TABLES = ["main_results", "profile", "over_n", "best_lam", "merges", "slots", "each_n", "shown", "real"]
MAIN = main_run(PROFILE.adapters)
MAIN_CELL = f"n{max(MAIN.n_refs)}"
FACTS = [f"{RESULTS}/{file}" for file in (
    "data.json", "base.json", f"adapters/{MAIN.name}/provenance.json", f"samples/{MAIN.name}/{MAIN_CELL}/settings.json")]


def stage(notebook, shows=False):
    return {"nb": notebook, "code": code.digest(notebook, shows=shows)}


def flags(notebook, **values):
    return PROFILE.flags(notebook, profile=PROFILE.name, **values)


MAX_REFS = PROFILE.max_refs
PEOPLE = {name: value for name, value in PROFILE.values("05_generate").items() if name in ("people", "samples", "seed")}


def adapter_flags(wildcards):
    run = PROFILE.adapters[wildcards.adapter]
    return flags("04_train_adapter", random_n=run.random_n, **{axis: getattr(run, axis) for axis in AXES})


def cell_flags(wildcards):
    return flags("05_generate", max_refs=MAX_REFS, **PROFILE.cells[f"{wildcards.adapter}/{wildcards.cell}"].values())


wildcard_constraints:
    adapter="|".join(map(re.escape, PROFILE.adapters)), cell="|".join(map(re.escape, {cell.name: 0 for cell in CELLS}))


MADE = [f"{PAPER}/figures/{stem}.pdf" for stems in FIGURES.values() for stem in stems]
MADE += [f"{PAPER}/numbers.tex", *(f"{PAPER}/tables/{stem}.tex" for stem in TABLES)]


rule all:
    input: MADE, f"{PAPER}/main.pdf"  # all by name: a missing figure below an up-to-date PDF would go unnoticed


TABLE = f"{RESULTS}/pictures.csv"  # of the pictures
PICTURES = "" if PROFILE.settings("01_prepare_data")["draw"] else picture_table.stamp(paths.data_dir(PROFILE.name))


rule data:
    output: multiext(f"{RESULTS}/", "data.json", "pictures.csv", "near_duplicates.csv")
    log: nb=f"{RESULTS}/01_prepare_data.ipynb"
    params: **stage("01_prepare_data"), pictures=PICTURES, flags=flags("01_prepare_data", max_refs=MAX_REFS)
    threads: 2
    shell: RUN


rule features:
    input: rules.data.output, BASE, JUDGES
    output: f"{RESULTS}/features/manifest.json", f"{RESULTS}/base.json"
    log: nb=f"{RESULTS}/features/03_cache_features.ipynb"
    params: **stage("03_cache_features"), flags=flags("03_cache_features")
    threads: 2
    resources: gpu=1
    shell: RUN


rule train:
    input: TABLE, rules.features.output, BASE, STARTS
    output: multiext(f"{RESULTS}/adapters/{{adapter}}/", "adapter.safetensors", "log.jsonl", "provenance.json")
    log: nb=f"{RESULTS}/adapters/{{adapter}}/04_train_adapter.ipynb"
    params: **stage("04_train_adapter"), flags=adapter_flags
    resources: gpu=1
    shell: TRAIN


rule generate:
    input: TABLE, rules.features.output, BASE, f"{RESULTS}/adapters/{{adapter}}/adapter.safetensors"
    output: multiext(f"{RESULTS}/samples/{{adapter}}/{{cell}}/", "settings.json", "index.csv", "provenance.json")
    log: nb=f"{RESULTS}/samples/{{adapter}}/{{cell}}/05_generate.ipynb"
    params: **stage("05_generate"), flags=cell_flags
    resources: gpu=1
    shell: RUN


# What a stage reads of a gallery is its provenance.json: an index of other pictures may have the very same bytes, and of
# small files Snakemake compares these.
rule evaluate:
    input: TABLE, f"{RESULTS}/samples/{{adapter}}/{{cell}}/provenance.json", JUDGES
    output: multiext(f"{RESULTS}/metrics/{{adapter}}/{{cell}}/", "table.csv", "scores.csv")
    log: nb=f"{RESULTS}/metrics/{{adapter}}/{{cell}}/06_evaluate.ipynb"
    params: **stage("06_evaluate"), flags=lambda w: flags("06_evaluate", adapter=w.adapter, cell=w.cell)
    resources: gpu=1
    shell: RUN


rule ceilings:
    input: TABLE, rules.features.output, BASE, JUDGES
    output: multiext(f"{RESULTS}/metrics/ceilings/", "table.csv", "scores.csv")
    log: nb=f"{RESULTS}/metrics/ceilings/07_measure_ceilings.ipynb"
    params: **stage("07_measure_ceilings"), flags=flags("07_measure_ceilings", max_refs=MAX_REFS, **PEOPLE)
    resources: gpu=1
    shell: RUN


rule slots:
    input: expand(f"{RESULTS}/adapters/{{adapter}}/adapter.safetensors", adapter=PROFILE.adapters),
           expand(f"{RESULTS}/samples/{{cell}}/provenance.json", cell=PROFILE.cells), JUDGES
    output: f"{RESULTS}/slots.csv"
    log: nb=f"{RESULTS}/08_compare_slots.ipynb"
    params: **stage("08_compare_slots"), flags=flags("08_compare_slots")
    resources: gpu=1
    shell: RUN


rule counts:
    input: TABLE, f"{RESULTS}/samples/{MAIN.name}/{MAIN_CELL}/provenance.json", JUDGES
    output: f"{RESULTS}/counts.csv"
    log: nb=f"{RESULTS}/09_count_samples.ipynb"
    params: **stage("09_count_samples"), flags=flags("09_count_samples", adapter=MAIN.name, cell=MAIN_CELL)
    resources: gpu=1
    shell: RUN


rule table:
    input: table=expand(f"{RESULTS}/metrics/{{cell}}/table.csv", cell=[*PROFILE.cells, "ceilings"]),
           scores=expand(f"{RESULTS}/metrics/{{cell}}/scores.csv", cell=[*PROFILE.cells, "ceilings"])
    output: table=f"{RESULTS}/table.csv", scores=f"{RESULTS}/scores.csv"
    params: code=code.digest("workflow/gather.py")
    run:
        gather.gather(input.table, output.table)
        gather.gather(input.scores, output.scores)


rule facts:
    input: facts=FACTS, costs=expand(f"{RESULTS}/adapters/{{adapter}}/provenance.json", adapter=PROFILE.adapters),
           logs=expand(f"{RESULTS}/adapters/{{adapter}}/log.jsonl", adapter=PROFILE.adapters)
    output: facts=f"{RESULTS}/facts.json", costs=f"{RESULTS}/costs.csv", logs=f"{RESULTS}/logs.csv"
    params: code=code.digest("workflow/gather.py")
    run:
        provenance.gather_facts(input.facts, output.facts)
        provenance.gather_costs(input.costs, output.costs)
        gather.gather_logs(input.logs, output.logs)


rule over_n_refs:
    input: rules.table.output, rules.counts.output, rules.facts.output, "notebooks/10_ablate_n_refs.ipynb"
    output: expand(f"{PAPER}/figures/{{stem}}.pdf", stem=FIGURES["10_ablate_n_refs"])
    log: nb=f"{RESULTS}/10_ablate_n_refs.ipynb"
    params: **stage("10_ablate_n_refs", shows=True), flags=flags("10_ablate_n_refs")
    shell: RUN


rule over_lambda:
    input: rules.table.output, "notebooks/11_ablate_lambda.ipynb"
    output: expand(f"{PAPER}/figures/{{stem}}.pdf", stem=FIGURES["11_ablate_lambda"])
    log: nb=f"{RESULTS}/11_ablate_lambda.ipynb"
    params: **stage("11_ablate_lambda", shows=True), flags=flags("11_ablate_lambda")
    shell: RUN


rule compare_adapters:
    input: rules.table.output, rules.slots.output, rules.facts.output, "notebooks/12_compare_adapters.ipynb"
    output: expand(f"{PAPER}/figures/{{stem}}.pdf", stem=FIGURES["12_compare_adapters"])
    log: nb=f"{RESULTS}/12_compare_adapters.ipynb"
    params: **stage("12_compare_adapters", shows=True), flags=flags("12_compare_adapters")
    shell: RUN


rule show_samples:
    input: TABLE, rules.table.output, "notebooks/13_show_samples.ipynb",
           expand(f"{RESULTS}/samples/{MAIN.name}/n{{n}}/provenance.json", n=MAIN.n_refs)
    output: expand(f"{PAPER}/figures/{{stem}}.pdf", stem=FIGURES["13_show_samples"])
    log: nb=f"{RESULTS}/13_show_samples.ipynb"
    params: **stage("13_show_samples", shows=True), flags=flags("13_show_samples")
    shell: RUN


rule numbers:
    input: rules.table.output, rules.slots.output, rules.counts.output, rules.facts.output, BESIDES,
           "paper/main.tex", "configs/pretrain.yaml"  # which numbers the paper names; the start's settings
    output: f"{PAPER}/numbers.tex", expand(f"{PAPER}/tables/{{stem}}.tex", stem=TABLES)
    log: nb=f"{RESULTS}/14_write_paper.ipynb"
    params: **stage("14_write_paper"), flags=flags("14_write_paper")
    shell: RUN


rule paper_inputs:
    input: MADE


if str(PAPER) != "paper":
    rule sources:
        input: expand("paper/{file}", file=SOURCES)
        output: expand(f"{PAPER}/{{file}}", file=SOURCES)
        shell: "cp {input} {PAPER}"


rule paper:
    input: MADE, expand(f"{PAPER}/{{file}}", file=SOURCES)
    output: f"{PAPER}/main.pdf"
    shell: "scripts/typeset.sh {PAPER}/main.tex"


rule base:
    input: rules.data.output
    output: [f"{OWN_BASE}/{part}" for part in PARTS] + OWN_JUDGE if OWN_BASE else []  # models/mini: `make base` alone
    log: nb=f"{RESULTS}/02_train_base.ipynb"
    params: **stage("02_train_base"), flags=flags("02_train_base")
    threads: 2
    resources: gpu=1
    shell: RUN


rule start:  # profiles pretrain…: published adapters of the mini base
    input: multiext(f"{RESULTS}/adapters/{MAIN.name}/", "adapter.safetensors", "provenance.json", "log.jsonl")
    params: kind="" if START == "linear" else f"-{START}"
    run:
        from ipa_lib.model.adapter import MultiImageAdapter
        from ipa_lib.model.exchange import save_published

        save_published(MultiImageAdapter.load(input[0]), f"models/mini/ip_adapter/ip-adapter{params.kind}_mini.safetensors")
        provenance.write_recipe(input[1], input[2], f"models/mini/recipes/ip_adapter{params.kind}.json")
