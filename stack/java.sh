# Servers in Java: the Java they run on and their jars. Sourced after server.sh.
#
# JAVA_OPTS comes after the options below: JAVA_OPTS=-XX:TieredStopAtLevel=4 is slower to start and
# faster under load.
# shellcheck shell=bash

cache=${STACK_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/online-recall/stack}
jvm=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true)
# shellcheck disable=SC2206
jvm+=(${JAVA_OPTS-})

# Sets JAVA_HOME to a Java 17, for Maven too: Hadoop and HBase use what later ones have closed.
find_java() {
    local home
    for home in "${JAVA_HOME-}" "$(dirname "$(dirname "$(realpath "$(command -v java)" 2>/dev/null)")")" /usr/lib/jvm/*; do
        if [[ -x $home/bin/java ]] && grep --quiet --no-messages '^JAVA_VERSION="17[."]' "$home/release"; then
            export JAVA_HOME=$home
            return 0
        fi
    done
    return 1
}

# Sets `jars` to the folder with the jars that jars/SERVER.xml lists. They are downloaded once; the
# folder bears the list's checksum, and has its name only when it is complete.
need_java_and_jars() {
    local list=$stack/jars/$server.xml
    find_java || {
        install_packages "Java 17" openjdk-17-jre-headless
        find_java || die "missing: Java 17; set JAVA_HOME"
    }
    jars=$cache/$server-$(sha256sum "$list" | cut -c1-12)
    [[ ! -d $jars ]] || return 0
    command -v mvn >/dev/null || install_packages Maven maven
    mkdir -p "$cache"
    # One download at a time: Maven's own repository is not made for two.
    exec 8>"$cache/lock"
    flock 8
    if [[ ! -d $jars ]]; then
        say "downloading the jars of $server to $jars"
        rm -rf "$jars.part"
        mvn --batch-mode --file "$list" -Dmaven.repo.local="$cache/maven" -Dto="$jars.part" validate >"$jars.log" 2>&1 || {
            tail -n 20 "$jars.log" >&2
            die "cannot download what $list lists; the log is $jars.log"
        }
        mv "$jars.part" "$jars"
    fi
    exec 8>&-
}

# run_java HEAP ARGS…
run_java() {
    local heap=$1
    shift
    "$JAVA_HOME/bin/java" "-Xmx$heap" "${jvm[@]}" "$@"
}

# launch_java PART HEAP ARGS…
launch_java() {
    local part=$1 heap=$2
    shift 2
    mkdir -p "$DATA/tmp"
    detach "$part" "$JAVA_HOME/bin/java" "$(mark "$part")" "-Xmx$heap" -Djava.io.tmpdir="$DATA/tmp" "${jvm[@]}" "$@"
}
