# What `./run.sh` and the scripts of `stack/` say, and how they come by what is missing. Sourced, not run.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# install_packages MISSING PACKAGE…: installs Debian's packages as root; elsewhere ends, naming what is MISSING.
install_packages() {
    local missing=$1
    shift
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        die "missing: $missing (as root on Debian this is installed for you)"
    fi
    say "installing: $missing"
    # Two that install at once wait for each other.
    local apt=(apt-get --quiet=2 -o DPkg::Lock::Timeout=600)
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" update >&2
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" install --yes --no-install-recommends "$@" >&2 ||
        die "cannot install $*"
}
