#!/usr/bin/env bash
# TeX for paper/main.tex, where apt and the rights are there. Where not: one line, and the build goes on without.
set -u
cd "$(dirname "$0")/.." || exit 0
. scripts/lib.sh

tex_tool >/dev/null && exit 0
echo "installing TeX (100 MB, about two minutes)" >&2
# shellcheck disable=SC2086  # a list
apt_install $tex_packages
tex_tool >/dev/null || tex_missing >&2
exit 0
