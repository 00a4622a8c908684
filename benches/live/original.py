"""The job that online-recall replaces, in its shape: in Python, one call after another on the driver.

    original.py JSON     a document: kafka, redis and thrift (addresses), topic, from (the share of each
                         partition that is passed over), seconds, cb_recall, history_recall

Runs in an environment of its own, with kafka-python, happybase and redis-py, as that job did on Spark's
driver: a batch of records is collected, decoded, and each hit dealt with before the next. Neighbours are
read for each hit, sorted, and the first ten kept; then the history; then two lists are put. Where that
job was wrong (it compared ids with bytes, so that no history ever filtered anything) this does what it
meant: fewer lists are put, which is faster. Stops after so many seconds; prints the hits that were done.
"""

import json
import sys
import time
from ast import literal_eval

import happybase
import redis
from kafka import KafkaConsumer, TopicPartition

HITS = ("click", "collect", "share")


def main():
    given = json.loads(sys.argv[1])
    pool = happybase.ConnectionPool(size=10, host="127.0.0.1", port=int(given["thrift"].rpartition(":")[2]))
    scores = redis.StrictRedis(port=int(given["redis"].rpartition(":")[2]), db=10)
    consumer = KafkaConsumer(bootstrap_servers=given["kafka"], enable_auto_commit=False)
    numbers = sorted(consumer.partitions_for_topic(given["topic"]))
    partitions = [TopicPartition(given["topic"], number) for number in numbers]
    consumer.assign(partitions)
    for partition, end in consumer.end_offsets(partitions).items():
        consumer.seek(partition, int(end * given["from"]))
    hits = calls = 0
    begun = time.monotonic()
    while time.monotonic() - begun < given["seconds"]:
        # What Spark's direct stream collects at an interval.
        batch = [record for some in consumer.poll(1000).values() for record in some]
        for record in batch:
            try:
                click = json.loads(record.value)
                is_hit = click["param"]["action"] in HITS and click["param"]["articleId"].isdecimal()
                channel, article, user = click["channelId"], click["param"]["articleId"], click["param"]["userId"]
                f"{channel} {article} {user}".encode()
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # one in a thousand is odd
                continue
            if is_hit:
                scores.zincrby(f"ch:{channel}:hot", 1, article)
                calls += recall(pool, given, str(user), channel, article)
                hits += 1
            if time.monotonic() - begun >= given["seconds"]:
                break
    print(json.dumps({"seconds": time.monotonic() - begun, "hits": hits, "calls": calls}))


def recall(pool, given, user, channel, article):
    """Recalls for one hit; returns how many calls of HBase that took."""
    with pool.connection() as connection:
        neighbours = connection.table("article_similar").row(str(article).encode(), columns=[b"similar"])
        if not neighbours:
            return 1
        nearest = sorted(neighbours.items(), key=lambda pair: pair[1], reverse=True)[:10]
        ids = [int(column.partition(b":")[2]) for column, _ in nearest]
        histories = connection.table(given["history_recall"])
        row, column = f"reco:his:{user}".encode(), f"channel:{channel}".encode()
        known = {int(one) for cell in histories.cells(row, column) for one in literal_eval(cell.decode())}
        recalled = str([one for one in ids if one not in known]).encode()
        if recalled == b"[]":
            return 2
        mailbox = connection.table(given["cb_recall"])
        mailbox.put(f"recall:user:{user}".encode(), {f"online:{channel}".encode(): recalled})
        histories.put(row, {column: recalled})
        return 4


if __name__ == "__main__":
    main()
