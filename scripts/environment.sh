#!/usr/bin/env bash
# environment.sh VENV [test]: a virtual environment with the pinned packages, ipa_lib itself and, for the tests, theirs.
# uv installs if it is there, pip otherwise. Run again, it goes on where it stopped. What they print goes to
# .run/setup.log, of which a failure shows the end.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
venv=$1; extra=${2:-}
cpu_index=https://download.pytorch.org/whl/cpu

stop() { echo "$*" >&2; exit 1; }

find_python() { # the name of the first that is new enough
    local name
    for name in python3.11 python3.12 python3.13 python3; do
        if "$name" -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null; then echo "$name"; return; fi
    done
    stop "Python 3.11 or newer is needed, and neither python3.11, python3.12, python3.13 nor python3 is one:" \
         "install it (Debian, Ubuntu: sudo apt-get install python3.11 python3.11-venv) and run this again"
}

missing_packages() { # what Debian packages apart: ensurepip; from 3.14 a compiler, for the one package without a wheel
    local own; own=$("$1" -c 'import sys; print("python{}.{}".format(*sys.version_info))')
    "$1" -c 'import ensurepip' 2>/dev/null || echo "$own-venv"
    "$1" -c 'import sys; assert sys.version_info < (3, 14)' 2>/dev/null || command -v cc >/dev/null || echo "gcc $own-dev"
}

has_venv() { "$venv/bin/python" -c 'import pip' 2>/dev/null; }

choose_python() { # sets `python`, for make_venv; stops where there is none
    local packages
    python=$(find_python)
    packages=$(missing_packages "$python")
    # shellcheck disable=SC2086  # a list
    [ -z "$packages" ] || logged apt_install $packages || stop "$python lacks a part: sudo apt-get install $packages"
}

make_venv() {
    echo "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
}

# uv does not read the configuration of pip: a mirror or a folder of wheels set there serves uv too.
share_pip_settings() {
    local links index
    links=${PIP_FIND_LINKS:-$("$venv/bin/pip" config get global.find-links 2>/dev/null || true)}
    index=${PIP_INDEX_URL:-$("$venv/bin/pip" config get global.index-url 2>/dev/null || true)}
    [ -z "$links" ] || export UV_FIND_LINKS=${UV_FIND_LINKS:-$(echo "$links" | tr ' ' ',')}
    [ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
}

install() {
    if uv --version >/dev/null 2>&1; then
        uv pip install --compile-bytecode --python "$venv/bin/python" "$@"
    else
        "$venv/bin/python" -m pip install --disable-pip-version-check "$@"
    fi
}

reachable() { # within 15 seconds
    timeout 20 "$venv/bin/python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=15)' "$1/torch/" \
        2>/dev/null
}

pin=$(cat requirements/torch.txt)
has_torch() {
    "$venv/bin/python" -c "from importlib.metadata import version as v; assert v('torch').split('+')[0] == '${pin#*==}'" \
        2>/dev/null
}

# PyTorch's own index has wheels without CUDA; the default index has them for macOS alone.
choose_index() { # sets `index`, of options for install_torch: none for the default one
    index=()
    if has_torch || [ "$(uname)" != Linux ] || nvidia-smi >/dev/null 2>&1; then return; fi
    if reachable "$cpu_index"; then
        index=(--index-url "$cpu_index")
    else
        echo "$cpu_index is not reachable: torch comes from the default index, perhaps with CUDA (some GB)" >&2
    fi
}

install_torch() {
    if has_torch; then return; fi
    if [ ${#index[@]} -gt 0 ] && install "${index[@]}" "$pin"; then return; fi
    install "$pin"
}

install_all() {
    install --no-deps -r requirements/base.txt && install_torch || return
    [ "$extra" != test ] || install --no-deps -r requirements/test.txt || return
    install --no-deps --no-build-isolation --editable .
}

failed() {
    tail -n 5 "$setup_log" >&2
    stop "$venv is not complete; log: $setup_log"
}

if ! has_venv; then
    choose_python
    logged make_venv || failed
fi
share_pip_settings
choose_index
step "environment in $venv (the first time takes some minutes)" install_all || failed
