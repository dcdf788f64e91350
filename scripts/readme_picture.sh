#!/usr/bin/env bash
# readme_picture.sh PROFILE: docs/sample_grid.png, samples of a finished run with English labels.
set -euo pipefail
cd "$(dirname "$0")/.."
executed=results/$1/13_show_samples.en.ipynb
python -m ipa_lib.workflow.runs -q notebooks/13_show_samples.ipynb "$executed" -p profile "$1" -p language en
python -c 'import sys; from ipa_lib.workflow.runs import write_picture; write_picture(*sys.argv[1:])' \
    "$executed" docs/sample_grid.png
