"""Measures how records become bytes between processes: codec.rs, in turns.

    ./run.sh bench codec           medians of some rounds; writes RESULTS.md

Each form writes and reads the same messages on one thread. It says what one record costs, not what a cluster
gains: that is a stage of `./run.sh bench live`.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from statistics import median

import report

BEGIN, END = "<!-- written by codec: begin -->", "<!-- written by codec: end -->"


def build():
    command = ["cargo", "build", "--release", "--locked", "--package", "dataflows", "--bench", "codec"]
    command += ["--features", "abomonation", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=report.HERE.parent, check=True, stdout=subprocess.PIPE)
    messages = map(json.loads, built.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("executable"))


def measure(program, rounds):
    """The medians of bytes, and nanoseconds to write and to read a record, by records and form."""
    runs = defaultdict(list)
    for _ in range(rounds):
        printed = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout
        for line in printed.splitlines():
            records, form, *figures = line.split("\t")
            runs[records, form].append([float(figure) for figure in figures])
    return {name: [median(column) for column in zip(*lines)] for name, lines in runs.items()}


def table(measured):
    lines = ["| records | form | bytes each | ns to write | ns to read | both, of the default |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
    default = {}
    for (records, form), (size, write, read) in measured.items():
        whole = default.setdefault(records, write + read)
        share = (write + read) / whole
        lines.append(f"| {records} | {form} | {size:.0f} | {write:.1f} | {read:.1f} | {share:.2f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        prog="./run.sh bench codec", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often it is run [default: 5]")
    rounds = parser.parse_args().rounds
    program, machine = build(), report.Machine()
    text = table(measure(program, rounds))
    print(text)
    before, begin, rest = report.RESULTS.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{report.RESULTS} does not say where this belongs")
    said = f"- Command: `./run.sh bench codec`: {rounds} rounds, medians. Machine: {machine.hardware}; {machine.system}."
    said += f"\n- Commit: {machine.commit}; {machine.date}."
    report.RESULTS.write_text(f"{before}{BEGIN}\n{text}\n\n{said}\n{END}{after}")


if __name__ == "__main__":
    main()
