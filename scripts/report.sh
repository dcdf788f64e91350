#!/usr/bin/env bash
# report.sh PROFILE: everything of a profile, ending with the path of the PDF, or with what is missing for it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
profile=$1
pdf=$(python -m ipa_lib.workflow.config "$profile" | tail -n 1) # a mistake in the profile: one line, before anything runs

target=all
tex_tool >/dev/null || target=paper_inputs
scripts/snakemake.sh --config profile="$profile" -- $target
if [ $target = all ]; then echo "$pdf"; else tex_missing; fi
