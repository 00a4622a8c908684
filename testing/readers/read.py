"""Reads what the job has written, by the libraries and in the ways of the site's own readers.

    read.py REDIS HBASE NAME

REDIS and HBASE are HOST:PORT, NAME is what the test's keys and tables are named after. Prints a JSON
document; the mailboxes that it has read are empty then, as the recommendation service leaves them.
"""

import json
import sys

import happybase
import redis


def address(text):
    host, port = text.split(":")
    return {"host": host, "port": int(port)}


def ranked(client, name, kind):
    """Of each channel the articles, best first, with their scores."""
    found = {}
    for key in client.keys(f"{name}:*:{kind}"):
        channel = key.decode().split(":")[1]
        ranks = client.zrevrange(key, 0, -1, withscores=True)
        found[channel] = [(int(article), score) for article, score in ranks]
    return found


def lists(table, row, column):
    """All versions of a cell, united as a set."""
    articles = set()
    for value in table.cells(row, column, versions=999999):
        articles.update(int(article) for article in eval(value))
    return articles


def main():
    servers, name = sys.argv[1:3], sys.argv[3]
    client = redis.Redis(db=10, **address(servers[0]))
    hbase = happybase.Connection(**address(servers[1]))
    mailboxes, histories = hbase.table(f"{name}-c"), hbase.table(f"{name}-h")
    out = {kind: ranked(client, name, kind) for kind in ("hot", "new")}
    out |= {"mailboxes": {}, "histories": {}}
    for row, columns in mailboxes.scan(columns=[b"online"]):
        user = row.removeprefix(b"recall:user:")
        for column in columns:
            channel = column.removeprefix(b"online:")
            cell = repr((user, channel))
            out["mailboxes"][cell] = sorted(lists(mailboxes, row, column))
            history = lists(histories, b"reco:his:" + user, b"channel:" + channel)
            out["histories"][cell] = sorted(history)
            mailboxes.delete(row, columns=[column])
    print(json.dumps(out))


if __name__ == "__main__":
    main()
