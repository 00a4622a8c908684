"""How long a record takes until it is visible, while others come at a rate that does not wait."""

import json
import subprocess
from typing import NamedTuple

from live.job import Job

PROBES_A_SECOND = 100
# The first probe of each user brings its history into the cache; some more seconds, until all is as ever.
WARM_SECONDS = 4
INTERVAL = "20ms"


class Latency(NamedTuple):
    """What probes took, at one rate, in milliseconds, sorted; probes that were never seen are infinite."""

    rate: int
    redis: list
    hbase: list
    late: float
    calls_a_hit: float


def quantile(sorted_values, share):
    """The value below or at which this share lies."""
    return sorted_values[max(0, min(len(sorted_values) - 1, round(share * len(sorted_values)) - 1))]


def latencies(bench, rates, seconds, name="latency"):
    """All rates, one after another, with one job whose histories are known beforehand."""
    bench.servers.empty_redis()
    all_of_them = []
    clicks = f"clicks_{name}"
    bench.make_topic(clicks)
    half = bench.inputs.clicks // 2
    with Job(bench.program, bench.servers, name, clicks, "nothing", ["hot", "new", "recall"], INTERVAL) as job:
        job.make_tables(history=bench.inputs["history.tsv"])
        job.start()
        bench.say(f"{half:,} clicks first, that histories are known")
        bench.produce(clicks, first=half)
        sent, first = half, 0
        job.wait_for(sent, tell=bench.say)
        probes = (seconds + WARM_SECONDS) * PROBES_A_SECOND
        for rate in rates:
            bench.say(f"{rate:,} records/s for {seconds + WARM_SECONDS} s")
            before = job.sample()
            arguments = [
                bench.servers.address("kafka"), clicks, bench.servers.address("redis"),
                bench.servers.address("hbase"), job.cb_recall, rate, first, probes,
                bench.inputs["clicks.log"], sent,
            ]  # fmt: skip
            done = subprocess.run(
                [bench.programs["latency"], *map(str, arguments)], check=True, stdout=subprocess.PIPE
            )
            printed = json.loads(done.stdout)
            sent, first = sent + printed["records"], first + probes
            after = job.wait_for(sent, tell=bench.say)
            calls = after.sum("hbase_requests_total") - before.sum("hbase_requests_total")
            hits = after.sum("records_total", outcome="hit") - before.sum("records_total", outcome="hit")
            all_of_them.append(
                Latency(rate, waits(printed, "redis"), waits(printed, "hbase"), printed["late"], calls / hits)
            )
        job.stop()
    return all_of_them


def waits(printed, where):
    """What the probes took that count."""
    pairs = list(zip(printed["due"], printed[where]))[WARM_SECONDS * PROBES_A_SECOND :]
    return sorted(float("inf") if seen is None else seen - due for due, seen in pairs)


def probes_of(rates, seconds):
    """How many probes that needs."""
    return len(rates) * (seconds + WARM_SECONDS) * PROBES_A_SECOND
