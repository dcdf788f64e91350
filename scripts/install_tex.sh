#!/usr/bin/env bash
# install_tex.sh [spelling|browser]: TeX for paper/main.tex, or hunspell for its proof-reading, or Chromium for the test of
# notebooks/explore.ipynb, where apt and the rights are there.
# Where not: one line, and the build goes on without; without hunspell or Chromium some tests are skipped. What apt prints
# goes to .run/setup.log.
set -u
cd "$(dirname "$0")/.." || exit 0
. scripts/lib.sh

# shellcheck disable=SC2086  # lists
if [ "${1-}" = spelling ]; then
    command -v hunspell >/dev/null || step "installing hunspell for the tests" apt_install $spelling_packages || true
    exit 0
fi
if [ "${1-}" = browser ]; then
    has_chromium && exit 0
    step "installing Chromium for the tests (113 MB, half a minute)" apt_install chromium || true
    exit 0
fi
tex_tool >/dev/null && exit 0
# shellcheck disable=SC2086  # a list
step "installing TeX (115 MB, about two minutes)" apt_install $tex_packages
tex_tool >/dev/null || tex_missing >&2
exit 0
