#!/usr/bin/env bash
# paper.sh PROFILE: figures, tables, numbers and PDF of the preprint from the tidy tables alone: those of a run that is
# here, else the published ones. Figures that show pictures are tracked and stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$1; results=results/$profile; published=results/published/$profile
files=(table.csv scores.csv slots.csv counts.csv costs.csv logs.csv facts.json)
from=$results
[ -f "$results/data.json" ] || from=$published # no run here: all are the published ones, renewed or not
for file in "${files[@]}"; do
    [ -f "$from/$file" ] || { echo "$from/$file is missing: make report PROFILE=$profile" >&2; exit 1; }
done
mkdir -p "$results"
[ "$from" = "$results" ] || cp "${files[@]/#/$from/}" "$results"
rules=(over_n_refs over_lambda compare_adapters numbers paper)
scripts/snakemake.sh --config profile="$profile" --forcerun "${rules[@]}" --allowed-rules "${rules[@]}" -- paper
python -m ipa_lib.workflow.config "$profile" | tail -n 1
