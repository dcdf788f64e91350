# The whole project from a bare clone. `make help` lists the targets.
PROFILE ?= mini
VENV ?= .venv
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PINS := pyproject.toml $(wildcard requirements/*.txt) scripts/environment.sh
ifeq ($(CONDA_DEFAULT_ENV),ipa)  # environment.yml is activated: nothing is left to install
BASE :=
TEST :=
else
BASE := $(VENV)/.ready
TEST := $(VENV)/.ready-test
export PATH := $(abspath $(VENV))/bin:$(PATH)
endif

report: $(BASE) tex  ## a report, from data to PDF: a reduced grid (15 minutes); PROFILE=full is the preprint's own (2 hours)
	@scripts/report.sh $(PROFILE)

smoke: $(BASE) tex  ## the same on a handful of people, to see that it runs (3 minutes)
	@scripts/report.sh smoke

base: $(BASE)  ## train the mini base model, its judges and its published adapter anew, into models/mini
	@scripts/snakemake.sh --config profile=mini -- base
	@scripts/snakemake.sh --config profile=pretrain -- start

check: $(BASE)  ## is everything there that PROFILE=sd15 needs: models, data, judges, disk, memory?
	@python -m ipa_lib.workflow.check $(PROFILE)

paper: $(BASE) tex  ## the preprint's figures, numbers and PDF anew from the published tables (a minute)
	@scripts/paper.sh full

arxiv: paper  ## the same as one archive of sources, which plain pdflatex compiles: paper/arxiv.tar.gz
	@scripts/arxiv.sh paper

PYTEST := OMP_NUM_THREADS=1 pytest -q -n 2 --dist loadfile

test: $(TEST) tex browser  ## the tests that guard results and use (7 minutes)
	$(PYTEST) -m "not slow and not thorough"

test-all: $(TEST) tex spelling browser  ## these and the thorough ones: set-up, print, several processes (20 minutes)
	$(PYTEST)

lint: $(TEST)  ## ruff over modules, tests and notebooks; types; no outputs in notebooks
	@scripts/lint.sh

api: $(TEST)  ## a page for each module of the library, in results/api
	@python -W ignore -m pdoc --output-directory results/api ipa_lib
	@echo results/api/index.html

lab: export JUPYTER_PREFER_ENV_PATH := 1  # the kernel of this environment before one in the user's home
lab: $(BASE)  ## JupyterLab on 127.0.0.1 with a token: notebooks/explore.ipynb
	@jupyter lab --ip=127.0.0.1 --LabApp.default_url=/lab/tree/notebooks/explore.ipynb $(if $(filter 0,$(shell id -u)),--allow-root)

bench: $(TEST)  ## run the benchmarks: time and memory as ratios, and what base and encoder can do
	@for file in benchmarks/*.py; do python "$$file"; done

publish: $(BASE)  ## copy tables and notebooks of a finished PROFILE=full, or faces64…, to results/published, which is tracked
	@scripts/publish.sh $(if $(filter file,$(origin PROFILE)),full,$(PROFILE))

env: $(BASE)  ## the environment alone, in .venv

pins:  ## renew requirements/*.txt from requirements/*.in (needs uv)
	@scripts/pins.sh

clean:  ## remove what was generated; tracked files, models/, .venv and data of your own stay
	@git clean -fdXq -- results paper .snakemake .run .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@for mark in data/*/mini_celeba.json; do rm -rf "$${mark%/mini_celeba.json}"; done  # drawn faces, also half drawn

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

tex:
	@scripts/install_tex.sh

spelling:
	@scripts/install_tex.sh spelling

browser:
	@scripts/install_tex.sh browser

$(VENV)/.ready: $(PINS)
	@scripts/environment.sh $(VENV)
	@touch $@

$(VENV)/.ready-test: $(PINS)
	@scripts/environment.sh $(VENV) test
	@touch $(VENV)/.ready $@

.PHONY: publish report smoke base check paper arxiv test test-all lint api lab bench env pins clean help tex spelling browser
