"""Says what was measured: a table, the verdict, RESULTS.md and its picture."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
RESULTS, PICTURE = HERE / "RESULTS.md", HERE / "results.svg"
BEGIN, END = "<!-- written by run.py: begin -->", "<!-- written by run.py: end -->"
MB = 1_000_000

# What is measured, by the names that run.py gives, in the order of the table.
TITLES = {
    "oracle": "oracle in Python, start to end",
    "cost": "COST baseline: one plain thread, no store",
    ("alone", 1): "dataflows alone, 1 worker",
    ("alone", 2): "dataflows alone, 2 workers",
    "apart": "two such programs of 1 worker at once",
    ("replay", 1): "replay into the store, 1 worker",
    ("replay", 2): "replay into the store, 2 workers",
    ("replay twice", 1): "replay of twice the clicks and users, 1 worker",
    ("replay twice", 2): "replay of twice the clicks and users, 2 workers",
    "start": "replay of 1,000 lines, start to end",
}
SHOWN = ["oracle", "cost", ("replay", 1), ("replay", 2), ("alone", 1), ("alone", 2)]


class Figures(NamedTuple):
    """What a number of runs of one thing have come to."""

    records: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def rate(self):
        return self.records / self.seconds

    @property
    def cpu_a_record(self):
        return self.cpu_seconds / self.records


class Machine:
    """Where and of what it was measured, as it was before."""

    def __init__(self):
        cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self.hardware = (
            f"{models[0] if models else platform.machine()}, "
            f"{len(os.sched_getaffinity(0))} cores, {memory / 2**30:.0f} GiB"
        )
        kernel = ".".join(platform.release().split(".")[:2])
        self.system = f"{platform.system()} {kernel}, {output('rustc', '--version')}"
        self.load = os.getloadavg()[0]
        changed = output("git", "status", "--porcelain", "--", ".", ":!benches/RESULTS.md", ":!benches/results.svg")
        self.commit = output("git", "rev-parse", "--short=12", "HEAD")
        self.commit += " and changes that are not committed" if changed else ""
        self.date = datetime.now(timezone.utc).strftime("%Y-%m-%d")


def output(*command):
    done = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def table(measured):
    """All figures, as a table of Markdown."""
    baseline = measured["cost"].rate
    lines = [
        "| | wall s | CPU s | records/s | of the baseline | CPU µs a record | peak MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, title in TITLES.items():
        it = measured[name]
        cells = [title, f"{it.seconds:.2f}", f"{it.cpu_seconds:.2f}"]
        if name == "start":  # nearly all of it is not about records
            cells += "", "", ""
        else:
            cells += f"{it.rate:,.0f}", f"{it.rate / baseline:.2f}", f"{it.cpu_a_record * 1e6:.2f}"
        lines.append(f"| {' | '.join(cells)} | {it.peak_bytes / MB:.0f} |")
    return "\n".join(lines)


def judged(measured):
    """What must be reached, and whether it is, as a table of Markdown."""
    cost = measured["cost"]
    one, two, apart = measured["alone", 1], measured["alone", 2], measured["apart"]
    peak = max(measured["replay", workers].peak_bytes for workers in (1, 2))
    growth = max(
        measured["replay twice", workers].peak_bytes / measured["replay", workers].peak_bytes
        for workers in (1, 2)
    )
    start = measured["start"].seconds
    lines = ["| | must reach | measured | |", "| --- | ---: | ---: | --- |"]
    for title, must, is_, verdict in [
        line("dataflows alone, 1 worker / baseline", one.rate / cost.rate, at_least=4),
        line("replay into the store, 1 worker / baseline", measured["replay", 1].rate / cost.rate, at_least=0.7),
        line("dataflows alone, 2 workers / 1 worker", two.rate / one.rate, at_least=1.5),
        line("two programs that share nothing / one of them", apart.rate / one.rate),
        line("CPU a record, 2 workers / 1 worker", two.cpu_a_record / one.cpu_a_record, at_most=1.15),
        line("CPU a record, two programs that share nothing / one of them", apart.cpu_a_record / one.cpu_a_record),
        line("peak memory of the replay, MB", peak / MB, at_most=250),
        line("peak memory at twice the clicks and users, of that", growth, at_most=1.1),
        line("start to end of a 1,000-line replay, s", start, at_most=0.3),
    ]:
        lines.append(f"| {title} | {must} | {is_} | {verdict} |")
    return "\n".join(lines)


def line(title, value, at_least=None, at_most=None):
    """One figure, and whether it is what it must be; or what the machine gives, to judge another one by."""
    shown = f"{value:.0f}" if value >= 100 else f"{value:.2f}"
    verdict = {True: "reached", False: "**missed**"}
    if at_least is not None:
        return title, f"at least {at_least}", shown, verdict[value >= at_least]
    if at_most is not None:
        return title, f"at most {at_most}", shown, verdict[value <= at_most]
    return title, "", shown, "what the cores give"


def write(measured, machine, rounds, inputs):
    """Replaces what RESULTS.md says of the last run, and the picture."""
    before, _, rest = RESULTS.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    section = f"""{BEGIN}
![records a second beside the baseline](results.svg)

{table(measured)}

{judged(measured)}

- Command: `./run.sh bench`: {inputs.clicks:,} clicks by {inputs.users:,} users (and a twentieth of new articles), {rounds} rounds in turn, medians; of memory the largest.
- Machine: {machine.hardware}; {machine.system}; load average before: {machine.load:.1f}.
- Commit: {machine.commit}; {machine.date}.
{END}"""
    RESULTS.write_text(before + section + after)
    PICTURE.write_text(picture(measured))


def picture(measured):
    """Bars of records a second; the dashed line is the baseline."""
    baseline, most = measured["cost"].rate, max(measured[name].rate for name in SHOWN)
    left, width, step, top = 240, 340, 34, 56
    bars = []
    for row, name in enumerate(SHOWN):
        it, y = measured[name], top + row * step
        length = it.rate / most * width
        kind = name if isinstance(name, str) else name[0]
        title = TITLES[name].split(":")[0].removesuffix(", start to end")
        bars.append(
            f'<text x="{left - 12}" y="{y + 15}" class="title">{title}</text>'
            f'<rect x="{left}" y="{y}" width="{max(length, 1):.1f}" height="20" rx="3" class="{kind}"/>'
            f'<text x="{left + width + 16}" y="{y + 15}"><tspan class="rate">{it.rate / baseline:.2f}×</tspan>'
            f'<tspan x="{left + width + 72}">{it.rate / 1e6:.2f} M/s</tspan></text>'
        )
    bottom, line_at = top + len(SHOWN) * step, left + baseline / most * width
    label = "records a second, and how many times the baseline"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 {bottom + 12}" width="740" role="img" aria-label="{label}">
<style>
  text {{ font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }}
  .title {{ text-anchor: end }}
  .heading, .rate {{ font-weight: 600; fill: #24292f }}
  .oracle, .cost {{ fill: #8c959f }}
  .replay {{ fill: #1f883d }}
  .alone {{ fill: #218bff }}
  line {{ stroke: #8c959f; stroke-dasharray: 3 4 }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #9198a1 }}
    .heading, .rate {{ fill: #e6edf3 }}
    .oracle, .cost {{ fill: #6e7681 }}
    .replay {{ fill: #3fb950 }}
    .alone {{ fill: #388bfd }}
    line {{ stroke: #6e7681 }}
  }}
</style>
<text x="{left}" y="26" class="heading">{label}</text>
<line x1="{line_at:.1f}" x2="{line_at:.1f}" y1="{top - 10}" y2="{bottom - 4}"/>
{chr(10).join(bars)}
</svg>
"""
