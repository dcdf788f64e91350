#!/usr/bin/env bash
# snakemake, safe to run again after a crash or a kill. The system's lock dies with the processes that hold it, so while
# we hold it a lock of Snakemake's own is stale and may go; where there is no flock it stays, and Snakemake says what to
# do. A line a stage is shown; all that Snakemake says goes to .run/<profile>.log. What a failed notebook says in one line
# is said last.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
if ! { mkdir -p .run .snakemake results && : >>.run/lock && [ -w .snakemake ] && [ -w results ]; } 2>/dev/null; then
    echo "$PWD can't be written to: free the folder, its results/ and .snakemake/ for writing, or make room" >&2
    exit 1
fi
exec 9>.run/lock
ours=
if command -v flock >/dev/null; then
    if ! flock -w 10 9; then  # that long a killed run may take to die
        echo "another run is using this folder: wait for its end, or stop it" >&2
        exit 75
    fi
    ours=yes
fi

export IPA_FAILURES=$PWD/.run/failures
export IPA_PROGRESS=$PWD/.run/progress  # how far the running stages are
rm -rf "$IPA_FAILURES" "$IPA_PROGRESS"
mkdir -p "$IPA_PROGRESS"
log=.run/report.log
for word; do case $word in profile=*) log=.run/${word##*[=/]}.log;; esac; done
[ -z "$ours" ] || [ -z "$(ls .snakemake/locks 2>/dev/null)" ] || snakemake --unlock "$@" >/dev/null 2>&1
one_gpu=()  # every job takes the first one: on this machine they queue for it, on a cluster each has its own
if [ -z "${SNAKEMAKE_PROFILE:-}" ] && nvidia-smi -L >/dev/null 2>&1; then one_gpu=(--resources gpu=1)
elif [[ -z "${SNAKEMAKE_PROFILE:-}${IPA_WARM:-}" && $OSTYPE == linux* ]]; then  # its kernels are forked from one process
    export IPA_WARM=$PWD/.run/warm; python -m ipa_lib.workflow.warm "$IPA_WARM" $$ </dev/null &>.run/warm.log 9>&- &
fi
snakemake --cores "${CORES:-all}" --rerun-incomplete --keep-going "${one_gpu[@]}" "$@" 2>&1 |
    python -m ipa_lib.workflow.progress "$log" 9>&-
status=${PIPESTATUS[0]}
[ ! -s "$IPA_FAILURES" ] || cat - "$IPA_FAILURES" <<<"" >&2
exit $status
