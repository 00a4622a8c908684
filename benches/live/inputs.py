"""What is measured with: generated files, and topics filled with them."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from datetime import date
from itertools import islice

from live.servers import CACHE, ROOT

FIXTURES = ROOT / "fixtures"
HITS = ("click", "collect", "share")
# Of what is generated so much is left out at the end: enough for what the second half is to lose.
SPARE = 1.08
LINE_BYTES = 180
MOST_CHANNEL, MOST_ARTICLE = 2**31 - 1, 2**63 - 1


class Inputs:
    """Files of so many clicks by so many users, and one hit each of so many others.

    clicks.log      the site's clicks. In the second half all hits are of users in channels that the first
                    half has met: their histories are known then, and the job is warm
    articles.log    new articles, a twentieth of the clicks
    strangers.log   hits, each of a user who comes once: their histories are not known
    lines.log       lines of 180 bytes
    similar.tsv, history.tsv, strangers.tsv   tables: histories of users, and of the first strangers
    probes.tsv      neighbours of the articles of probes, as latency.rs wants them
    """

    def __init__(self, clicks, users, strangers, known, lines, probes):
        self.clicks, self.users, self.strangers, self.lines = clicks, users, strangers, lines
        self.known, self.probes = known, probes
        self.articles = clicks // 20
        # What the tables forget after 90 days must not be forgotten yet.
        self.at = date.today().replace(day=1).isoformat() + "T00:00:00Z"
        sources = b"".join(path.read_bytes() for path in (*sorted(FIXTURES.glob("*.py")), FIXTURES.parent / __file__))
        numbers = f"{clicks} {users} {strangers} {known} {lines} {probes} {self.at}"
        version = hashlib.sha256(sources + numbers.encode()).hexdigest()[:12]
        self.folder = CACHE / f"inputs-{version}"
        if not self.folder.exists():
            begun = CACHE / "inputs-begun"
            shutil.rmtree(begun, ignore_errors=True)
            self._write(begun)
            begun.rename(self.folder)

    def __getitem__(self, name):
        return self.folder / name

    def _write(self, folder):
        generate = [sys.executable, FIXTURES / "generate.py", "--seed", "1", "--users", self.users]
        generate += ["--clicks", int(self.clicks * SPARE), "--garbage", "0.001", "--at", self.at]
        subprocess.run([*map(str, generate), "--out", str(folder)], check=True)
        hits = self._write_clicks(folder)
        with open(folder / "new-article.log", "rb") as log:
            (folder / "articles.log").write_bytes(b"".join(islice(log, self.articles)))
        self._write_strangers(folder, hits)
        rng = random.Random(1)
        letters = "abcdefghijklmnopqrstuvwxyz0123456789 "
        with open(folder / "lines.log", "w") as file:
            file.writelines("".join(rng.choices(letters, k=LINE_BYTES - 1)) + "\n" for _ in range(self.lines))
        with open(folder / "probes.tsv", "w") as file:
            file.writelines(f"{10**9 + n}\t{2 * 10**9 + n}\t0.5\n" for n in range(self.probes))
        similar = (folder / "similar.tsv").read_bytes() + (folder / "probes.tsv").read_bytes()
        (folder / "similar.tsv").write_bytes(similar)
        for name in ("userClick.log", "new-article.log", "plan.json", "probes.tsv"):
            (folder / name).unlink()

    def _write_clicks(self, folder):
        """Writes the clicks; returns some hits: their channels and articles."""
        half, written, met, hits = self.clicks // 2, 0, set(), []
        with open(folder / "userClick.log", "rb") as log, open(folder / "clicks.log", "wb") as out:
            for line in log:
                if written == self.clicks:
                    break
                # Odd records are too few to judge by: they stay.
                cell, article = cell_of(line)
                if cell is not None:
                    if written < half:
                        met.add(cell)
                    elif cell not in met:
                        continue
                    if len(hits) < 200_000:
                        hits.append((cell[1], article))
                out.write(line)
                written += 1
        if written < self.clicks:
            raise SystemExit(f"only {written} clicks are left of {self.clicks}")
        return hits

    def _write_strangers(self, folder, hits):
        rng = random.Random(2)
        with open(folder / "strangers.log", "w") as log, open(folder / "strangers.tsv", "w") as history:
            for number in range(self.strangers):
                channel, article = hits[number % len(hits)]
                param = f'{{"action": "click", "userId": "{10**10 + number}", "articleId": "{article}", "algorithmCombine": "C2"}}'
                log.write(f'{{"actionTime":"2019-04-10 18:15:32","readTime":"","channelId":{channel},"param":{param}}}\n')
                if number < self.known:
                    ids = rng.sample(hits, min(5, len(hits)))
                    listed = ", ".join(str(article) for _, article in ids)
                    history.write(f"{10**10 + number}\t{channel}\t{milliseconds(self.at) - 1 - number % 1000}\t[{listed}]\n")


def cell_of(line):
    """The user and channel, and the article, of a hit as producers write it; None of any other record."""
    try:
        record = json.loads(line)
        channel, param = record["channelId"], record["param"]
        user, article = param["userId"], param["articleId"]
        is_usual = type(channel) is int and 0 <= channel <= MOST_CHANNEL and article.isdecimal()
        if param["action"] in HITS and is_usual and int(article) <= MOST_ARTICLE:
            return (str(user), channel), int(article)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None, None


def milliseconds(day):
    return int((date.fromisoformat(day[:10]) - date(1970, 1, 1)).total_seconds() * 1000)
