#!/usr/bin/env bash
# publish.sh PROFILE: copy what a visitor should see of a finished run to results/published/PROFILE, which is tracked:
# the tables, the facts, the executed notebooks that show figures. The PDF with its figures is tracked in paper/.
# Of photographs nothing that shows one: figures without them in place of the notebooks 01 and 13, and for paper/ the
# grid of the profile that it shows.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$1; from=results/$profile; to=results/published/$profile
pdf=$(python -m ipa_lib.workflow.config "$profile" | tail -n 1); figures=$(dirname "$pdf")/figures
setting() { # PROFILE NOTEBOOK PARAMETER
    python -c 'import sys; from ipa_lib.workflow.config import load_profile as load; print(load(sys.argv[1]).settings(sys.argv[2])[sys.argv[3]])' "$@"
}
drawn=$(setting "$profile" 01_prepare_data draw)
files=("$from"/{table,scores,slots,counts,costs,logs}.csv "$from/facts.json" "$from"/{08,09,10,11,12,14}_*.ipynb)
if [ "$drawn" = False ]; then
    files+=("$figures"/{generated_grid,identity_vs_n_refs,identity_vs_lam,text_vs_lam}.pdf)
else
    files+=("$from"/{01,13}_*.ipynb)
fi
for file in "$pdf" "${files[@]}"; do
    [ -f "$file" ] || { echo "$file is missing: make report PROFILE=$profile" >&2; exit 1; }
done
mkdir -p "$to"
cp "${files[@]}" "$to"
if [ -d "$from/answers" ]; then
    rm -rf "$to/answers"
    cp -r "$from/answers" "$to"
fi
if [ "$profile" = "$(setting full 14_write_paper real)" ]; then
    cp "$to/generated_grid.pdf" paper/figures/real_grid.pdf
elif [ "$pdf" = paper/main.pdf ]; then # the profile that the README shows, in English
    scripts/readme_picture.sh "$profile"
fi
du -sh "$to"
