"""The job under measurement: its configuration, its process, the numbers that it tells."""

import json
import os
import shutil
import signal
import subprocess
import time
from typing import NamedTuple

from live.servers import CACHE, cpu_seconds, get, peak_bytes

EPOCH_RECORDS = 10_000
# How often it is looked whether a job has come to where it is measured.
PAUSE = 0.02


class Sample(NamedTuple):
    """What stands at a moment: of the job, and of the servers."""

    time: float
    numbers: dict
    cpu_seconds: float
    servers: dict

    def sum(self, name, **labels):
        """The sum of a number over all its labels, or over those with these."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = (v for k, v in self.numbers.items() if k.partition("{")[0] == name and all(w in k for w in wanted))
        return sum(found)

    @property
    def records(self):
        return self.sum("records_total")

    @property
    def hits_done(self):
        """How many hits are done: of those that were counted, without what the epochs in flight hold.
        While a job catches up these are full."""
        counted = self.sum("records_total", outcome="hit")
        return counted * max(0.0, 1 - self.in_flight * EPOCH_RECORDS / max(1, self.records))

    @property
    def in_flight(self):
        """How many epochs are cut and not done."""
        return self.sum("epoch") - self.sum("epoch_mark")


class Job:
    """`online-recall run`, on the servers of the bench, with tables and names of its own."""

    def __init__(self, program, servers, name, clicks, articles, dataflows, interval="50ms"):
        self.program, self.servers, self.name = program, servers, name
        self.folder = CACHE / "jobs" / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.config = self.folder / "job.toml"
        self.cb_recall = f"cb_recall_{name}"
        self.config.write_text(f"""job = "{name}"
dataflows = {json.dumps(dataflows)}
[kafka]
clicks = "{clicks}"
articles = "{articles}"
[kafka.properties]
"bootstrap.servers" = "{servers.address("kafka")}"
[hbase]
thrift = ["{servers.address("hbase")}"]
tables = {{ similar = "article_similar", cb_recall = "{self.cb_recall}", history_recall = "history_recall_{name}" }}
[redis]
url = "redis://{servers.address("redis")}/10"
[epoch]
interval = "{interval}"
records = {EPOCH_RECORDS}
[dead_letters]
path = "{self.folder}/dead-letters"
[http]
listen = "127.0.0.1:{servers.http}"
""")
        self.process = None

    def run(self, *command):
        """Runs another command of the program with this job's configuration."""
        subprocess.run(
            [self.program, *map(str, command), "--config", self.config],
            check=True, stdout=subprocess.DEVNULL, env=os.environ | {"RUST_LOG": "warn"},
        )  # fmt: skip

    def make_tables(self, similar=None, history=None):
        self.run("tables", "create")
        for option, path in (("--similar", similar), ("--history", history)):
            if path is not None:
                self.run("tables", "load", option, path)

    def start(self, workers=1, processes=1):
        self.processes = processes
        command = ["run"] if processes == 1 else ["launch", "-n", str(processes)]
        with open(self.folder / "log", "wb") as log:
            self.begun = time.monotonic()
            self.process = subprocess.Popen(
                [self.program, *command, "--config", self.config, "-w", str(workers)],
                stderr=log, env=os.environ | {"RUST_LOG": "info"},
            )  # fmt: skip
        return self

    def sample(self):
        """What stands now, or None while the job does not answer yet."""
        status = self.process.poll()
        if status is not None:
            raise SystemExit(f"job {self.name} has ended by itself: {status}; {self.folder}/log says why")
        numbers = {}
        # Each process has a port of its own. How far the job is, the first one says.
        for nth in range(self.processes):
            text = get(self.servers.http + nth, "/metrics")
            if text is None:
                return None
            for line in text.splitlines():
                if line.startswith("online_recall_"):
                    name, _, number = line.removeprefix("online_recall_").rpartition(" ")
                    known = numbers.get(name, 0)
                    numbers[name] = known if nth > 0 and name in ("epoch", "epoch_mark") else known + float(number)
        used = sum(map(cpu_seconds, self.pids()))
        return Sample(time.monotonic(), numbers, used, self.servers.cpu_seconds())

    def pids(self):
        """Of all its processes that compute."""
        if self.processes == 1:
            return [self.process.pid]
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return children.read().split()

    def wait_ready(self):
        while get(self.servers.http, "/ready") is None:
            self.sample()
            time.sleep(PAUSE)

    def wait_for(self, records, done=True, tell=None):
        """Waits until so many records were counted since its start, and, if `done`, all are visible."""
        told = time.monotonic()
        while True:
            sample = self.sample()
            if sample and sample.records >= records and not (done and sample.in_flight):
                return sample
            if tell and sample and time.monotonic() - told > 30:
                told = time.monotonic()
                tell(f"{sample.records:,.0f} of {records:,} records")
            time.sleep(PAUSE)

    def peak_bytes(self):
        """Of the process that has the most."""
        return max(map(peak_bytes, self.pids()))

    def stop(self):
        """Ends it in order."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=120)
        if status != 0:
            raise SystemExit(f"job {self.name} has ended with {status}; {self.folder}/log says why")

    def kill(self):
        """Ends it at once: what it does is not wanted any more."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
