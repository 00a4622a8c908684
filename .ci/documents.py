"""Judges the documents: every file, link and test that they name must be there."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = re.compile(r"(?:[\w.-]+/)*[\w.-]+\.(?:rs|md|toml|py)|(?:[\w.-]+/)+")
CLAIM = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+){4,}")


def main():
    tests = set()
    for folder in ("src", "collector", "dataflows", "tests", "testing", "fixtures", "stack"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".rs", ".py"):
                tests.update(re.findall(r"\b(?:fn|def) (\w+)", path.read_text()))
    documents = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("stack/*.md"))
    mistakes = [f"{path.relative_to(ROOT)}: {what}" for path in documents for what in judge(path, tests)]
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    print(f"{len(documents)} documents, {len(mistakes)} mistakes", file=sys.stderr)
    return bool(mistakes)


def judge(document, tests):
    text = document.read_text()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for named in re.findall(r"`([^`\n]+)`", prose):
        if CLAIM.fullmatch(named) and named not in tests:
            yield f"there is no test `{named}`"
        elif "/" in named and FILE.fullmatch(named) and not (ROOT / named).exists():
            yield f"there is no file `{named}`"
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists():
            yield f"the link to {link} leads nowhere"
        elif anchor and anchor not in anchors(target):
            yield f"{target.name} has no heading for #{anchor}"


def anchors(document):
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


if __name__ == "__main__":
    sys.exit(main())
