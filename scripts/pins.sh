#!/usr/bin/env bash
# requirements/*.in => requirements/*.txt: every version and hash pinned, torch left out (it is installed apart) and
# torchvision, which torch-fidelity asks for and nothing here needs.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "pins need uv: python3 -m pip install uv" >&2; exit 1; }

compile() {
    uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make pins" \
        --overrides <(printf "%s; sys_platform == 'nowhere'\n" torch torchvision) --no-emit-package torch "$@"
}

cd requirements
compile base.in report.in explore.in torch.in --output-file base.txt
compile faces.in test.in --constraints base.txt --output-file test.txt
