#!/usr/bin/env python3
"""Measures how fast the job is, and what it takes.

    run.py            everything, some rounds, medians; writes RESULTS.md and results.svg
    run.py --quick    a tenth of the records, one round; writes nothing: does it all work?

Measured are, each in turn, round after round:

    cost      the COST baseline (cost.rs): one plain thread that stores nothing
    alone     the dataflows alone (alone.rs): bytes of files in, effects counted
    apart     two such programs of one worker at once: as much as the cores give to two that share nothing
    replay    the program itself into an embedded store, every epoch durable
    start     a replay of 1,000 lines into a new store, from start to end of the process
    oracle    the oracle in Python, once

All read the same generated files. That they do the same work is checked by what they
count. Inputs are generated once and stay in target/bench; so do, for a moment, stores.
Needs a quiet machine, and nothing but Python's standard library.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import report

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
CACHE = ROOT / "target" / "bench"
STORE = CACHE / "store"
WORKERS = (1, 2)
STARTS_A_ROUND = 5
START_LINES = 1000
# The share of records that the baseline may take otherwise: odd ones, which are one in a thousand.
TOLERANCE = 1e-3


class Run(NamedTuple):
    """One run of a program."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    printed: dict


class Inputs:
    """Generated files of so many clicks."""

    def __init__(self, clicks, users):
        arguments = ["--seed", "1", "--clicks", str(clicks), "--users", str(users), "--garbage", "0.001"]
        generator = b"".join(path.read_bytes() for path in sorted(FIXTURES.glob("*.py")))
        version = hashlib.sha256(generator).hexdigest()[:8]
        self.clicks, self.users = clicks, users
        self.folder = CACHE / f"{clicks}-clicks-{users}-users-{version}"
        if not self.folder.exists():
            say(f"generating {clicks:,} clicks by {users:,} users")
            begun = self.folder.with_suffix(".begun")
            shutil.rmtree(begun, ignore_errors=True)
            generate = [sys.executable, FIXTURES / "generate.py", *arguments, "--out", begun]
            subprocess.run(generate, check=True)
            begun.rename(self.folder)
        self.plan = self.folder / "plan.json"
        self.at = json.loads(self.plan.read_text())["runs"][0]["at"]

    def __getitem__(self, name):
        return self.folder / name

    def first_clicks(self, count):
        """A file of the first so many clicks."""
        path = self.folder / f"first-{count}.log"
        with open(self["userClick.log"], "rb") as log:
            path.write_bytes(b"".join(itertools.islice(log, count)))
        return path


class Programs:
    """The programs that are measured, as built."""

    def __init__(self):
        build = ["cargo", "build", "--release", "--bin", "online-recall", "--bench", "alone", "--bench", "cost"]
        built = subprocess.run(
            [*build, "--message-format=json-render-diagnostics"],
            cwd=ROOT, check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        messages = map(json.loads, built.stdout.splitlines())
        paths = {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}
        self.program, self.alone, self.cost = (paths[n] for n in ("online-recall", "alone", "cost"))

    def run_cost(self, inputs):
        return by_its_own_clock(run(self.cost, *logs(inputs), inputs["similar.tsv"]))

    def run_alone(self, inputs, workers):
        return by_its_own_clock(run(self.alone, workers, *logs(inputs), inputs["similar.tsv"]))

    def run_apart(self, inputs):
        """Two programs at once, as one that has done the work of both; the slower one ends it."""
        with ThreadPoolExecutor() as both:
            one, other = both.map(lambda workers: self.run_alone(inputs, workers), [1, 1])
        return Run(
            seconds=max(one.seconds, other.seconds),
            cpu_seconds=one.cpu_seconds + other.cpu_seconds,
            peak_bytes=one.peak_bytes + other.peak_bytes,
            printed={name: 2 * figure for name, figure in one.printed.items()},
        )

    def run_replay(self, inputs, workers):
        """The replay itself; the tables are loaded before."""
        shutil.rmtree(STORE, ignore_errors=True)
        tables = ["--history", inputs["history.tsv"], "--similar", inputs["similar.tsv"]]
        run(self.program, "tables", "load", *tables, "--store", STORE)
        clicks, articles = logs(inputs)
        rest = ["--store", STORE, "-w", workers, "--at", inputs.at, "--json"]
        return run(self.program, "replay", clicks, "--articles", articles, *rest)

    def run_start(self, clicks):
        shutil.rmtree(STORE, ignore_errors=True)
        similar = FIXTURES / "small" / "similar.tsv"
        return run(self.program, "replay", clicks, "--similar", similar, "--store", STORE, "--json")


def logs(inputs):
    return inputs["userClick.log"], inputs["new-article.log"]


def run(*command):
    """Runs a command to its end; what it prints, if anything, is one JSON document."""
    begun = time.monotonic()
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, env=os.environ | {"RUST_LOG": "warn"}
    )
    with process.stdout as output:
        printed = output.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    printed = json.loads(printed) if printed.startswith(b"{") else {}
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, printed)


def by_its_own_clock(measured):
    """The run as the program has timed it: without the loading of the table."""
    printed = dict(measured.printed)
    times = {name: printed.pop(name) for name in ("seconds", "cpu_seconds")}
    return measured._replace(printed=printed, **times)


def run_oracle(inputs):
    out = CACHE / "expected"
    measured = run(sys.executable, FIXTURES / "oracle.py", inputs.plan, out)
    return measured._replace(printed=json.loads((out / "totals.json").read_text()))


def measure(programs, inputs, twice, rounds):
    """The runs of each thing, by name: of one (alone), of some with their number of workers."""
    runs = defaultdict(list)
    first = inputs.first_clicks(START_LINES)
    say("the oracle, once")
    runs["oracle"].append(run_oracle(inputs))
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        runs["cost"].append(programs.run_cost(inputs))
        for workers in WORKERS:
            runs["alone", workers].append(programs.run_alone(inputs, workers))
        runs["apart"].append(programs.run_apart(inputs))
        for workers in WORKERS:
            runs["replay", workers].append(programs.run_replay(inputs, workers))
        for workers in WORKERS:
            runs["replay twice", workers].append(programs.run_replay(twice, workers))
        runs["start"] += [programs.run_start(first) for _ in range(STARTS_A_ROUND)]
    shutil.rmtree(STORE)
    return runs


def records(printed):
    """How many records a program says to have read."""
    dead = printed["dead_letters"]
    dead = sum(dead.values()) if isinstance(dead, dict) else dead
    return printed["hits"] + printed["others"] + printed["new_articles"] + dead


def check_same_work(runs):
    """Ends with a message if what the programs counted is not the same."""
    cost, alone, oracle = (runs[name][0].printed for name in ("cost", ("alone", 1), "oracle"))
    for name, figure in alone.items():
        # Of dead letters the baseline has its own notion; all others are many.
        if name != "dead_letters" and abs(cost[name] - figure) > TOLERANCE * figure:
            sys.exit(f"cost and alone have not done the same: {name} is {cost[name]} and {figure}")
    for workers in WORKERS:
        if any(run.printed != alone for run in runs["alone", workers]):
            sys.exit(f"alone with {workers} workers has not done what it did with 1")
        for replay in runs["replay", workers]:
            for name in ("hits", "others", "new_articles", "recalls", "epochs"):
                if replay.printed[name] != oracle[name]:
                    sys.exit(f"replay says {replay.printed[name]} {name}, the oracle {oracle[name]}")
            letters = {reason: n for reason, n in replay.printed["dead_letters"].items() if n}
            if letters != oracle["dead_letters"]:
                sys.exit(f"replay says {letters}, the oracle {oracle['dead_letters']}")


def figures(runs):
    """What the report is about: of each thing the medians, and the largest peak of memory."""
    of = {}
    for name, some in runs.items():
        count = records(some[0].printed)
        seconds = median(run.seconds for run in some)
        cpu = median(run.cpu_seconds for run in some)
        of[name] = report.Figures(count, seconds, cpu, max(run.peak_bytes for run in some))
    return of


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test, too small to judge by")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is run [default: 5]")
    given = parser.parse_args()
    clicks, rounds = (200_000, 1) if given.quick else (2_000_000, given.rounds)

    programs = Programs()
    inputs, twice = Inputs(clicks, clicks // 2), Inputs(2 * clicks, clicks)
    machine = report.Machine()
    runs = measure(programs, inputs, twice, rounds)
    check_same_work(runs)
    measured = figures(runs)
    print(report.table(measured))
    if given.quick:
        say("all did the same work; too few records to judge by")
        return
    print()
    print(report.judged(measured))
    report.write(measured, machine, rounds, inputs)


if __name__ == "__main__":
    main()
