"""kill -9 at random moments of tool calls: every acknowledged call is in the audit trail, and the trail is whole.

    python tests/killed_audit.py ROUNDS SEED

The work is done by suite.benchmark.tools_kill, of which `suite bench tools` runs a few rounds too.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from suite.benchmark.tools_kill import WRONG, rounds


def main(arguments: list[str]) -> int:
    """The rounds, and what was found."""
    with tempfile.TemporaryDirectory() as folder:
        done = rounds(int(arguments[0]), int(arguments[1]), Path(folder).resolve(), lambda text: print(text, flush=True))
    found = ", ".join(f"{sum(one.wrong()[name] for one in done)} {sentence}" for name, (sentence, _) in WRONG.items())
    print(f"{len(done)} kills, seed {arguments[1]}, {sum(one.done for one in done)} calls acknowledged; {found}")
    return 0 if all(one.whole for one in done) and any(one.done for one in done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
