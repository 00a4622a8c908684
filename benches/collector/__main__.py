"""Measures the collector beside Flume 1.11, on the same machine, with the same files and the same input, in turns.

    ./run.sh bench collector            everything, some rounds, medians; writes benches/RESULTS.md
    ./run.sh bench collector --quick    little of everything, one round; writes nothing: does it all work?

    spool      spooldir into a memory channel, into null and file_roll; into a file channel, into null
    avro       a client that sends batches to an avro source, into memory, into file_roll; Flume's client into both
    tail       tail into file channels, into Kafka and HDFS (ours alone), beside a bare producer of the same lines
    memory     what an agent takes of its own memory, with 30,000 events of 200 bytes in its channel
    start      from the start of an agent to its first event

Flume's agents run by stack/flume, with 1 GB and compiled for speed. Both are seen through Flume's counters.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import time
from collections import defaultdict

import report
from live.servers import CACHE as LIVE, Servers, free_ports
from live.__main__ import build

from collector import results
from collector.agents import Flume, Ours, send_by_flume, send_by_ours

CACHE = LIVE.parent / "collector"
BATCH = 1000
BODY = 180

WIRED = """\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.channels = c1
a1.sinks.k1.channel = c1
"""


def settings(component, **keys):
    return "".join(f"a1.{component}.{key.replace('__', '.').replace('_', '-')} = {value}\n" for key, value in keys.items())


def memory(capacity=100_000, batch=10_000):
    return settings("channels.c1", type="memory", capacity=capacity, transactionCapacity=batch)


def spooldir(folder, batch=BATCH):
    return settings("sources.r1", type="spooldir", spoolDir=folder, batchSize=batch, deserializer__maxLineLength=4096)


def null(batch=BATCH):
    return settings("sinks.k1", type="null", batchSize=batch)


def file_roll(folder, batch=BATCH):
    return settings("sinks.k1", type="file_roll", sink__directory=folder, sink__rollInterval=0, sink__batchSize=batch)


def durable(folder):
    both = {"checkpointDir": folder / "checkpoint", "dataDirs": folder / "data"}
    return settings("channels.c1", type="file", capacity=1_000_000, transactionCapacity=10_000, **both)


class Bench:
    """The program, the input, and the port on which agents are watched."""

    def __init__(self, program, events):
        self.program, self.events = program, events
        self.port = free_ports(20)
        self.begun = time.monotonic()
        CACHE.mkdir(parents=True, exist_ok=True)
        self.lines = CACHE / f"lines-{events}.log"
        if not self.lines.exists():
            number_of = lambda at: f"{at:010d} " + "x" * (BODY - 11)
            with open(self.lines, "w") as out:
                out.writelines(f"{number_of(at)}\n" for at in range(events))

    def say(self, text):
        print(f"bench: {time.monotonic() - self.begun:5.0f} s  {text}", file=sys.stderr, flush=True)

    def agents(self):
        """Both kinds: what makes one of a file."""
        folder = CACHE / "agent"
        yield lambda text: Ours(self.program, folder, self.port, text)
        yield lambda text: Flume(folder, self.port, text)

    def spooled(self):
        """A folder in which the input is about to be spooled, and a function that spools it."""
        folder = CACHE / "spool"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        aside = CACHE / "aside.log"
        shutil.copy(self.lines, aside)
        return folder, lambda: aside.rename(folder / "input.log")


def spool(bench, runs):
    out, log = CACHE / "out", CACHE / "channel"
    for make in bench.agents():
        for name, channel, sink in [
            ("spool null", memory(), null()),
            ("spool file_roll", memory(), file_roll(out)),
            ("spool file null", durable(log), null()),
        ]:
            for folder in (out, log):
                shutil.rmtree(folder, ignore_errors=True)
            out.mkdir()
            folder, begin = bench.spooled()
            with make(WIRED + spooldir(folder) + channel + sink) as agent:
                begin()
                rate = agent.rate(bench.events)
                used = agent.cpu_seconds() / bench.events
                runs[name, agent.name].append((rate, used))
                bench.say(f"{name}, {agent.name}: {rate:,.0f} events/s, {used * 1e6:.2f} µs of CPU an event")
            if name == "spool file_roll":
                check_written(out, bench.events)


def check_written(folder, events):
    written = sum(path.stat().st_size for path in folder.iterdir())
    if written != events * (BODY + 1):
        raise SystemExit(f"{written} bytes were written of {events * (BODY + 1)}")


def avro(bench, runs):
    out, port = CACHE / "out", bench.port + 10
    for make in bench.agents():
        for batch in (1000, 100):
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            source = settings("sources.r1", type="avro", bind="127.0.0.1", port=port)
            with make(WIRED + source + memory() + file_roll(out)) as agent:
                if agent.name == "ours":
                    wait_for_port(port, agent)
                    rates = []
                    for nth in range(1, 4):
                        begun = time.monotonic()
                        send_by_ours(bench.program, port, bench.lines, batch)
                        agent.wait_until_delivered(nth * bench.events)
                        rates.append(bench.events / (time.monotonic() - begun))
                    note(bench, runs, ("avro", batch, agent.name), max(rates))
                theirs = send_by_flume(port, bench.lines, batch, passes=4)
                name = ("avro" if agent.name == "Flume" else "client into ours", batch, agent.name)
                note(bench, runs, name, max(theirs))


def note(bench, runs, name, rate):
    runs[name].append(rate)
    bench.say(f"{', '.join(map(str, name))}: {rate:,.0f} events/s")


def wait_for_port(port, agent):
    while True:
        agent.check()
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)


def own_memory(bench, runs):
    """With a channel that is full, since nobody listens where its sink would deliver."""
    text = WIRED + settings("sinks.k1", type="avro", hostname="127.0.0.1", port=bench.port + 11)
    for make in bench.agents():
        folder, begin = bench.spooled()
        with make(text + spooldir(folder) + memory(capacity=30_000)) as agent:
            begin()
            while agent.count("CHANNEL.c1", "ChannelSize") < 29_000:
                agent.check()
                time.sleep(0.05)
            time.sleep(2)
            runs["memory", agent.name].append(agent.anonymous_bytes())
            bench.say(f"memory, {agent.name}: {agent.anonymous_bytes() / 1e6:.0f} MB")


def start(bench, runs):
    """One event stands ready."""
    for make in bench.agents():
        folder = CACHE / "spool"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "one.log").write_text("one\n")
        with make(WIRED + spooldir(folder) + memory() + null()) as agent:
            agent.wait_until_delivered(1)
            runs["start", agent.name].append(time.monotonic() - agent.begun)
            bench.say(f"start, {agent.name}: {runs['start', agent.name][-1]:.2f} s")


def tail(bench, runs):
    """Lines that stand in a file, into Kafka and HDFS; and the same into Kafka by a bare producer."""
    with Servers(("kafka", "hdfs")) as servers:
        for nth in range(len(runs["memory", "ours"])):
            server = ["--bootstrap-server", servers.address("kafka")]
            for topic in (f"bare{nth}", f"tailed{nth}"):
                subprocess.run([bench.program, "topics", "create", topic, "--partitions", "4", *server], check=True)
            begun = time.monotonic()
            produce = [bench.program, "produce", f"bare{nth}", bench.lines, *server]
            subprocess.run(produce, check=True, stderr=subprocess.DEVNULL)
            note(bench, runs, ("produce", "bare"), bench.events / (time.monotonic() - begun))
            text = tailed(bench, servers, f"tailed{nth}")
            # Those of before may be the servers' now.
            port = free_ports(20)
            with Ours(bench.program, CACHE / "agent", port, text, hadoop=servers.folder / "hdfs" / "conf") as agent:
                agent.wait_until_delivered(bench.events, "c1", "c2")
                note(bench, runs, ("tail", "ours"), bench.events / (time.monotonic() - agent.begun))


def tailed(bench, servers, topic):
    log = CACHE / "channel"
    shutil.rmtree(log, ignore_errors=True)
    text = "a1.sources = r1\na1.channels = c1 c2\na1.sinks = k1 k2\n"
    text += settings("sources.r1", type="exec", command=f"tail -n +1 -F {bench.lines}", batchSize=BATCH, channels="c1 c2")
    for name in ("c1", "c2"):
        folders = {"checkpointDir": log / name / "checkpoint", "dataDirs": log / name / "data"}
        text += settings(f"channels.{name}", type="file", capacity=1_000_000, **folders)
    kafka = {"kafka__bootstrap__servers": servers.address("kafka"), "kafka__topic": topic, "flumeBatchSize": BATCH}
    text += settings("sinks.k1", type="org.apache.flume.sink.kafka.KafkaSink", channel="c1", **kafka)
    path = f"hdfs://{servers.address('hdfs')}/{topic}"
    keys = {"path": path, "fileType": "DataStream", "batchSize": BATCH, "rollInterval": 0, "rollSize": 128 << 20, "rollCount": 0}
    keys = {f"hdfs__{key}": value for key, value in keys.items()}
    return text + settings("sinks.k2", type="hdfs", channel="c2", **keys)


def main():
    parser = argparse.ArgumentParser(
        prog="./run.sh bench collector", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test, too small to judge by")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run [default: 3]")
    given = parser.parse_args()
    events, rounds = (50_000, 1) if given.quick else (1_000_000, given.rounds)
    program, machine = build()["online-recall"], report.Machine()
    bench, runs = Bench(program, events), defaultdict(list)
    for number in range(1, rounds + 1):
        bench.say(f"round {number} of {rounds}")
        for measure in (spool, avro, own_memory, start):
            measure(bench, runs)
    tail(bench, runs)
    print(results.tables(runs))
    print()
    print(results.judged(runs))
    if given.quick or rounds == 1:
        bench.say("not written: too little to judge by")
    else:
        results.write(runs, machine, events, rounds)


if __name__ == "__main__":
    main()
