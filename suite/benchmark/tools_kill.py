"""kill -9 at random moments of tool calls: of every call that was acknowledged both audit entries are there, and the chain is whole.

    python -m suite.benchmark.tools_kill DATA_DIR SEED

is the process that is killed: threads of it make calls, and say of each that was answered the argument that marks it and the number of its last
audit entry, as one JSON list a line: ["ready"], ["done", mark, audit_seq].
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from suite.access.checkpoint import FILE, Checkpoint
from suite.benchmark.tools_parts import FREE, Parts
from suite.errors import RunFailed, StorageError

START_SECONDS = 120.0
LONGEST = 0.5  # seconds of work before a kill, at most
THREADS = 3  # callers at once, as a server has them
WRONG = {"lost": ("acknowledged calls without their two audit entries", "calls"), "broken": ("findings in the chain", "findings"),
         "ahead": ("rounds in which the checkpoint names an entry that is not in the trail", "rounds")}


@dataclass(frozen=True)
class Round:
    """One kill: calls that were acknowledged before it, and what was found wrong after it (see WRONG)."""

    done: int
    lost: int = 0
    broken: int = 0
    ahead: int = 0

    @property
    def whole(self) -> bool:
        """Nothing was found wrong."""
        return not any(self.wrong().values())

    def wrong(self) -> dict[str, int]:
        """What was found wrong, by name."""
        return {name: value for name, value in asdict(self).items() if name != "done"}


def rounds(number: int, seed: int, folder: Path, told: Callable[[str], None] = lambda text: None) -> list[Round]:
    """So many kills, one after the other in the same data directory below `folder`; after each all calls of all rounds are looked for.

    Raises RunFailed when the process ends by itself.
    """
    chance, found = random.Random(seed), []
    acknowledged: dict[str, int] = {}
    for which in range(number):
        fresh = killed(folder / "data", seed * 100_000 + which, chance.random() * LONGEST)
        acknowledged |= fresh
        found.append(replace(examined(folder / "data", acknowledged), done=len(fresh)))
        if not found[-1].whole:
            told(f"round {which + 1}: {found[-1]}")
        elif (which + 1) % 20 == 0:
            told(f"{which + 1} of {number} rounds")
    return found


def killed(data: Path, seed: int, moment: float) -> dict[str, int]:
    """Let the process work for so many seconds and kill it; gives the calls that it had said were done."""
    data.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "suite.benchmark.tools_kill", str(data), str(seed)]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        assert process.stdout is not None
        lines: list[bytes] = []
        begun = threading.Event()

        def read(pipe: Any) -> None:
            for line in pipe:
                lines.append(line)
                begun.set()
            begun.set()

        reader = threading.Thread(target=read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            if begun.wait(START_SECONDS) and lines:
                process.wait(moment)  # it never ends by itself
        except subprocess.TimeoutExpired:
            pass
        process.kill()
        process.wait()
        reader.join(START_SECONDS)
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    if process.returncode != -9 or not lines:
        raise RunFailed(f"The process that should be killed ended by itself with status {process.returncode}: {said[-1] if said else 'no message'}")
    told = [json.loads(line) for line in lines if line.endswith(b"\n")]  # half a line was not said
    return {row[1]: row[2] for row in told if row[0] == "done"}


def examined(data: Path, acknowledged: dict[str, int]) -> Round:
    """Open the trail as the next process would, and look for both entries of every call."""
    noted = Checkpoint(data / "sqlite" / FILE).read()
    try:
        parts = Parts(data)  # itself refuses to go on from a trail that ends before its checkpoint
    except StorageError:
        return Round(0, lost=len(acknowledged), broken=1)
    try:
        seen = parts.audit.verify()
        entries = {event.seq: event for event in parts.audit.every()}
        ahead = noted is not None and (noted[0] not in entries or entries[noted[0]].digest != noted[1])
    finally:
        parts.close()
    lost = 0
    for mark, seq in acknowledged.items():
        done = entries.get(seq)
        allowed = entries.get(done.detail.get("decision_seq", 0)) if done is not None else None
        both = [event for event in (done, allowed) if event is not None and event.detail["arguments"] == {"path": mark}]
        lost += [event.outcome for event in both] != ["done", "allowed"]
    return Round(0, lost=lost, broken=len(seen.findings), ahead=int(ahead))


def main(arguments: list[str]) -> None:
    """Make calls for ever, in several threads."""
    parts = Parts(Path(arguments[0]))
    key = parts.keys.create("dev_user")[1]
    _say("ready")

    def work(which: int) -> None:
        made = 0
        while True:
            made += 1
            mark = f"{arguments[1]}-{which}-{made}"
            result = parts.tools.call(FREE, {"path": mark}, caller=parts.door.identify(key))
            _say("done", mark, result.audit_seq)

    for which in range(THREADS):
        threading.Thread(target=work, args=(which,), daemon=True).start()
    threading.Event().wait()


def _say(*row: Any) -> None:
    os.write(1, json.dumps(row).encode() + b"\n")  # one write: what threads say is not mixed, and it is in the pipe whatever becomes of this process


if __name__ == "__main__":
    main(sys.argv[1:])
