"""kill -9 at random moments of mixed saves, edits, deletes and syncs: nothing is lost, nothing comes back.

    python tests/killed_memory.py ROUNDS SEED [postgresql]

The work is done by suite.benchmark.durability_kill, which `suite bench durability` runs too.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from suite.benchmark.durability import POSTGRES, SQLITE, WRONG, address
from suite.benchmark.durability_kill import rounds


def main(arguments: list[str]) -> int:
    """The rounds, and what was found."""
    database = POSTGRES if arguments[2:] else SQLITE
    with tempfile.TemporaryDirectory() as folder, address(database) as url:
        done = rounds(int(arguments[0]), int(arguments[1]), Path(folder).resolve(), url, lambda text: print(text, flush=True))
    found = ", ".join(f"{sum(one.wrong()[name] for one in done)} {sentence}" for name, sentence in WRONG.items())
    print(f"{database}: {len(done)} kills, seed {arguments[1]}, {sum(one.busy for one in done)} in the middle of a deed, "
          f"{sum(one.done for one in done)} deeds acknowledged; {found}")
    return 0 if all(one.whole for one in done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
