"""What the job takes of memory when users are many or HBase is away, and of the processor when nothing comes."""

import time
from typing import NamedTuple

from live.job import Job


class Outage(NamedTuple):
    """What was seen of an outage of HBase."""

    peak_bytes: int
    before_bytes: int
    away_seconds: float
    after_seconds: float
    retries: float


def outage(bench, away, name="outage"):
    """HBase is killed while the job catches up with all clicks, and comes back; all is done in the end."""
    bench.servers.empty_redis()
    with Job(bench.program, bench.servers, name, "clicks", "articles", ["hot", "new", "recall"]) as job:
        job.make_tables(history=bench.inputs["history.tsv"])
        job.start()
        job.wait_for(bench.records // 10, done=False)
        before = job.peak_bytes()
        bench.servers.must("hbase", "kill")
        begun = time.monotonic()
        while time.monotonic() - begun < away:
            job.sample()  # it goes on
            time.sleep(1)
        at_the_end = job.sample()
        if at_the_end.records >= bench.records:
            raise SystemExit("the outage came too late: everything was done before")
        bench.servers.must("hbase", "start")
        back = time.monotonic()
        end = job.wait_for(bench.records, tell=bench.say)
        seen = Outage(
            job.peak_bytes(), before, back - begun, end.time - back, end.sum("retries_total", peer="hbase")
        )
        job.stop()
    if not seen.retries:
        raise SystemExit("HBase was never away for the job")
    return seen


def strangers(bench, name="many"):
    """The peak of memory after that many users, each of whom came once."""
    bench.servers.empty_redis()
    with Job(bench.program, bench.servers, name, "crowd", "nothing", ["hot", "new", "recall"]) as job:
        job.make_tables()
        job.start().wait_for(bench.inputs.strangers, tell=bench.say)
        peak = job.peak_bytes()
        job.stop()
    return peak


def idle(bench, seconds, name="idle"):
    """The share of a core that the job takes when nothing comes."""
    bench.servers.empty_redis()
    with Job(bench.program, bench.servers, name, "nothing", "nothing_new", ["hot", "new", "recall"]) as job:
        job.make_tables()
        job.start().wait_ready()
        time.sleep(2)  # what a start has left to do
        first = job.sample()
        time.sleep(seconds)
        last = job.sample()
        job.stop()
    return (last.cpu_seconds - first.cpu_seconds) / (last.time - first.time)
