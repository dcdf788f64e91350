#!/usr/bin/env bash
# arxiv.sh FOLDER: arxiv.tar.gz of a typeset preprint in FOLDER, all that plain pdflatex needs and nothing else: the
# reference list as BibTeX made it, numbers, rows and figures. It is compiled in an empty folder before it is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1; archive=$folder/arxiv.tar.gz
[ -f "$folder/main.bbl" ] || { echo "$folder/main.bbl is missing: typeset the preprint first, make paper" >&2; exit 1; }

empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
sources=(main.tex main.bbl preprint.sty results.sty numbers.tex)
for kind in figures:figurefile:pdf tables:loadtable:tex; do # what the text asks for; other files there are older
    IFS=: read -r place command suffix <<<"$kind"
    for stem in $(grep -oE "\\\\$command\{[a-z_]+\}" "$folder/main.tex" | grep -oE "\{.*\}" | tr -d '{}' | sort -u); do
        if [ -f "$folder/$place/$stem.$suffix" ]; then sources+=("$place/$stem.$suffix"); fi
    done
done
tar -C "$folder" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - "${sources[@]}" | gzip -n >"$empty/it.tar.gz"
mkdir "$empty/paper"
tar -C "$empty/paper" -xf "$empty/it.tar.gz"
for _ in 1 2 3; do
    (cd "$empty/paper" && pdflatex -interaction=nonstopmode -halt-on-error main.tex >"$empty/log") ||
        { grep -A3 '^!' "$empty/log" >&2; echo "the archive does not compile" >&2; exit 1; }
done
if grep -E "undefined|Rerun to get" "$empty/paper/main.log" >&2; then echo "the archive is not complete" >&2; exit 1; fi
mv "$empty/it.tar.gz" "$archive"
echo "$archive"
