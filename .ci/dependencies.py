"""Judges the dependencies of the workspace: each is used, and deny.toml allows it.

What needs the database of advisories is left to cargo-deny; this needs Python and cargo alone.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    metadata = json.loads(
        subprocess.check_output(
            ["cargo", "metadata", "--locked", "--format-version", "1", "--features", "failpoints"], cwd=ROOT
        )
    )
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    members = set(metadata["workspace_members"])
    mistakes = []
    for package in metadata["packages"]:
        if package["id"] in members:
            mistakes += unused(package)
        else:
            mistakes += forbidden(package, rules)
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    print(f"{len(metadata['packages'])} packages, {len(mistakes)} mistakes", file=sys.stderr)
    return bool(mistakes)


def unused(package):
    """A dependency that no source of the package names."""
    folder = pathlib.Path(package["manifest_path"]).parent
    # benches/stores and fuzz are packages of their own, and a package does not use another's.
    others = [path.parent for path in folder.glob("*/**/Cargo.toml")] + [folder / "target"]
    sources = [
        path.read_text()
        for path in folder.rglob("*.rs")
        if not any(path.is_relative_to(other) for other in others)
    ]
    for dependency in package["dependencies"]:
        name = (dependency["rename"] or dependency["name"]).replace("-", "_")
        if not any(re.search(rf"\b{name}::|\buse {name}\b", source) for source in sources):
            yield f"{package['name']}: {dependency['name']} is not used"


def forbidden(package, rules):
    """What deny.toml says against a package."""
    called = f"{package['name']} {package['version']}"
    if package["name"] in {banned["crate"] for banned in rules["bans"]["deny"]}:
        yield f"{called} is banned"
    if package["source"].split("+", 1)[1] not in rules["sources"]["allow-registry"]:
        yield f"{called} comes from {package['source']}"
    if not allowed(package["license"] or "none", rules["licenses"]["allow"]):
        yield f"{called} has the licence {package['license']}"


def allowed(expression, licences):
    """Evaluates an SPDX expression: AND binds closer than OR; a slash is an old OR."""
    tokens = re.findall(r"[()]|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))
    words = {"(": "(", ")": ")", "AND": "and", "OR": "or"}
    return eval(" ".join(words.get(token) or str(token in licences) for token in tokens))


if __name__ == "__main__":
    sys.exit(main())
