"""How many records a second, stage by stage; and the original job's shape beside."""

import json
import subprocess
import sys
import time
import venv
from typing import NamedTuple

from live.job import Job, Sample
from live.servers import CACHE

WORKERS = (1, 2)
PACKAGES = ("kafka-python==3.0.12", "happybase==1.3.0", "redis==8.1.0")


class Stage(NamedTuple):
    """One run of a stage."""

    records: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int | None
    servers: dict


class Rate(NamedTuple):
    """Hits a second, and calls of HBase, between two moments of a run."""

    hits: float
    seconds: float
    calls: float
    misses: float
    cpu_seconds: float
    servers: dict

    @property
    def rate(self):
        return self.hits / self.seconds

    @property
    def calls_a_hit(self):
        return self.calls / self.hits


def between(first, last):
    """What was done from one sample to another."""
    def grown(name):
        return last.sum(name) - first.sum(name)

    servers = {part: last.servers[part] - used for part, used in first.servers.items()}
    return Rate(
        last.hits_done - first.hits_done, last.time - first.time, grown("hbase_requests_total"),
        grown("cache_misses_total"), last.cpu_seconds - first.cpu_seconds, servers,
    )  # fmt: skip


def consume(bench, how):
    """A bare consumer, or one that decodes besides, from start to end of its process."""
    before, begun = bench.servers.cpu_seconds(), time.monotonic()
    done = subprocess.run(
        [bench.programs["consume"], how, bench.servers.address("kafka"), "clicks", "articles", str(bench.records)],
        check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    seconds, after = time.monotonic() - begun, bench.servers.cpu_seconds()
    used = {part: after[part] - before[part] for part in before}
    return Stage(bench.records, seconds, json.loads(done.stdout)["cpu_seconds"], None, used)


def scores(bench, workers, name, processes=1):
    """Hot and new to Redis, from the start of the process until all is visible."""
    bench.servers.empty_redis()
    before = bench.servers.cpu_seconds()
    with Job(bench.program, bench.servers, name, "clicks", "articles", ["hot", "new"]) as job:
        end = job.start(workers, processes).wait_for(bench.records)
        return stage(job, before, end)


def everything(bench, workers, name):
    """All of it, with HBase; and what the second half took, in which histories are known."""
    bench.servers.empty_redis()
    with Job(bench.program, bench.servers, name, "clicks", "articles", ["hot", "new", "recall"]) as job:
        job.make_tables(history=bench.inputs["history.tsv"])
        before = bench.servers.cpu_seconds()
        job.start(workers)
        # Beyond the middle: partitions are not read evenly.
        known = job.wait_for(round(0.6 * bench.records), done=False, tell=bench.say)
        end = job.wait_for(bench.records, tell=bench.say)
        return stage(job, before, end), between(known, end)


def strangers(bench, name):
    """Hits of users who come once each, from the start of the process until all are visible."""
    bench.servers.empty_redis()
    with Job(bench.program, bench.servers, name, "strangers", "nothing", ["hot", "new", "recall"]) as job:
        job.make_tables(history=bench.inputs["strangers.tsv"])
        begun = Sample(time.monotonic(), {}, 0, bench.servers.cpu_seconds())
        return between(begun, job.start().wait_for(bench.inputs.known, tell=bench.say))


def stage(job, before, end):
    used = {part: end.servers[part] - before[part] for part in before}
    return Stage(int(end.records), end.time - job.begun, end.cpu_seconds, job.peak_bytes(), used)


class Original:
    """The original job's shape, and the environment in which it runs."""

    def __init__(self):
        folder = CACHE.parent / "original"
        self.python = folder / "bin" / "python"
        marker = folder / "packages"
        if not marker.exists() or marker.read_text().split() != list(PACKAGES):
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([self.python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stdout=sys.stderr)
            marker.write_text("\n".join(PACKAGES))

    def run(self, bench, name, topic, begin, seconds, history):
        """Hits a second of so many seconds, with tables of its own."""
        bench.servers.empty_redis()
        with Job(bench.program, bench.servers, name, topic, "nothing", ["hot", "recall"]) as job:
            job.make_tables(history=history)
            document = {
                "kafka": bench.servers.address("kafka"), "redis": bench.servers.address("redis"),
                "thrift": bench.servers.address("hbase"), "topic": topic, "from": begin, "seconds": seconds,
                "cb_recall": job.cb_recall, "history_recall": f"history_recall_{name}",
            }  # fmt: skip
            before = bench.servers.cpu_seconds()
            program = [self.python, __file__.replace("stages.py", "original.py"), json.dumps(document)]
            done = subprocess.run(program, check=True, stdout=subprocess.PIPE)
            after = bench.servers.cpu_seconds()
        printed = json.loads(done.stdout)
        used = {part: after[part] - before[part] for part in before}
        return Rate(printed["hits"], printed["seconds"], printed["calls"], 0, 0, used)
