#!/usr/bin/env bash
# Everything that one does with this repository. `./run.sh --help` says what.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    cat <<'END'
usage: ./run.sh COMMAND

  replay [ARGS…]   run the job over a small day of clicks and show what it recommends;
                   with ARGS, `online-recall replay ARGS…`
  test [--all]     test everything, level by level; --all: the long runs too
  check            format, lints, documentation, dependencies
  bench [ARGS…]    measure, as benches/RESULTS.md shows it
  bench live [ARGS…]
                   measure the live job, with real servers of its own; half an hour
  bench collector [ARGS…]
                   measure the collector, beside Flume
  bench codec      measure how records travel between processes
  soak --minutes N
                   storms over a cluster, each with another seed, for so long; one that fails runs again
                   with its seed: ONLINE_RECALL_TEST_SEED=SEED ./run.sh soak --minutes 1
  stack up|down|status [SERVER…]
                   real servers on loopback, for development: kafka redis hbase hdfs, and if
                   named kafka-tls redis-cluster; data under var/stack (stack/README.md)

As root on Debian, what is missing (compilers, make, OpenSSL, Python, Rust; for real servers Java,
Maven and Redis, for their readers Python's venv) is installed by apt-get;
elsewhere it is named. Logs go to standard error.
END
}

. .ci/install.sh

# ---- What must be there -------------------------------------------------------------------------

rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)

has_rust() {
    local found
    found=$(cargo --version 2>/dev/null && rustc --version 2>/dev/null) || return 1
    while read -r _ version _; do
        printf '%s\n' "$rust_wanted" "$version" | sort --version-sort --check=quiet || return 1
    done <<<"$found"
}

# Makes sure of a C compiler and Rust, and of the programs that are named.
need() {
    # Where rustup puts cargo, for shells that were not told.
    PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
    local missing=() packages=() program
    if ! command -v cc >/dev/null || [[ ! -e /usr/include/stdio.h ]]; then
        missing+=("a C compiler") packages+=(gcc libc6-dev)
    fi
    # The allocator is built by make, the fuzzers by a C++ compiler.
    for program in make g++ "$@"; do
        command -v "$program" >/dev/null || { missing+=("$program"); packages+=("$program"); }
    done
    # Kafka's client and TLS are built on these.
    command -v pkg-config >/dev/null || { missing+=(pkg-config); packages+=(pkg-config); }
    pkg-config --exists openssl 2>/dev/null || { missing+=("OpenSSL's headers"); packages+=(libssl-dev); }
    pkg-config --exists zlib 2>/dev/null || { missing+=("zlib's headers"); packages+=(zlib1g-dev); }
    # Debian's own rustc is too old; what it builds its browsers with is not. Crates come by https.
    has_rust || { missing+=("Rust $rust_wanted or newer"); packages+=(rustc-web cargo-web ca-certificates); }
    [[ ${#missing[@]} -gt 0 ]] || return 0

    local list
    list=$(printf ', %s' "${missing[@]}")
    list=${list:2}
    install_packages "$list" "${packages[@]}"
    # An older Rust, found before, must not hide the new one.
    PATH=/usr/bin:$PATH
    hash -r
    has_rust || die "Rust $rust_wanted or newer is not in Debian's rustc-web here; get it from https://rustup.rs"
}

build() {
    need "$@"
    cargo build --release --locked >&2
}

# ---- replay -------------------------------------------------------------------------------------

replay() {
    build
    local online_recall=${CARGO_TARGET_DIR:-target}/release/online-recall
    [[ $# -eq 0 ]] || exec "$online_recall" replay "$@"

    local from=fixtures/small store=var/replay
    # The histories are there once, before the first click; a load would replace what came since.
    if ! "$online_recall" show job --json --store $store 2>/dev/null | grep -q '"epoch_mark":[1-9]'; then
        "$online_recall" tables load --similar $from/similar.tsv --history $from/history.tsv --store $store
    fi
    "$online_recall" replay $from/userClick.log $from/oversized.log.gz \
        --articles $from/new-article.log --store $store --at 2019-04-11T00:00:00Z
    local look
    for look in "hot 18 --top 5" "new 18 --top 5" "recall 2"; do
        printf '\n'
        # shellcheck disable=SC2086
        "$online_recall" show $look --store $store
    done
    cat <<END

Run it again: nothing is counted twice. Then look around, or take files of your own:

  $online_recall show job --store $store
  $online_recall export --store $store --out var/export
  ./run.sh replay clicks.log --articles articles.log --similar similar.tsv --store var/mine
  $online_recall --help
END
}

# ---- test ---------------------------------------------------------------------------------------

passed=0 failed=0 failures=()

# level NAME COUNTER COMMAND…: runs a level. COUNTER reads its log and says: PASSED FAILED. A level
# that fails without a failed test of its own counts as one.
level() {
    local name=$1 counter=$2 log status=0 good bad
    shift 2
    say ""
    say "==> $name: $*"
    log=$(mktemp)
    "$@" 2>&1 </dev/null | tee "$log" >&2 || status=$?
    read -r good bad < <("$counter" "$status" <"$log")
    [[ $status -eq 0 || $bad -gt 0 ]] || bad=1
    [[ $bad -eq 0 ]] || failures+=("==> $name"$'\n'"$(failures_of <"$log")")
    rm -f "$log"
    passed=$((passed + good)) failed=$((failed + bad))
}

# What failed, and why: of cargo's tests what each has printed, of others the end.
failures_of() {
    awk '/^failures:$/ { shows = 1 } shows { shown = shown $0 "\n" } /^test result/ { shows = 0 }
        { last[NR % 60] = $0 }
        END {
            if (shown != "") { printf "%s", shown; exit }
            for (line = NR > 60 ? NR - 59 : 1; line <= NR; line++) print last[line % 60]
        }'
}

# unittest: `Ran 12 tests in 0.5s`, then `OK` or `FAILED (failures=1, errors=2)`.
count_unittest() {
    awk '/^Ran [0-9]+ tests? in/ { ran = $2 }
        /^(OK|FAILED)/ {
            while (match($0, /(failures|errors|skipped)=[0-9]+/)) {
                split(substr($0, RSTART, RLENGTH), pair, "=")
                if (pair[1] == "skipped") skipped += pair[2]; else bad += pair[2]
                $0 = substr($0, RSTART + RLENGTH)
            }
        }
        END { print ran - bad - skipped, bad + 0 }'
}

# cargo: `test result: ok. 12 passed; 0 failed; …` for every program of tests.
count_cargo() {
    sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' |
        awk '{ good += $1; bad += $2 } END { print good + 0, bad + 0 }'
}

# fuzz/run: `3 found nothing, 1 found something`.
count_fuzzers() {
    sed -nE 's/^([0-9]+) found nothing, ([0-9]+) found something$/\1 \2/p' | { grep . || echo 0 0; }
}

# Makes sure of what the servers of tests run on, and the libraries of the site's readers.
need_servers() {
    local name
    for name in kafka hbase hdfs flume redis; do "stack/$name" need || return 1; done
    testing/readers/python >/dev/null
    # Certificates of tests, and lines that are cut.
    command -v openssl >/dev/null || install_packages openssl openssl
    command -v ip >/dev/null || install_packages ip iproute2
    # Packets that are lost.
    command -v nft >/dev/null || install_packages nft nftables
}

test_all_levels() {
    local seconds=60
    case ${1-} in
    "") ;;
    --all)
        export ONLINE_RECALL_TEST_ALL=1
        seconds=600
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    need python3
    # Downloads take as long as the build: both at once. A test that starts a server first does it itself.
    need_servers &
    local servers=$! cargo_test=(cargo test --release --locked --workspace --features failpoints)
    level "the oracle" count_unittest python3 -m unittest discover fixtures
    # What cannot be built says so in the level.
    "${cargo_test[@]}" --no-run >&2 || true
    wait "$servers" || say "the servers that tests need cannot all be had; see above"
    level "the program" count_cargo "${cargo_test[@]}" --no-fail-fast
    level "what others send, fuzzed" count_fuzzers fuzz/run $seconds
    [[ ${1-} != --all ]] || long_levels
    # Again, where it is found: after all the rest.
    if [[ $failed -gt 0 ]]; then printf '\n%s\n' "${failures[@]}" >&2; fi
    say ""
    echo "$passed passed, $failed failed"
    [[ $failed -eq 0 ]]
}

# What takes its time: what servers of tests must be able to do, and records that travel as the feature
# abomonation has them, also with debug assertions.
long_levels() {
    local travels=(--locked --no-fail-fast --package dataflows --features abomonation)
    level "the real servers" count_unittest python3 stack/test.py
    level "abomonation, with debug assertions" count_cargo cargo test "${travels[@]}"
    level "abomonation, released" count_cargo cargo test --release "${travels[@]}"
    level "abomonation, between processes" count_cargo \
        cargo test --release --locked --features failpoints,abomonation --test live -- cluster::several
}

# ---- soak ---------------------------------------------------------------------------------------

soak() {
    [[ $# -eq 2 && $1 = --minutes && $2 =~ ^[1-9][0-9]*$ ]] || { usage >&2; exit 2; }
    need python3
    need_servers
    ONLINE_RECALL_SOAK_MINUTES=$2 cargo test --release --locked --features failpoints --test live -- \
        --ignored --exact storm::soak --nocapture
}

# ---- check --------------------------------------------------------------------------------------

check() {
    need python3
    local part
    for part in fmt clippy; do
        if ! cargo "$part" --version >/dev/null 2>&1; then
            command -v rustup >/dev/null ||
                die "missing: cargo $part (rustup component add rustfmt clippy; rustup: https://rustup.rs)"
            rustup component add rustfmt clippy >&2
        fi
    done
    say "==> format"
    cargo fmt --all --check
    say "==> lints"
    cargo clippy --release --locked --workspace --all-targets --features failpoints -- --deny warnings
    cargo clippy --release --locked --package dataflows --all-targets --features abomonation -- --deny warnings
    say "==> documentation"
    RUSTDOCFLAGS="--deny warnings" cargo doc --release --locked --no-deps --workspace --document-private-items
    say "==> dependencies"
    python3 .ci/dependencies.py
    say "==> documents"
    python3 .ci/documents.py
    if cargo deny --version >/dev/null 2>&1; then
        cargo deny --locked check
    else
        say "advisories: skipped, cargo-deny is not installed (cargo install cargo-deny)"
    fi
}

# ---- stack --------------------------------------------------------------------------------------

servers=(kafka redis hbase hdfs kafka-tls redis-cluster)

# Sets `script` to the command that NAME means, with its folder, port and kind.
find_script() {
    local port=${1^^}_PORT
    port=${port//-/_}
    script=(env "DATA=${STACK_DATA:-var/stack}/$1" "PORT=${!port-}" TLS=0 CLUSTER=0)
    case $1 in
    kafka-tls) script+=(TLS=1) ;;
    redis-cluster) script+=(CLUSTER=1) ;;
    esac
    script+=("stack/${1%%-*}")
}

stack() {
    local command=${1-} script name starts=() failed=0 part address pid state
    [[ $# -eq 0 ]] || shift
    for name in "$@"; do
        [[ " ${servers[*]} " = *" $name "* ]] || die "there is no server $name; there is: ${servers[*]}"
    done
    case $command in
    up)
        [[ $# -gt 0 ]] || set -- kafka redis hbase hdfs
        trap 'kill "${starts[@]}"; exit 130' INT TERM
        for name in "$@"; do
            find_script "$name"
            "${script[@]}" start &
            starts+=($!)
        done
        for pid in "${starts[@]}"; do wait "$pid" || failed=1; done
        return $failed
        ;;
    down)
        [[ $# -gt 0 ]] || set -- "${servers[@]}"
        for name in "$@"; do
            find_script "$name"
            "${script[@]}" stop
        done
        ;;
    status)
        [[ $# -gt 0 ]] || set -- "${servers[@]}"
        printf '%-14s %-10s %-16s %8s  %s\n' server part address pid state
        for name in "$@"; do
            find_script "$name"
            while IFS=$'\t' read -r part address pid state; do
                printf '%-14s %-10s %-16s %8s  %s\n' "$name" "$part" "$address" "$pid" "$state"
            done < <("${script[@]}" status)
        done
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
}

# -------------------------------------------------------------------------------------------------

command=${1-}
[[ $# -eq 0 ]] || shift
case $command in
replay) replay "$@" ;;
test) test_all_levels "$@" ;;
check) check ;;
soak) soak "$@" ;;
bench)
    build python3
    if [[ ${1-} = live || ${1-} = collector ]]; then
        PYTHONPATH=benches exec python3 -m "$@"
    fi
    if [[ ${1-} = codec ]]; then
        shift
        exec python3 benches/codec.py "$@"
    fi
    exec python3 benches/run.py "$@"
    ;;
stack) stack "$@" ;;
-h | --help | help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
