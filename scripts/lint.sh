#!/usr/bin/env bash
# ruff over modules, tests and notebooks, the types of model, diffusion and evaluation, and no outputs or execution marks
# in the notebooks' sources.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check --quiet .
python -m mypy --no-error-summary
shopt -s nullglob
notebooks=(notebooks/*.ipynb)
[ ${#notebooks[@]} = 0 ] ||
    nbstripout --verify --extra-keys "metadata.papermill cell.metadata.papermill" "${notebooks[@]}"
