#!/usr/bin/env python3
"""The scripts of this folder: servers that start, speak, crash, come back with their data, and end.

Everything is started once, at once, on free ports in a temporary folder; every test speaks to what it
names. Catches a server that says "ready" too early, loses what it acknowledged, or outlives its stop.
Installing and downloading are not tested: they are there, or the first start does them.
"""

import concurrent.futures
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

STACK = pathlib.Path(__file__).resolve().parent


class Server:
    """One folder of data, started by one of the scripts."""

    def __init__(self, script, folder, **variables):
        self.script = STACK / script
        self.data = pathlib.Path(folder)
        self.port = free_ports()
        variables = {"DATA": folder, "PORT": self.port, **variables}
        self.variables = {**os.environ, **{name: str(value) for name, value in variables.items()}}

    def run(self, *arguments, standard_input=None, **variables):
        environment = {**self.variables, **variables}
        return subprocess.run(
            [self.script, *arguments], env=environment, input=standard_input, capture_output=True, text=True
        )

    def must(self, *arguments, **more):
        done = self.run(*arguments, **more)
        if done.returncode != 0:
            raise AssertionError(f"{self.script.name} {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def pid(self, part):
        return int((self.data / f"{part}.pid").read_text())

    def states(self):
        return [line.split("\t")[3] for line in self.run("status").stdout.splitlines()]

    def crash(self, *parts):
        for part in parts:
            os.kill(self.pid(part), signal.SIGKILL)


# Below the ports that the system gives to clients.
blocks_of_ports = iter(random.sample(range(20000, 32000, 10), 1200))


def free_ports():
    """The first of ten neighbouring ports that nobody listens on."""
    for first in blocks_of_ports:
        try:
            for port in range(first, first + 10):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise AssertionError("no ten neighbouring ports are free")


def processes_of(folder):
    """The command lines of all processes that name the folder."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def setUpModule():
    global temporary, redis, cluster, kafka, hbase, hdfs, everything
    temporary = tempfile.TemporaryDirectory(prefix="online-recall-stack-")
    root = temporary.name
    redis = Server("redis", f"{root}/redis")
    cluster = Server("redis", f"{root}/cluster", CLUSTER=1)
    kafka = Server("kafka", f"{root}/kafka", TLS=1)
    hbase = Server("hbase", f"{root}/hbase")
    hdfs = Server("hdfs", f"{root}/hdfs")
    everything = [redis, cluster, kafka, hbase, hdfs]
    unittest.addModuleCleanup(stop_everything)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        list(threads.map(lambda server: server.must("start", START_SECONDS="300"), everything))


def stop_everything():
    with concurrent.futures.ThreadPoolExecutor() as threads:
        list(threads.map(lambda server: server.must("stop"), everything))
    left = processes_of(temporary.name)
    temporary.cleanup()
    if left:
        raise AssertionError(f"processes are left: {left}")


class Redis(unittest.TestCase):
    def cli(self, port, *arguments):
        command = ["redis-cli", "-c", "-p", str(port), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def test_what_redis_acknowledged_is_there_after_a_crash(self):
        self.cli(redis.port, "zincrby", "ch:18:hot", "3", "20560")
        redis.crash("redis")
        self.assertEqual(redis.states(), ["died"])
        redis.must("start")
        self.assertEqual(self.cli(redis.port, "zscore", "ch:18:hot", "20560"), "3")

    def test_a_cluster_serves_all_slots_again_after_one_crashed(self):
        # These are in the slots of all three.
        names = [f"key-{number}" for number in range(12)]
        for name in names:
            self.cli(cluster.port, "set", name, name)
        cluster.crash("redis-2")
        cluster.must("start")
        self.assertEqual([self.cli(cluster.port, "get", name) for name in names], names)
        self.assertIn("cluster_known_nodes:3", self.cli(cluster.port, "cluster", "info"))


class Kafka(unittest.TestCase):
    def topics(self, port, *arguments):
        command = "org.apache.kafka.tools.TopicCommand"
        return kafka.run("tool", command, "--bootstrap-server", f"127.0.0.1:{port}", *arguments)

    def test_messages_are_there_after_a_crash(self):
        plain = ("--bootstrap-server", f"127.0.0.1:{kafka.port}", "--topic", "click-trace")
        self.assertEqual(self.topics(kafka.port, "--create", "--topic", "click-trace").returncode, 0)
        kafka.must("tool", "org.apache.kafka.tools.ConsoleProducer", *plain, standard_input="one\ntwo\n")
        kafka.crash("broker")
        kafka.must("start")
        reader = "org.apache.kafka.tools.consumer.ConsoleConsumer"
        read = kafka.must("tool", reader, *plain, "--from-beginning", "--max-messages", "2", "--timeout-ms", "30000")
        self.assertEqual(read, "one\ntwo\n")

    def test_scram_over_tls_lets_in_only_who_knows_the_password(self):
        for password, welcome in (("alice-secret", True), ("guessed", False)):
            client = kafka.data / "client.properties"
            client.write_text(
                "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n"
                f"ssl.truststore.type=PEM\nssl.truststore.location={kafka.data}/tls/ca.pem\n"
                "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required"
                f' username="alice" password="{password}";\n'
            )
            done = self.topics(kafka.port + 2, "--list", "--command-config", str(client))
            self.assertEqual(done.returncode == 0, welcome, done.stdout + done.stderr)


class HBase(unittest.TestCase):
    def test_rows_are_there_after_a_crash_of_either_part(self):
        call("createTable", (1, b"history"), (2, [[(1, b"als:")]]))
        self.assertIn(b"history", call("getTableNames"))
        put = [(2, b"als:18"), (3, b"[20560]"), (4, True)]
        call("mutateRow", (1, b"history"), (2, b"reco:his:2"), (3, [put]), (4, {}))
        for part in ("thrift", "hbase"):
            hbase.crash(part)
            hbase.must("start")
            self.assertEqual(hbase.states(), ["ready", "ready"])
            found = call("get", (1, b"history"), (2, b"reco:his:2"), (3, b"als:18"), (4, {}))
            self.assertIn(b"[20560]", found)


class Hdfs(unittest.TestCase):
    def test_files_are_there_after_a_crash_of_all(self):
        shell = ("tool", "org.apache.hadoop.fs.FsShell")
        hdfs.must(*shell, "-put", "-", "/userClick.log", standard_input="a click\n")
        hdfs.crash("namenode", "datanode")
        self.assertEqual(hdfs.states(), ["died", "died"])
        hdfs.must("start")
        self.assertEqual(hdfs.must(*shell, "-cat", "/userClick.log"), "a click\n")


class Flume(unittest.TestCase):
    def test_an_agent_brings_what_its_client_sends_to_hdfs_and_starts_again_after_a_crash(self):
        flume = Server("flume", tempfile.mkdtemp(dir=temporary.name), HADOOP_CONF=hdfs.data / "conf")
        self.addCleanup(flume.must, "stop")
        (flume.data / "agent.properties").write_text(AGENT)
        lines = flume.data / "lines"
        lines.write_text("a click\n")
        client = ("tool", "org.apache.flume.client.avro.AvroCLIClient", "-H", "127.0.0.1")
        shell = ("tool", "org.apache.hadoop.fs.FsShell")
        for times in (1, 2):
            flume.must("start", START_SECONDS="300")
            self.assertEqual(flume.states(), ["ready"])
            flume.must(*client, "-p", str(flume.port + 1), "-F", str(lines))
            deadline = time.monotonic() + 60
            while hdfs.run(*shell, "-cat", "/flume/*.log").stdout != "a click\n" * times:
                self.assertLess(time.monotonic(), deadline)
            flume.crash("agent")


AGENT = """
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = ${env:PORT_1}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = hdfs
a1.sinks.k1.channel = c1
a1.sinks.k1.hdfs.path = /flume
a1.sinks.k1.hdfs.fileType = DataStream
a1.sinks.k1.hdfs.fileSuffix = .log
a1.sinks.k1.hdfs.inUsePrefix = _
a1.sinks.k1.hdfs.rollInterval = 0
a1.sinks.k1.hdfs.rollSize = 0
a1.sinks.k1.hdfs.rollCount = 0
a1.sinks.k1.hdfs.idleTimeout = 1
"""


class AnyServer(unittest.TestCase):
    """What server.sh does alike for all, on the one that starts at once."""

    def setUp(self):
        self.server = Server("redis", tempfile.mkdtemp(dir=temporary.name))
        self.addCleanup(self.server.must, "stop")

    def test_a_start_of_what_runs_changes_nothing(self):
        self.server.must("start")
        before = self.server.pid("redis")
        self.server.must("start")
        self.assertEqual(self.server.pid("redis"), before)

    def test_two_starts_at_once_start_one_server(self):
        with concurrent.futures.ThreadPoolExecutor() as threads:
            list(threads.map(self.server.must, ["start"] * 4))
        self.assertEqual(len(processes_of(self.server.data)), 1)

    def test_the_folder_remembers_its_port(self):
        self.server.must("start")
        self.server.must("stop")
        self.server.must("start", PORT="")
        self.assertIn(f"127.0.0.1:{self.server.port}\t", self.server.must("status"))

    def test_a_stop_ends_no_process_but_its_own(self):
        stranger = subprocess.Popen(["sleep", "600"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        (self.server.data / "redis.pid").write_text(f"{stranger.pid}\n")
        self.server.must("stop")
        self.assertIsNone(stranger.poll())

    def test_a_kill_leaves_the_data(self):
        self.server.must("start")
        subprocess.run(["redis-cli", "-p", str(self.server.port), "set", "a", "1"], check=True, capture_output=True)
        self.server.must("kill")
        self.assertEqual(self.server.states(), ["stopped"])
        self.server.must("start")
        found = subprocess.run(["redis-cli", "-p", str(self.server.port), "get", "a"], capture_output=True, text=True)
        self.assertEqual(found.stdout, "1\n")

    def test_a_port_that_is_taken_is_named(self):
        done = self.server.run("start", PORT=str(redis.port))
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"port {redis.port} is taken", done.stderr)

    def test_a_start_that_fails_shows_the_log_and_leaves_nothing(self):
        (self.server.data / "redis").mkdir()
        (self.server.data / "redis/appendonlydir").write_text("no folder")
        done = self.server.run("start")
        self.assertEqual(done.returncode, 1)
        self.assertIn("redis has ended; the end of", done.stderr)
        self.assertIn("appendonlydir", done.stderr)
        self.assertEqual(processes_of(self.server.data), [])

    def test_a_start_that_takes_too_long_shows_the_log_and_leaves_nothing(self):
        slow = Server("kafka", tempfile.mkdtemp(dir=temporary.name), START_SECONDS="1")
        done = slow.run("start")
        self.assertEqual(done.returncode, 1)
        self.assertIn("broker is not ready after 1 s; the end of", done.stderr)
        self.assertEqual(processes_of(slow.data), [])


# ---- Thrift, as much of its binary protocol as is asked here -----------------------------------------


def call(method, *fields):
    """Calls HBase's Thrift 1 server; the reply's bytes behind its name, or the exception it names."""
    name = method.encode()
    message = struct.pack(">Ii", 0x80010001, len(name)) + name + struct.pack(">i", 1) + encoded(list(fields))
    with socket.create_connection(("127.0.0.1", hbase.port), timeout=60) as connection:
        connection.sendall(message)
        reply = connection.recv(1 << 16)
    kind, field = reply[3], reply[12 + len(name) :]
    # A list or nothing is a result; a struct in field 1 and up is an exception.
    if kind != 2 or (field[0] == 12 and field[1:3] != b"\0\0"):
        raise AssertionError(f"{method}: {reply}")
    return field


def encoded(value):
    """A struct is a list of (id, value), a list is a list of structs."""
    match value:
        case bool():
            return struct.pack(">b", value)
        case bytes():
            return struct.pack(">i", len(value)) + value
        case {}:
            return struct.pack(">bbi", 11, 11, 0)
        case [(int(), _), *_] | []:
            fields = [struct.pack(">bh", type_of(one), number) + encoded(one) for number, one in value]
            return b"".join(fields) + b"\0"
        case list():
            return struct.pack(">bi", 12, len(value)) + b"".join(encoded(one) for one in value)


def type_of(value):
    return {bool: 2, bytes: 11, dict: 13, list: 15}[type(value)]


if __name__ == "__main__":
    unittest.main()
