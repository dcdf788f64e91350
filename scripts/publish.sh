#!/usr/bin/env bash
# publish.sh PROFILE: copy what a visitor should see of a finished run to results/published/PROFILE, which is tracked:
# the tables, the facts, the executed notebooks that show figures. The PDF with its figures is tracked in paper/.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$1; from=results/$profile; to=results/published/$profile
pdf=$(python -m ipa_lib.config "$profile" | tail -n 1)
files=("$from"/{table,scores,slots,counts,costs}.csv "$from/facts.json" "$from"/{01,08,09,10,11,12,13,14}_*.ipynb)
for file in "$pdf" "${files[@]}"; do
    [ -f "$file" ] || { echo "$file is missing: make report PROFILE=$profile" >&2; exit 1; }
done
mkdir -p "$to"
cp "${files[@]}" "$to"
python -c 'import sys; from ipa_lib.runs import write_picture; write_picture(*sys.argv[1:])' \
    "$to"/13_*.ipynb docs/sample_grid.png
du -sh "$to"
