#!/usr/bin/env bash
# publish.sh PROFILE: copy what a visitor should see of a finished run to results/published/PROFILE, which is tracked:
# the tidy table and the scores, the executed notebooks that show figures, the PDF.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$1; from=results/$profile; to=results/published/$profile
pdf=$(python -m ipa_lib.config "$profile" | tail -n 1)
for file in "$from/table.csv" "$from/scores.csv" "$pdf"; do
    [ -f "$file" ] || { echo "$file is missing: make report PROFILE=$profile" >&2; exit 1; }
done
mkdir -p "$to"
cp "$from"/{table,scores}.csv "$from"/{01,08,09,10,11}_*.ipynb "$to"
cp "$pdf" "$to/preprint.pdf"
cp "$(find "$from"/adapters -name provenance.json | sort | head -n 1)" "$to/provenance.json"
pdftoppm -png -r 110 -singlefile "$(dirname "$pdf")/figures/sample_grid.pdf" docs/sample_grid
du -sh "$to"
