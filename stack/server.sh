# A server on loopback: its settings, its processes, its commands. The script of each server sources
# this, describes itself, and ends with `main "$@"`. It describes itself by
#
#   settings NAME=DEFAULT…   its variables, among them PORT
#   parts                    array: its processes, in the order of starting
#   need_programs            makes sure of what it runs on
#   ports_of PART            prints the ports on which PART listens; the first is for clients
#   prepare                  writes what must be in DATA before anything runs; harmless to repeat
#   launch PART              calls `detach PART COMMAND…`; one argument of it is `mark PART`
#   answers PART…            whether these parts, which run, do what they are for
#   tool CLASS ARGS…         (servers in Java) runs a command line tool of the server's own
#
# shellcheck shell=bash
set -euo pipefail

server=$(basename "$0")
stack=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=.ci/install.sh
. "$stack/../.ci/install.sh"

usage() {
    local name
    cat <<END_OF_USAGE
usage: stack/$server start|stop|kill|status [PART…]
       stack/$server need
       stack/$server tool CLASS [ARGS…]      (servers in Java)

  start    starts what does not run yet, on the data that is there; returns when it is ready
  stop     ends it in order and waits until it is gone
  kill     the same by SIGKILL, as a crash would
  need     makes sure of what it runs on, and downloads it; starts nothing
  status   PART, address, pid and state, a line each; ends with 0 if all are ready

PARTs: ${parts[*]}. Variables, as they are now; stack/README.md says what they mean:

  DATA=$DATA
  START_SECONDS=$START_SECONDS
END_OF_USAGE
    for name in "${names[@]}"; do printf '  %s=%s\n' "$name" "${!name}"; done
}

# ---- Settings -----------------------------------------------------------------------------------

DATA=${DATA:-$stack/../var/stack/$server}
START_SECONDS=${START_SECONDS:-120}
names=()

# settings NAME=DEFAULT…: the environment's value, else that of the first start, else the default.
settings() {
    # One name for the folder, however it was spelled: processes are known by it.
    DATA=$(realpath --canonicalize-missing -- "$DATA")
    local setting name first
    for setting in "$@"; do
        name=${setting%%=*}
        first=$(sed -n "s/^$name=//p" "$DATA/settings" 2>/dev/null) || true
        names+=("$name")
        printf -v "$name" %s "${!name:-${first:-${setting#*=}}}"
    done
}

remember_settings() {
    local name
    for name in "${names[@]}"; do printf '%s=%s\n' "$name" "${!name}"; done >"$DATA/settings.tmp"
    mv "$DATA/settings.tmp" "$DATA/settings"
}

# ---- Sockets ------------------------------------------------------------------------------------

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# await_free PORT: what was killed a moment ago may hold its port a little longer than its arguments.
await_free() {
    local deadline=$((SECONDS + 5))
    while listens "$1"; do
        ((SECONDS < deadline)) || die "port $1 is taken; set PORT to the first of others"
        sleep 0.1
    done
}

# ask PORT FORMAT COUNT: sends FORMAT, as printf writes it; prints COUNT bytes of the reply as numbers.
ask() {
    # shellcheck disable=SC2059
    { printf "$2" >&3 && timeout 2 head -c "$3" <&3 | od -An -v -tu1; } 3<>"/dev/tcp/127.0.0.1/$1"
} 2>/dev/null

# ---- Processes ----------------------------------------------------------------------------------

declare -A launched=()

# mark PART: the argument by which the process of PART is known to be this folder's.
mark() { printf '%s' "-Dpart=$DATA/$1"; }

# running PART: whether the pid in DATA is a process, and that process is PART of this folder. A process
# that ended and was not waited for has no arguments left.
running() {
    local pid
    pid=$(cat "$DATA/$1.pid" 2>/dev/null) && [[ -n $pid ]] &&
        grep --quiet --null-data --fixed-strings --line-regexp -- "$(mark "$1")" "/proc/$pid/cmdline" 2>/dev/null
}

# detach PART COMMAND…: starts it in a session of its own: log in DATA/PART.log, pid in DATA/PART.pid.
detach() {
    local part=$1
    shift
    [[ ! -e $DATA/$part.log ]] || mv "$DATA/$part.log" "$DATA/$part.log.1"
    (
        # Written before the server is there: no server runs that its folder does not know.
        echo "$BASHPID" >"$DATA/$part.pid"
        cd "$DATA"
        exec setsid "$@" </dev/null >"$DATA/$part.log" 2>&1 9>&-
    ) &
    launched[$part]=$!
}

# end SIGNAL PART…: signals all, then waits until all are gone.
end() {
    local signal=$1 part deadline=$((SECONDS + 30))
    shift
    for part in "$@"; do
        ! running "$part" || kill -s "$signal" "$(cat "$DATA/$part.pid")" 2>/dev/null || true
    done
    for part in "$@"; do
        while running "$part"; do
            if ((SECONDS > deadline)); then
                say "$server: $part is not gone after 30 s of SIG$signal, killed"
                kill -s KILL "$(cat "$DATA/$part.pid")" 2>/dev/null || true
                deadline=$((SECONDS + 30))
            fi
            sleep 0.05
        done
        rm -f "$DATA/$part.pid"
    done
}

# Ends what this start has launched: a start that fails leaves nothing behind.
abandon() {
    local part
    for part in "${!launched[@]}"; do
        kill -s KILL "${launched[$part]}" 2>/dev/null || true
        wait "${launched[$part]}" 2>/dev/null || true
        rm -f "$DATA/$part.pid"
    done
}

not_ready() {
    say "$server: $1 $2; the end of $DATA/$1.log:"
    tail -n 20 "$DATA/$1.log" >&2 || true
    exit 1
}

# ---- Commands -----------------------------------------------------------------------------------

# One command at a time changes a folder.
lock() {
    exec 9>"$DATA/lock"
    flock --wait 600 9 || die "another command is at work in $DATA"
}

start() {
    local part port deadline up=()
    need_programs
    mkdir -p "$DATA"
    lock
    trap abandon EXIT
    trap 'exit 130' INT TERM HUP PIPE
    for part in "$@"; do
        running "$part" || for port in $(ports_of "$part"); do
            await_free "$port"
        done
    done
    prepare
    remember_settings
    for part in "$@"; do
        running "$part" || launch "$part"
    done
    for part in "${parts[@]}"; do
        if [[ -n ${launched[$part]-} ]] || running "$part"; then up+=("$part"); fi
    done
    deadline=$((SECONDS + START_SECONDS))
    until answers "${up[@]}"; do
        for part in "${!launched[@]}"; do
            kill -0 "${launched[$part]}" 2>/dev/null || not_ready "$part" "has ended"
        done
        if ((SECONDS >= deadline)); then
            for part in "${up[@]}"; do answers "$part" || break; done
            not_ready "$part" "is not ready after $START_SECONDS s"
        fi
        sleep 0.1
    done
    trap - EXIT
    for part in "$@"; do
        printf '%s: %s is ready on %s, pid %s\n' "$server" "$part" "$(address "$part")" "$(cat "$DATA/$part.pid")"
    done
}

address() {
    local port
    read -r port _ <<<"$(ports_of "$1")"
    printf '127.0.0.1:%s' "$port"
}

status() {
    local part pid state all=0
    for part in "$@"; do
        pid=- state=stopped
        if running "$part"; then
            pid=$(cat "$DATA/$part.pid")
            state=ready
            answers "$part" || state=silent
        elif [[ -e $DATA/$part.pid ]]; then
            state=died
        fi
        [[ $state = ready ]] || all=1
        printf '%s\t%s\t%s\t%s\n' "$part" "$(address "$part")" "$pid" "$state"
    done
    return $all
}

# choose PART…: sets `chosen` to these parts, or to all.
choose() {
    local part
    chosen=("$@")
    [[ $# -gt 0 ]] || chosen=("${parts[@]}")
    for part in "${chosen[@]}"; do
        [[ " ${parts[*]} " = *" $part "* ]] || die "there is no part $part; there is: ${parts[*]}"
    done
}

main() {
    local command=${1-} chosen=()
    [[ $# -eq 0 ]] || shift
    case $command in
    start | status)
        choose "$@"
        "$command" "${chosen[@]}"
        ;;
    stop | kill)
        choose "$@"
        [[ -d $DATA ]] || return 0
        lock
        if [[ $command = stop ]]; then end TERM "${chosen[@]}"; else end KILL "${chosen[@]}"; fi
        ;;
    need) need_programs ;;
    tool)
        declare -F tool >/dev/null || die "there are no tools; redis-cli -p $PORT is one"
        need_programs
        tool "$@"
        ;;
    -h | --help | help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
}
