# Sourced by the scripts beside it, from the root of the repository.

setup_log=.run/setup.log

# logged COMMAND…: what it prints goes to the log of the set-up.
logged() {
    { mkdir -p .run && : >>$setup_log; } 2>/dev/null || setup_log=/dev/null
    "$@" >>$setup_log 2>&1
}

# step WHAT COMMAND…: the same, with one line: "WHAT: 41 s".
step() {
    local began=$SECONDS status=0
    printf '%s: ' "$1" >&2
    logged "${@:2}" || status=$?
    echo "$((SECONDS - began)) s" >&2
    return $status
}

# apt_install PACKAGE…: through apt, as root or by a sudo that asks nothing; 1 where that can't be done.
apt_install() {
    local root=() get
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    "${root[@]}" true 2>/dev/null || return 1
    get=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
    "${get[@]}" update || true
    "${get[@]}" install -y --no-install-recommends "$@"
}

tex_packages="latexmk texlive-latex-recommended texlive-pictures texlive-lang-cyrillic texlive-fonts-recommended cm-super"
spelling_packages="hunspell hunspell-ru hunspell-en-us" # for the proof-reading among the tests

has_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; }

# The program that can typeset Russian: latexmk with TeX Live's Cyrillic fonts, else Tectonic (conda); 1 without.
tex_tool() {
    if command -v latexmk >/dev/null && kpsewhich t2acmr.fd sfrm1000.pfb microtype.sty tikz.sty >/dev/null 2>&1; then
        echo latexmk
    else
        command -v tectonic
    fi
}

tex_missing() {
    echo "TeX is missing, so the paper can't be typeset (all else is made): sudo apt-get install $tex_packages"
}
