"""The servers of the bench: on ports and in folders of their own, and what they take."""

import os
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "target" / "bench" / "live"
STACK = ROOT / "stack"
TICKS = os.sysconf("SC_CLK_TCK")
# Each server's script, and its processes.
PARTS = {"kafka": ["broker"], "redis": ["redis"], "hbase": ["hbase", "thrift"], "hdfs": ["namenode", "datanode"]}
# Servers as sites run them: compiled for speed, and with Java's default collector. That of stack/ starts sooner, and
# lets HBase stand still for most of a second when it collects everything.
JAVA_OPTS = "-XX:TieredStopAtLevel=4 -XX:-UseSerialGC -XX:+UseG1GC"


class Servers:
    """Servers of these names, each new; gone with their data when the block ends."""

    def __init__(self, names=("kafka", "redis", "hbase")):
        self.folder = CACHE / "servers"
        base = free_ports(50)
        self.ports = {name: base + 10 * nth for nth, name in enumerate(names)}
        self.http = base + 40

    def __enter__(self):
        self.end()
        try:
            starts = [(name, self._script(name, "start")) for name in self.ports]
            for name, start in starts:
                if start.wait() != 0:
                    raise SystemExit(f"{name} does not start")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """Ends what runs in the folder, also of a bench that was killed, and removes it."""
        for name in self.ports:
            if (self.folder / name).exists():
                self.must(name, "kill")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _script(self, name, *arguments, **more):
        variables = {"DATA": str(self.folder / name), "PORT": str(self.ports[name]), "JAVA_OPTS": JAVA_OPTS}
        command = [STACK / name, *map(str, arguments)]
        return subprocess.Popen(command, env=os.environ | variables, **{"stdout": subprocess.DEVNULL} | more)

    def must(self, name, *arguments):
        """Runs a command of a server's script."""
        status = self._script(name, *arguments).wait()
        if status != 0:
            raise SystemExit(f"stack/{name} {' '.join(arguments)} has failed: {status}")

    def tool(self, class_name, *arguments, **more):
        """Starts a program of Kafka's own."""
        return self._script("kafka", "tool", class_name, *arguments, **more)

    def address(self, name):
        """Where clients reach a server."""
        return f"127.0.0.1:{self.ports[name]}"

    def cpu_seconds(self):
        """What each process of each server has used so far; nothing of one that was killed."""
        used = {}
        for name in self.ports:
            for part in PARTS[name]:
                try:
                    used[part] = cpu_seconds((self.folder / name / f"{part}.pid").read_text().strip())
                except FileNotFoundError:
                    used[part] = 0.0
        return used

    def empty_redis(self):
        """Removes all that stands in Redis: each job that is measured begins on its first day."""
        with socket.create_connection(("127.0.0.1", self.ports["redis"]), timeout=60) as redis:
            redis.sendall(b"FLUSHALL\r\n")
            answer = redis.recv(64)
        if not answer.startswith(b"+OK"):
            raise SystemExit(f"Redis is not emptied: {answer}")


def cpu_seconds(pid):
    """What a process has used so far, all threads, user and system."""
    # The name of the program, in parentheses, may hold anything: fields are counted behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_bytes(pid):
    """The largest resident set that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def free_ports(count):
    """The first of so many ports in a row on which nobody listens."""
    for base in range(21_000, 31_000, count):
        if all(is_free(port) for port in range(base, base + count)):
            return base
    raise SystemExit("there are no free ports")


def is_free(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def get(port, path):
    """The answer over HTTP, or None while there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode()
    except OSError:  # nobody listens yet, or it says that it is not ready
        return None
