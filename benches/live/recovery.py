"""How long a cluster is away when one of its processes is killed."""

import os
import random
import signal
import subprocess
import threading
import time
from itertools import cycle

from live.job import PAUSE, Job

PROCESSES = 4
RATE = 10_000
# How many lines are sent at once, at that rate.
PIECE = RATE // 100


def recovery(bench, times, name="recovery"):
    """Of each kill of one process of four, at 10,000 records/s: seconds until the first epoch that was bound after it
    is marked, that is, visible in Redis and HBase."""
    bench.servers.empty_redis()
    clicks = f"clicks_{name}"
    bench.make_topic(clicks)
    chance, seen = random.Random(1), []
    with Job(bench.program, bench.servers, name, clicks, "nothing", ["hot", "new", "recall"]) as job:
        job.make_tables(history=bench.inputs["history.tsv"])
        job.start(processes=PROCESSES)
        job.wait_ready()
        flow = Flow(bench, clicks)
        try:
            for _ in range(times):
                settle(bench, job)
                os.kill(int(chance.choice(job.pids())), signal.SIGKILL)
                killed = time.monotonic()
                bound, _ = ledger(bench, job)
                while ledger(bench, job)[1] <= bound:
                    time.sleep(PAUSE)
                seen.append(time.monotonic() - killed)
        finally:
            flow.end()
        job.stop()
    return seen


def settle(bench, job, seconds=12):
    """Waits until all processes run, and for so long the mark follows the bindings closely. What has run for 10 s has
    started well: its next start does not wait longer than the first."""
    since = time.monotonic()
    while time.monotonic() - since < seconds:
        bound, mark = ledger(bench, job)
        if len(job.pids()) < PROCESSES or bound - mark > 4:
            since = time.monotonic()
        time.sleep(0.1)


def ledger(bench, job):
    """The last epoch that is bound, and the last that is marked."""
    host, port = bench.servers.address("redis").split(":")
    command = ["redis-cli", "-h", host, "-p", port, "-n", "10", "HMGET"]
    command += [f"online-recall:{{{job.name}}}:ledger", "bound", "mark"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [int(dated.split()[0]) if dated else 0 for dated in answer.split("\n")[:2]]


class Flow:
    """Clicks that are produced at a steady rate until the end."""

    def __init__(self, bench, topic):
        server = ["--bootstrap-server", bench.servers.address("kafka")]
        self.process = subprocess.Popen([bench.program, "produce", topic, *server], stdin=subprocess.PIPE)
        self.lines, self.ends = bench.inputs["clicks.log"], threading.Event()
        self.thread = threading.Thread(target=self.send)
        self.thread.start()

    def send(self):
        with open(self.lines, "rb") as lines, self.process.stdin as pipe:
            begun, pieces = time.monotonic(), 0
            some = cycle(lines.readlines(32 << 20))
            while not self.ends.is_set():
                pipe.write(b"".join(next(some) for _ in range(PIECE)))
                pipe.flush()
                pieces += 1
                self.ends.wait(max(0, begun + pieces * PIECE / RATE - time.monotonic()))

    def end(self):
        self.ends.set()
        self.thread.join()
        if self.process.wait() != 0:
            raise SystemExit("the clicks of the bench cannot be produced")
