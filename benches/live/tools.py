"""`produce` and `consume` beside Kafka's own console tools, from start to end of their processes."""

import subprocess
import time

PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"


def produce(bench, topic):
    """Seconds in which ours sends all lines to a new topic."""
    bench.make_topic(topic)
    server = ["--bootstrap-server", bench.servers.address("kafka")]
    return timed(lambda: subprocess.Popen(
        [bench.program, "produce", topic, bench.inputs["lines.log"], *server], stderr=subprocess.DEVNULL
    ))  # fmt: skip


def produce_by_kafka(bench, topic):
    bench.make_topic(topic)
    server = ["--bootstrap-server", bench.servers.address("kafka")]
    with open(bench.inputs["lines.log"], "rb") as lines:
        return timed(lambda: bench.servers.tool(PRODUCER, *server, "--topic", topic, stdin=lines))


def consume(bench, topic):
    """Seconds in which ours prints all lines of a topic to a file."""
    server = ["--bootstrap-server", bench.servers.address("kafka")]
    command = [bench.program, "consume", topic, "--from-beginning", "--max", str(bench.inputs.lines), *server]
    return printed(bench, lambda out: subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL))


def consume_by_kafka(bench, topic):
    server = ["--bootstrap-server", bench.servers.address("kafka")]
    rest = ["--topic", topic, "--from-beginning", "--max-messages", bench.inputs.lines]
    return printed(bench, lambda out: bench.servers.tool(CONSUMER, *server, *rest, stdout=out, stderr=subprocess.DEVNULL))


def timed(start):
    begun = time.monotonic()
    process = start()
    if process.wait() != 0:
        raise SystemExit(f"{process.args} has failed")
    return time.monotonic() - begun


def printed(bench, start):
    """The time, once it is sure that all lines were printed."""
    path = bench.inputs.folder.parent / "printed"
    with open(path, "wb") as out:
        seconds = timed(lambda: start(out))
    size, wanted = path.stat().st_size, bench.inputs["lines.log"].stat().st_size
    path.unlink()
    if size != wanted:
        raise SystemExit(f"{size} bytes were printed of {wanted}")
    return seconds
