"""data → features → adapters → pictures → metrics → tidy table → figures → paper.

    snakemake --config profile=mini        # `make report` calls it through scripts/snakemake.sh
"""
import shlex
import sys

from ipa_lib import paths, report
from ipa_lib.config import load_profile

PROFILE = load_profile(config.get("profile", "mini"))
RESULTS, PAPER = f"results/{PROFILE.name}", paths.paper_dir(PROFILE.name).relative_to(paths.ROOT)
RUN = f"{shlex.quote(sys.executable)} -m ipa_lib.runs {{input.nb}} {{log.nb}} {{params.flags}}"
BASE = [f"models/mini/{part}" for part in (
    "model_index.json", "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors", "image_encoder/model.safetensors")]
SOURCES = ["main.tex", "refs.bib", "preprint.sty", "results.sty"]

CELLS = [f"{run.name}/n{n}" for run in PROFILE.adapters.values() for n in run.n_refs]
MAIN = next((run for run in PROFILE.adapters.values() if run.random_n), next(iter(PROFILE.adapters.values())))
CELLS += [f"{MAIN.name}/n{max(MAIN.n_refs)}-other"]  # a floor, for the run that the paper calls the main one
FIGURES = {
    "08_ablate_n_refs": ["identity_vs_n_refs", "fid_vs_n_refs"],
    "09_ablate_lambda": ["identity_vs_lam", "fid_vs_lam", "is_vs_lam", "text_vs_lam"],
    "10_show_samples": ["sample_grid", "failure_cases", "training_curves"],
}


def lib(*names):
    """The modules that a stage depends on; imports are invisible to Snakemake."""
    return [f"ipa_lib/{name}.py" for name in names]


def flags(notebook, **values):
    return PROFILE.flags(notebook, profile=PROFILE.name, **values)


MAX_REFS = max(n for run in PROFILE.adapters.values() for n in run.n_refs)
PEOPLE = {name: value for name, value in PROFILE.values("05_generate").items() if name in ("people", "samples", "seed")}


def adapter_flags(wildcards):
    run = PROFILE.adapters[wildcards.adapter]
    return flags("04_train_adapter", merge=run.merge, slots=run.slots, n_max=run.n_max, random_n=run.random_n, seed=run.seed)


def cell_flags(wildcards):
    other = bool(wildcards.other)  # another person's prompts are a floor at the λ of training
    return flags("05_generate", adapter=wildcards.adapter, n_refs=int(wildcards.n), max_refs=MAX_REFS,
                 lams=[1.0] if other else list(PROFILE.lams), prompts="other" if other else "own")


wildcard_constraints:
    adapter=r"[a-z]+-[a-z]+-n\d+r?-s\d+", n=r"\d+", other=r"(-other)?", cell=r"n\d+(-other)?"


MADE = [f"{PAPER}/figures/{stem}.pdf" for stems in FIGURES.values() for stem in stems]
MADE += [f"{PAPER}/numbers.tex", f"{PAPER}/tables/main_results.tex", f"{PAPER}/tables/profile.tex"]


rule all:
    input: MADE, f"{PAPER}/main.pdf"  # all by name: a missing figure below an up-to-date PDF would go unnoticed


rule data:
    input: nb="notebooks/01_prepare_data.ipynb", lib=lib("mini_celeba", "celeba", "captions", "identity_sets")
    output: f"{RESULTS}/data.json"
    log: nb=f"{RESULTS}/01_prepare_data.ipynb"
    params: flags=flags("01_prepare_data", max_refs=MAX_REFS)
    threads: 2
    shell: RUN


rule features:
    input: rules.data.output, BASE, nb="notebooks/03_cache_features.ipynb", lib=lib("backbone", "features")
    output: f"{RESULTS}/features/manifest.json", f"{RESULTS}/base.json"
    log: nb=f"{RESULTS}/features/03_cache_features.ipynb"
    params: flags=flags("03_cache_features")
    threads: 2
    shell: RUN


rule train:
    input: rules.features.output, nb="notebooks/04_train_adapter.ipynb",
           lib=lib("adapter", "attention", "merge", "projection", "training", "identity_sets")
    output: multiext(f"{RESULTS}/adapters/{{adapter}}/", "adapter.safetensors", "log.jsonl", "provenance.json")
    log: nb=f"{RESULTS}/adapters/{{adapter}}/04_train_adapter.ipynb"
    params: flags=adapter_flags
    resources: gpu=1
    shell: RUN


rule generate:
    input: f"{RESULTS}/adapters/{{adapter}}/adapter.safetensors", nb="notebooks/05_generate.ipynb",
           lib=lib("sampling", "galleries")
    output: f"{RESULTS}/samples/{{adapter}}/n{{n}}{{other}}/index.csv"
    log: nb=f"{RESULTS}/samples/{{adapter}}/n{{n}}{{other}}/05_generate.ipynb"
    params: flags=cell_flags
    resources: gpu=1
    shell: RUN


rule evaluate:
    input: f"{RESULTS}/samples/{{adapter}}/{{cell}}/index.csv", nb="notebooks/06_evaluate.ipynb",
           lib=lib("evaluation", "metrics", "intervals", "judges")
    output: multiext(f"{RESULTS}/metrics/{{adapter}}/{{cell}}/", "table.csv", "scores.csv")
    log: nb=f"{RESULTS}/metrics/{{adapter}}/{{cell}}/06_evaluate.ipynb"
    params: flags=lambda w: flags("06_evaluate", adapter=w.adapter, cell=w.cell)
    shell: RUN


rule ceilings:
    input: rules.features.output, nb="notebooks/07_measure_ceilings.ipynb",
           lib=lib("evaluation", "metrics", "intervals", "judges")
    output: multiext(f"{RESULTS}/metrics/ceilings/", "table.csv", "scores.csv")
    log: nb=f"{RESULTS}/metrics/ceilings/07_measure_ceilings.ipynb"
    params: flags=flags("07_measure_ceilings", max_refs=MAX_REFS, **PEOPLE)
    shell: RUN


rule table:
    input: table=expand(f"{RESULTS}/metrics/{{cell}}/table.csv", cell=[*CELLS, "ceilings"]),
           scores=expand(f"{RESULTS}/metrics/{{cell}}/scores.csv", cell=[*CELLS, "ceilings"])
    output: table=f"{RESULTS}/table.csv", scores=f"{RESULTS}/scores.csv"
    run:
        report.gather(input.table, output.table)
        report.gather(input.scores, output.scores)


rule over_n_refs:
    input: rules.table.output, nb="notebooks/08_ablate_n_refs.ipynb", lib=lib("plots", "report", "intervals")
    output: expand(f"{PAPER}/figures/{{stem}}.pdf", stem=FIGURES["08_ablate_n_refs"])
    log: nb=f"{RESULTS}/08_ablate_n_refs.ipynb"
    params: flags=flags("08_ablate_n_refs")
    shell: RUN


rule over_lambda:
    input: rules.table.output, nb="notebooks/09_ablate_lambda.ipynb", lib=lib("plots")
    output: expand(f"{PAPER}/figures/{{stem}}.pdf", stem=FIGURES["09_ablate_lambda"])
    log: nb=f"{RESULTS}/09_ablate_lambda.ipynb"
    params: flags=flags("09_ablate_lambda")
    shell: RUN


rule show_samples:
    input: rules.table.output, nb="notebooks/10_show_samples.ipynb", lib=lib("plots", "galleries", "report")
    output: expand(f"{PAPER}/figures/{{stem}}.pdf", stem=FIGURES["10_show_samples"])
    log: nb=f"{RESULTS}/10_show_samples.ipynb"
    params: flags=flags("10_show_samples")
    shell: RUN


rule numbers:
    input: rules.table.output, nb="notebooks/11_write_paper.ipynb", lib=lib("report", "intervals")
    output: f"{PAPER}/numbers.tex", expand(f"{PAPER}/tables/{{stem}}.tex", stem=["main_results", "profile"])
    log: nb=f"{RESULTS}/11_write_paper.ipynb"
    params: flags=flags("11_write_paper")
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
    input: rules.data.output, nb="notebooks/02_train_base.ipynb"
    log: nb=f"{RESULTS}/02_train_base.ipynb"
    params: flags=flags("02_train_base")
    threads: 2
    shell: RUN
