#!/usr/bin/env bash
# typeset.sh MAIN.tex: the PDF beside it. Where TeX fails, its own words about why, and no more.
set -uo pipefail
main=$(realpath -m "$1")
cd "$(dirname "$0")/.." || exit
. scripts/lib.sh

case $(tex_tool) in
    latexmk) run=(latexmk -cd -pdf -interaction=nonstopmode -halt-on-error -file-line-error "$main") ;;
    *tectonic) run=(tectonic "$main") ;;
    *) tex_missing >&2; exit 1 ;;
esac
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"${run[@]}" >"$out" 2>&1 && exit
grep -E -A2 '^(!|error|[^ ]+\.tex:[0-9]+:)' "$out" >&2 || tail -n 20 "$out" >&2
echo "TeX failed on $1" >&2
exit 1
