"""Measures the live job on real servers: Kafka, HBase and Redis, on this machine.

    ./run.sh bench live            everything, some rounds, medians; writes benches/RESULTS.md and pictures
    ./run.sh bench live --quick    little of everything, one round; writes nothing: does it all work?

Starts servers of its own by the scripts of stack/, and ends them. In turn, round after round:

    consume    a bare rdkafka consumer of both topics; the same and the job's decoder
    scores     `run` with hot and new, Kafka to Redis
    all        `run` with everything, HBase in the path; the part of it in which histories are known
    strangers  the same of users who come once: each history is read from HBase
    original   the replaced job's shape in Python, on the same topics
    tools      `produce` and `consume`, and Kafka's console tools

and once: the latency under three loads, a million users, an outage of HBase, kills of one process of four, and idling. All of it
needs a quiet machine. Everything is kept below target/bench/live; inputs are generated once.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from itertools import islice
from typing import NamedTuple

import report
from live import latency, memory, recovery, results, stages, tools
from live.inputs import Inputs
from live.servers import ROOT, Servers

PARTITIONS = 4


class Sizes(NamedTuple):
    """How much is measured."""

    clicks: int
    users: int
    strangers: int  # users who come once, to see what they take of memory
    known: int  # how many of them have a history in HBase: what a cold run reads
    lines: int
    rates: tuple
    rate_seconds: int
    original_seconds: int
    away_seconds: int
    idle_seconds: int
    kills: int  # of one process of a cluster


FULL = Sizes(4_000_000, 10_000, 1_000_000, 200_000, 1_000_000, (1_000, 10_000, 50_000), 30, 20, 300, 60, 8)
QUICK = Sizes(300_000, 750, 140_000, 20_000, 50_000, (1_000, 5_000), 4, 4, 10, 4, 2)


class Bench:
    """The servers, the programs as built, the inputs; and topics filled with them."""

    def __init__(self, servers, programs, inputs):
        self.servers, self.programs, self.inputs = servers, programs, inputs
        self.program = programs["online-recall"]
        self.records = inputs.clicks + inputs.articles
        self.begun = time.monotonic()

    def say(self, text):
        print(f"bench: {time.monotonic() - self.begun:5.0f} s  {text}", file=sys.stderr, flush=True)

    def make_topic(self, topic):
        # Records may carry timestamps of any day, and none is to be forgotten.
        ever = 2**63 - 1
        settings = ["--setting", "retention.ms=-1", "--setting", f"message.timestamp.before.max.ms={ever}"]
        settings += ["--setting", f"message.timestamp.after.max.ms={ever}"]
        server = ["--bootstrap-server", self.servers.address("kafka")]
        command = [self.program, "topics", "create", topic, "--partitions", str(PARTITIONS), *settings, *server]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def produce(self, topic, name="clicks.log", first=None):
        """Sends a file, or so many lines of it, by the program's own `produce`."""
        server = ["--bootstrap-server", self.servers.address("kafka")]
        command = [self.program, "produce", topic, *server]
        if first is None:
            subprocess.run([*command, self.inputs[name]], check=True)
            return
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        with open(self.inputs[name], "rb") as lines, process.stdin as pipe:
            pipe.writelines(islice(lines, first))
        if process.wait() != 0:
            raise SystemExit(f"produce has failed: {process.returncode}")

    def fill(self):
        """Makes and fills the topics that all share."""
        for topic in ("clicks", "articles", "crowd", "strangers", "nothing", "nothing_new"):
            self.make_topic(topic)
        self.say("producing")
        self.produce("clicks", "clicks.log")
        self.produce("articles", "articles.log")
        self.produce("crowd", "strangers.log")
        self.produce("strangers", "strangers.log", first=self.inputs.known)
        self.say("loading the table of similar articles")
        with stages.Job(self.program, self.servers, "tables", "nothing", "nothing_new", ["recall"]) as job:
            job.make_tables(similar=self.inputs["similar.tsv"])


def build():
    """Builds what is measured; returns the paths of the programs, by name."""
    command = ["cargo", "build", "--release", "--locked", "--bin", "online-recall", "--bench", "consume"]
    command += ["--bench", "latency", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    messages = map(json.loads, built.stdout.splitlines())
    return {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}


def measure_rounds(bench, sizes, original, rounds):
    """The runs of each thing, by name, taken in turns."""
    runs = defaultdict(list)

    def note(name, what, run):
        bench.say(what)
        runs[name].append(run())
        bench.say(f"  {results.told(runs[name][-1])}")

    for number in range(1, rounds + 1):
        of = f"round {number} of {rounds}"
        note("consume", f"{of}: a bare consumer", lambda: stages.consume(bench, "bare"))
        note("decode", f"{of}: a consumer that decodes", lambda: stages.consume(bench, "decoded"))
        for workers in stages.WORKERS:
            title = f"{of}: hot and new, {workers} worker{'s' * (workers > 1)}"
            name = f"scores_{number}_{workers}"
            note(("scores", workers), title, lambda: stages.scores(bench, workers, name))
        title = f"{of}: hot and new, 2 processes of 1 worker"
        note(("scores", "2 x 1"), title, lambda: stages.scores(bench, 1, f"scores_{number}_2x1", processes=2))
        for workers in stages.WORKERS:
            bench.say(f"{of}: everything, {workers} worker{'s' * (workers > 1)}")
            whole, warm = stages.everything(bench, workers, f"all_{number}_{workers}")
            runs["all", workers].append(whole)
            runs["warm", workers].append(warm)
            bench.say(f"  {results.told(whole)}; histories known: {results.told(warm)}")
        seconds = sizes.original_seconds
        title = f"{of}: the original's shape, for {seconds} s"
        note(
            "original warm", title,
            lambda: original.run(bench, f"original_{number}", "clicks", 0.6, seconds, bench.inputs["history.tsv"]),
        )  # fmt: skip
        note(
            "cold", f"{of}: everything, of strangers",
            lambda: stages.strangers(bench, f"strangers_{number}"),
        )  # fmt: skip
        note(
            "original cold", f"{title}, of strangers",
            lambda: original.run(bench, f"unknown_{number}", "strangers", 0, seconds, bench.inputs["strangers.tsv"]),
        )  # fmt: skip
        note("produce", f"{of}: produce", lambda: tools.produce(bench, f"ours_{number}"))
        note("Kafka's produce", f"{of}: Kafka's own", lambda: tools.produce_by_kafka(bench, f"theirs_{number}"))
        note("consume lines", f"{of}: consume", lambda: tools.consume(bench, f"ours_{number}"))
        note("Kafka's consume", f"{of}: Kafka's own", lambda: tools.consume_by_kafka(bench, f"ours_{number}"))
    return runs


def measure_once(bench, sizes):
    bench.say("latency")
    latencies = latency.latencies(bench, sizes.rates, sizes.rate_seconds)
    bench.say(f"idle for {sizes.idle_seconds} s")
    idle = memory.idle(bench, sizes.idle_seconds)
    bench.say(f"{sizes.strangers:,} users who come once")
    many = memory.strangers(bench)
    bench.say("one process of four is killed")
    recoveries = recovery.recovery(bench, sizes.kills)
    bench.say(f"an outage of HBase for {sizes.away_seconds} s")
    return results.Once(latencies, idle, many, memory.outage(bench, sizes.away_seconds), recoveries)


def main():
    parser = argparse.ArgumentParser(
        prog="./run.sh bench live", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test, too small to judge by")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run [default: 3]")
    parser.add_argument("--clicks", type=int, help="how many clicks [default: 4,000,000]")
    given = parser.parse_args()
    sizes, rounds = (QUICK, 1) if given.quick else (FULL, given.rounds)
    if given.clicks:
        sizes = sizes._replace(clicks=given.clicks)

    programs, original, machine = build(), stages.Original(), report.Machine()
    print(f"bench: inputs of {sizes.clicks:,} clicks by {sizes.users:,} users", file=sys.stderr, flush=True)
    probes = latency.probes_of(sizes.rates, sizes.rate_seconds)
    inputs = Inputs(sizes.clicks, sizes.users, sizes.strangers, sizes.known, sizes.lines, probes)
    with Servers() as servers:
        bench = Bench(servers, programs, inputs)
        bench.fill()
        runs = measure_rounds(bench, sizes, original, rounds)
        once = measure_once(bench, sizes)
    results.check_same_work(runs)
    results.check_cold(runs)
    measured = results.Measured(results.figures(runs), once, sizes)
    print(results.tables(measured))
    print()
    print(results.judged(measured))
    if given.quick or given.clicks or rounds == 1:
        bench.say("not written: too little to judge by")
    else:
        results.write(measured, machine, rounds)


if __name__ == "__main__":
    main()
