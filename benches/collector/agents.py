"""Agents that are measured: ours and Flume's, from the same file, and seen through the same counters."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from live.servers import STACK, cpu_seconds, get

# As sites run it: compiled for speed, and with Java's default collector.
FLUME = {"MEMORY": "1g", "JAVA_OPTS": "-XX:TieredStopAtLevel=4 -XX:-UseSerialGC -XX:+UseG1GC"}


class Agent:
    """One agent, `a1`, in a folder of its own; gone with its data when the block ends."""

    def __init__(self, folder, port, text, hadoop=None):
        self.folder, self.port, self.hadoop = Path(folder), port, hadoop
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "agent.properties").write_text(text)

    def __enter__(self):
        self.begun = time.monotonic()
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def counters(self):
        """All of Flume's counters, by component; None while nobody answers."""
        answer = get(self.port, "/metrics")
        return answer and json.loads(answer)

    def count(self, component, name):
        counters = self.counters()
        return int(counters[component][name]) if counters and component in counters else 0

    def delivered(self, channel="c1"):
        """As a channel counts it: Flume's null sink counts nothing."""
        return self.count(f"CHANNEL.{channel}", "EventTakeSuccessCount")

    def wait_until_delivered(self, many, *channels):
        """Waits until so many were delivered from each channel, and no more."""
        for channel in channels or ("c1",):
            while (seen := self.delivered(channel)) < many:
                self.check()
                time.sleep(0.005)
            if seen != many:
                raise SystemExit(f"{channel} has delivered {seen:,} events of {many:,}")

    def rate(self, many):
        """Events a second, from the first that are seen to be delivered to the last."""
        while (first := self.delivered()) == 0:
            self.check()
            time.sleep(0.002)
        begun = time.monotonic()
        self.wait_until_delivered(many)
        return (many - first) / (time.monotonic() - begun)

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def anonymous_bytes(self):
        """Its own memory: what is not a file's."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


class Ours(Agent):
    """Our agent."""

    name = "ours"

    def __init__(self, program, *rest, **more):
        super().__init__(*rest, **more)
        self.program = program

    def start(self):
        monitoring = ["-Dflume.monitoring.type=http", f"-Dflume.monitoring.port={self.port}"]
        command = [self.program, "collect", "-f", "agent.properties", "-n", "a1", *monitoring]
        variables = {"HOME": str(self.folder), "RUST_LOG": "warn"}
        if self.hadoop:
            variables["HADOOP_CONF_DIR"] = str(self.hadoop)
        self.process = subprocess.Popen(command, cwd=self.folder, env=os.environ | variables)
        self.pid = self.process.pid

    def check(self):
        if self.process.poll() is not None:
            raise SystemExit(f"our agent has ended: {self.process.returncode}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Flume(Agent):
    """Flume's."""

    name = "Flume"

    def _script(self, *arguments):
        variables = FLUME | {"DATA": str(self.folder), "PORT": str(self.port)}
        if self.hadoop:
            variables["HADOOP_CONF"] = str(self.hadoop)
        command = [STACK / "flume", *arguments]
        return subprocess.run(command, env=os.environ | variables, stdout=subprocess.DEVNULL)

    def start(self):
        # It is up when its sources are: what they do before is not seen.
        if self._script("start").returncode != 0:
            raise SystemExit("Flume does not start")
        self.pid = (self.folder / "agent.pid").read_text().strip()

    def check(self):
        if not Path(f"/proc/{self.pid}").exists():
            raise SystemExit("Flume has ended")

    def stop(self):
        self._script("kill")
        # Of a process that was killed the threads end one after another, and the last one lets go of its ports.
        wait_until_free(self.port)


def wait_until_free(port):
    while True:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                return one.bind(("0.0.0.0", port))
            except OSError:
                time.sleep(0.05)


def send_by_flume(port, file, batch, passes):
    """Events a second of Flume's own client, pass after pass."""
    client = Path(__file__).with_name("Client.java")
    variables = FLUME | {"DATA": str(file.parent / "client")}
    command = [STACK / "flume", "tool", client, port, file, batch, passes]
    done = subprocess.run(
        list(map(str, command)), env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True
    )
    return [float(line) for line in done.stdout.split()]


def send_by_ours(program, port, file, batch):
    """Sends all lines of a file by our client."""
    to = ["-H", "127.0.0.1", "-p", str(port), "--batch-size", str(batch)]
    subprocess.run(
        [program, "avro-client", *to, "-F", file], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
