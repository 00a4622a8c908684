"""Says what was measured on real servers: tables, the verdict, their part of RESULTS.md and its pictures."""

import math
from statistics import median
from typing import NamedTuple

from report import HERE, MB, RESULTS, line

from live import picture
from live.latency import INTERVAL, PROBES_A_SECOND, quantile
from live.stages import WORKERS, Rate, Stage

BEGIN, END = "<!-- written by live: begin -->", "<!-- written by live: end -->"
RATES_PICTURE, LATENCY_PICTURE = HERE / "live.svg", HERE / "latency.svg"
# What is measured stage by stage, by the names of the runs, in the order of the table.
STAGES = {
    "consume": "a bare rdkafka consumer",
    "decode": "the same, decoded",
    ("scores", 1): "hot and new to Redis, 1 worker",
    ("scores", 2): "hot and new to Redis, 2 workers",
    ("scores", "2 x 1"): "hot and new to Redis, 2 processes of 1 worker",
    ("all", 1): "everything, with HBase, 1 worker",
    ("all", 2): "everything, with HBase, 2 workers",
}
RATES = {
    ("warm", 1): "everything, histories in the cache, 1 worker",
    ("warm", 2): "everything, histories in the cache, 2 workers",
    "original warm": "the original's shape, the same hits",
    "cold": "everything, histories not known, 1 worker",
    "original cold": "the original's shape, the same hits",
}
PARTS = {"broker": "Kafka", "redis": "Redis", "hbase": "HBase", "thrift": "its Thrift server"}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
JUDGED_RATE = 10_000


class Once(NamedTuple):
    """What is measured once, not in rounds."""

    latencies: list
    idle: float
    many_users_peak: int
    outage: object
    recoveries: list


class Measured(NamedTuple):
    """All that was measured: of runs the medians."""

    of: dict
    once: Once
    sizes: object


def figures(runs):
    """Of each thing the medians of its runs, and of memory the largest peak."""
    of = {}
    for name, some in runs.items():
        if isinstance(some[0], float):
            of[name] = median(some)
            continue
        middle = {field: median(getattr(run, field) for run in some) for field in ("seconds", "cpu_seconds")}
        middle["servers"] = {part: median(run.servers[part] for run in some) for part in PARTS}
        if isinstance(some[0], Stage):
            peaks = [run.peak_bytes for run in some if run.peak_bytes is not None]
            of[name] = Stage(some[0].records, peak_bytes=max(peaks, default=None), **middle)
        else:
            # The run in the middle by its rate: hits and calls belong together.
            one = sorted(some, key=lambda run: run.rate)[len(some) // 2]
            of[name] = one._replace(servers=middle["servers"])
    return of


def check_cold(runs):
    """Ends with a message if strangers were not what they are meant to be: each with a history to be read."""
    for run in runs["cold"]:
        if not 0.95 < run.misses / run.hits < 1.05:
            raise SystemExit(f"of strangers {run.misses / run.hits:.3f} histories a hit were read")


def told(run):
    """One run in a few words, while the others are still to come."""
    if isinstance(run, Stage):
        return f"{run.seconds:.1f} s, {run.records / run.seconds:,.0f} records/s"
    if isinstance(run, Rate):
        return f"{run.rate:,.0f} hits/s, {run.calls_a_hit:.3f} calls and {run.misses / run.hits:.3f} histories a hit"
    return f"{run:.1f} s"


def check_same_work(runs):
    """Ends with a message if not every run has read the same records."""
    counts = {name: {run.records for run in some} for name, some in runs.items() if isinstance(some[0], Stage)}
    if len(set.union(*counts.values())) != 1:
        raise SystemExit(f"not all have read the same records: {counts}")


def tables(measured):
    """All figures, as tables of Markdown."""
    of, once = measured.of, measured.once
    bare = of["consume"]
    lines = [
        "| | wall s | records/s | of the consumer | CPU s, ours | " + " | ".join(PARTS.values()) + " | peak MB |",
        "| --- | ---: | ---: | ---: | ---: |" + " ---: |" * len(PARTS) + " ---: |",
    ]
    for name, title in STAGES.items():
        it = of[name]
        rate = it.records / it.seconds
        cells = [title, f"{it.seconds:.1f}", f"{rate:,.0f}", f"{bare.seconds / it.seconds:.2f}", f"{it.cpu_seconds:.1f}"]
        cells += [f"{it.servers[part]:.1f}" for part in PARTS]
        lines.append(f"| {' | '.join(cells)} | {'' if it.peak_bytes is None else f'{it.peak_bytes / MB:.0f}'} |")
    lines += [
        "",
        "| | hits/s | HBase calls a hit | histories read a hit | CPU s, ours | " + " | ".join(PARTS.values()) + " | over s |",
        "| --- | ---: | ---: | ---: | ---: |" + " ---: |" * len(PARTS) + " ---: |",
    ]
    for name, title in RATES.items():
        it = of[name]
        is_ours = it.cpu_seconds > 0
        cells = [title, f"{it.rate:,.0f}", f"{it.calls_a_hit:.3f}", f"{it.misses / it.hits:.3f}" if is_ours else ""]
        cells += [f"{it.cpu_seconds:.1f}" if is_ours else "", *(f"{it.servers[part]:.1f}" for part in PARTS)]
        lines.append(f"| {' | '.join(cells)} | {it.seconds:.1f} |")
    lines += ["", "| record to visible, ms | in | " + " | ".join(QUANTILES) + " |", "| --- | --- |" + " ---: |" * len(QUANTILES)]
    for it in once.latencies:
        for title, values in (("Redis", it.redis), ("HBase", it.hbase)):
            cells = [shown(quantile(values, share)) for share in QUANTILES.values()]
            lines.append(f"| {it.rate:,} records/s | {title} | {' | '.join(cells)} |")
    lines += ["", "| lines of 180 bytes, start to end | ours, s | Kafka's console tool, s | times |", "| --- | ---: | ---: | ---: |"]
    for title, ours, theirs in TOOLS:
        lines.append(f"| {title} {measured.sizes.lines:,} | {of[ours]:.2f} | {of[theirs]:.2f} | {of[theirs] / of[ours]:.1f} |")
    away = once.outage
    lines += [
        "",
        "| peak memory | MB |",
        "| --- | ---: |",
        f"| everything, {measured.sizes.users:,} users, 1 and 2 workers | {few_users_peak(of) / MB:.0f} |",
        f"| everything, {measured.sizes.strangers:,} users | {once.many_users_peak / MB:.0f} |",
        f"| through {away.away_seconds:.0f} s without HBase (before: {away.before_bytes / MB:.0f}; "
        f"{away.retries:.0f} calls failed; {away.after_seconds:.0f} s later all was done) | {away.peak_bytes / MB:.0f} |",
        "",
        "| one process of four killed, at 10,000 records/s, until the next epoch is visible | s |",
        "| --- | ---: |",
        f"| the shortest, the middle, the longest of {len(once.recoveries)} | "
        + ", ".join(f"{pick(once.recoveries):.2f}" for pick in (min, median, max))
        + " |",
    ]
    return "\n".join(lines)


TOOLS = [("produce", "produce", "Kafka's produce"), ("consume", "consume lines", "Kafka's consume")]


def few_users_peak(of):
    return max(of["all", workers].peak_bytes for workers in WORKERS)


def shown(milliseconds):
    """A latency in three digits."""
    if math.isinf(milliseconds):
        return "never"
    return f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def judged(measured):
    """What must be reached, and whether it is, as a table of Markdown."""
    of, once = measured.of, measured.once
    # A smoke test has other rates.
    at = next((it for it in once.latencies if it.rate == JUDGED_RATE), once.latencies[-1])
    rate = f"{at.rate:,} records/s, interval {INTERVAL.removesuffix('ms')} ms"
    memory = max(few_users_peak(of), once.many_users_peak, once.outage.peak_bytes)
    rows = [
        line("hot and new, 1 worker / a bare rdkafka consumer", of["consume"].seconds / of["scores", 1].seconds, at_least=0.7),
        line("hot and new, 2 processes of 1 worker / 1 process of 2", of["scores", 2].seconds / of["scores", "2 x 1"].seconds, at_least=0.85),
        line("hits/s, ours / the original's shape, histories in the cache", of["warm", 1].rate / of["original warm"].rate, at_least=50),
        line("hits/s, ours / the original's shape, histories not known", of["cold"].rate / of["original cold"].rate, at_least=5),
        line("HBase calls a hit, histories in the cache", of["warm", 1].calls_a_hit, at_most=0.05),
        line("HBase calls a hit, histories not known", of["cold"].calls_a_hit, at_most=1.1),
        line(f"record to visible in Redis, p99, ms; {rate}", quantile(at.redis, 0.99), at_most=100),
        line(f"record to visible in HBase, p99, ms; {rate}", quantile(at.hbase, 0.99), at_most=250),
        line("peak memory: few users, many users, an outage, MB", memory / MB, at_most=250),
        *(
            line(f"{title}, ours / Kafka's console tool", of[theirs] / of[ours], at_least=least)
            for (title, ours, theirs), least in zip(TOOLS, (3, 2))
        ),
        line("idle, % of a core", once.idle * 100, at_most=2),
        line("one process of four killed, until the next epoch is visible, s: the longest", max(once.recoveries), at_most=3),
    ]
    lines = ["| | must reach | measured | |", "| --- | ---: | ---: | --- |"]
    for title, must, is_, verdict in rows:
        lines.append(f"| {title} | {must} | {is_} | {verdict} |")
    return "\n".join(lines)


def write(measured, machine, rounds):
    """Replaces what RESULTS.md says of the last run, and the pictures."""
    before, _, rest = RESULTS.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    sizes = measured.sizes
    section = f"""{BEGIN}
![records a second, stage by stage](live.svg)

{tables(measured)}

![record to visible, at three rates](latency.svg)

{judged(measured)}

- Command: `./run.sh bench live`: {sizes.clicks:,} clicks by {sizes.users:,} users and a twentieth of new articles, {rounds} rounds in turn, medians; of memory the largest. Latency, many users, outage and idling: once.
- Machine: {machine.hardware}; {machine.system}; all servers on the same cores; load average before: {machine.load:.1f}.
- Commit: {machine.commit}; {machine.date}.
{END}"""
    RESULTS.write_text(before + section + after)
    RATES_PICTURE.write_text(picture.bars([(title, measured.of[name]) for name, title in STAGES.items()]))
    LATENCY_PICTURE.write_text(picture.percentiles(measured.once.latencies))
