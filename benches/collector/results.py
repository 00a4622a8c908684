"""Says what was measured of the collector: tables, the verdict, its part of RESULTS.md."""

from statistics import median

from report import MB, RESULTS, line

BEGIN, END = "<!-- written by collector: begin -->", "<!-- written by collector: end -->"
SPOOLED = {
    "spool null": "spooldir, memory channel, null",
    "spool file_roll": "spooldir, memory channel, file_roll",
    "spool file null": "spooldir, file channel (an fsync a transaction), null",
}
LEAST = {"spool null": 8, "spool file_roll": 8, "spool file null": 15}


def of(runs, *name):
    return median(runs[name])


def tables(runs):
    """All figures, as tables of Markdown."""
    lines = [
        "| batches of 1,000, lines of 180 bytes | ours, events/s | Flume, events/s | CPU µs an event, ours | Flume |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, title in SPOOLED.items():
        rates = [median(rate for rate, _ in runs[name, kind]) for kind in ("ours", "Flume")]
        used = [median(used for _, used in runs[name, kind]) for kind in ("ours", "Flume")]
        cells = [f"{rate:,.0f}" for rate in rates] + [f"{seconds * 1e6:.2f}" for seconds in used]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", "| into an avro source, memory channel, file_roll | ours | Flume's pair | Flume's client into ours |"]
    lines.append("| --- | ---: | ---: | ---: |")
    for batch in (1000, 100):
        cells = of(runs, "avro", batch, "ours"), of(runs, "avro", batch, "Flume"), of(runs, "client into ours", batch, "ours")
        lines.append(f"| batches of {batch:,}, events/s | {' | '.join(f'{cell:,.0f}' for cell in cells)} |")
    lines += ["", "| tail, file channels, Kafka and HDFS, events/s | a bare producer, start to end |", "| ---: | ---: |"]
    lines.append(f"| {of(runs, 'tail', 'ours'):,.0f} | {of(runs, 'produce', 'bare'):,.0f} |")
    lines += ["", "| | ours | Flume |", "| --- | ---: | ---: |"]
    cells = [f"{of(runs, 'memory', kind) / MB:.0f}" for kind in ("ours", "Flume")]
    lines.append(f"| own memory with 30,000 events of 180 bytes, MB | {' | '.join(cells)} |")
    cells = [f"{of(runs, 'start', kind):.2f}" for kind in ("ours", "Flume")]
    lines.append(f"| start to first event, s | {' | '.join(cells)} |")
    return "\n".join(lines)


def judged(runs):
    """What must be reached, and whether it is, as a table of Markdown."""
    rows = []
    for name, title in SPOOLED.items():
        ours, flume = (median(rate for rate, _ in runs[name, kind]) for kind in ("ours", "Flume"))
        rows.append(line(f"{title}: ours / Flume", ours / flume, at_least=LEAST[name]))
    for batch in (1000, 100):
        ours, flume = of(runs, "avro", batch, "ours"), of(runs, "avro", batch, "Flume")
        rows.append(line(f"avro, batches of {batch:,}: our pair / Flume's", ours / flume, at_least=2))
        into = of(runs, "client into ours", batch, "ours")
        rows.append(line(f"Flume's client, batches of {batch:,}: into ours / into Flume's", into / flume, at_least=1.2))
    tail = of(runs, "tail", "ours") / of(runs, "produce", "bare")
    rows.append(line("tail, file channels, Kafka and HDFS / a bare producer", tail, at_least=0.4))
    rows.append(line("own memory, MB", of(runs, "memory", "ours") / MB, at_most=60))
    rows.append(line("start to first event, s", of(runs, "start", "ours"), at_most=0.2))
    lines = ["| | must reach | measured | |", "| --- | ---: | ---: | --- |"]
    lines += [f"| {title} | {must} | {is_} | {verdict} |" for title, must, is_, verdict in rows]
    return "\n".join(lines)


def write(runs, machine, events, rounds):
    """Replaces what RESULTS.md says of the last run."""
    before, _, rest = RESULTS.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    section = f"""{BEGIN}
{tables(runs)}

{judged(runs)}

- Command: `./run.sh bench collector`: {events:,} events of 180 bytes, {rounds} rounds in turn, medians; of the passes of a client the fastest, when both ends are warm.
- Flume 1.11.0 with 1 GB and G1, compiled for speed; both agents seen through Flume's counters.
- Machine: {machine.hardware}; {machine.system}; all on the same cores; load average before: {machine.load:.1f}.
- Commit: {machine.commit}; {machine.date}.
{END}"""
    RESULTS.write_text(before + section + after)
