"""Runs the generator and the oracle again and again in one process.

Starting Python takes longer than a small plan does. Each line of standard input is a JSON list: `generate`
or `oracle`, then its arguments. Each answer is a line: a JSON object with what it said of a failure.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import generate  # noqa: E402
import oracle  # noqa: E402

for line in sys.stdin:
    name, *sys.argv[1:] = json.loads(line)
    said = io.StringIO()
    failed = None
    try:
        with contextlib.redirect_stderr(said):
            {"generate": generate, "oracle": oracle}[name].main()
    except SystemExit as end:
        failed = said.getvalue() if end.code else None
    print(json.dumps({"failed": failed}), flush=True)
