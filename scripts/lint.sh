#!/usr/bin/env bash
# ruff over modules, tests and notebooks, and no outputs or execution marks in the notebooks' sources.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check --quiet .
shopt -s nullglob
notebooks=(notebooks/*.ipynb)
[ ${#notebooks[@]} = 0 ] ||
    nbstripout --verify --extra-keys "metadata.papermill cell.metadata.papermill" "${notebooks[@]}"
