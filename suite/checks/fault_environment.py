"""Faults of what a stack stands on: packages, kernels, cards and ports of a throw-away view of this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.checks.fault import Fault, Stack
from suite.checks.requirement import LOCK, OURS
from suite.checks.target import Target
from suite.monitoring.gpu import Gpu

MADE_CARD = "fake:nvml"
LONG_AGO = 1_000_000_000.0  # UTC seconds: before any stack was started
LISTEN = ("import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); "
          "s.bind((sys.argv[1], int(sys.argv[2]))); s.listen(); print('up', flush=True); sys.stdin.read()")


def tell(stack: Stack, **values: Any) -> None:
    """Let the host say something else of itself."""
    host: Any = stack
    honest = host._host_facts
    host._host_facts = lambda: {**honest(), **values}


def install(target: Target, name: str, files: Mapping[str, str], about: str = "", recorded: bool = True, at: float = LONG_AGO) -> Path:
    """Put a package in front of the installed ones; gives the folder that it lies in."""
    folder = Path(str(target.folder)) / "site"
    kept = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    kept.mkdir(parents=True)
    whole = {**files, f"{kept.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{about}"}
    rows = []
    for file, text in whole.items():
        (folder / file).write_text(text, encoding="utf-8")
        found = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{file},sha256={found},{len(text.encode())}")
    if recorded:
        (kept / "RECORD").write_text("\n".join([*rows, f"{kept.name}/RECORD,,"]), encoding="utf-8")
    for path in kept.iterdir():
        os.utime(path, (at, at))
    before = target.surroundings.site
    target.surroundings.site = lambda: (folder, *before())
    return folder


def alter_file(target: Target) -> None:
    """Change a file of an installed package."""
    folder = install(target, "throwaway-part", {"throwaway_part.py": "VALUE = 1\n"})
    (folder / "throwaway_part.py").write_text("VALUE = 2\n", encoding="utf-8")


def run_early(target: Target) -> None:
    """Install a package whose .pth file runs code at every start of Python, as the theft of March 2026 did."""
    install(target, "throwaway-part", {"throwaway_part.pth": "import sys; sys.throwaway = 1\n"})


def demand_more(target: Target) -> None:
    """Let the suite demand a package in a version that is not installed."""
    install(target, OURS, {}, "Requires-Python: >=3.11\nRequires-Dist: psutil>=999\n")


def demand_later_python(target: Target) -> None:
    """Let the suite demand another Python."""
    install(target, OURS, {}, "Requires-Python: >=99\n")


def install_now(target: Target) -> None:
    """Install the suite anew under a stack that runs."""
    install(target, OURS, {}, "Requires-Python: >=3.11\n", at=2 * LONG_AGO)


def forget_record(target: Target) -> None:
    """Take away the list of the suite's own files."""
    install(target, OURS, {}, "Requires-Python: >=3.11\n", recorded=False)


def lock_another(target: Target) -> None:
    """Have another version of a package in the lock than is installed."""
    text = 'lock-version = "1.0"\n[[packages]]\nname = "psutil"\nversion = "0.0.1"\n'
    (target.surroundings.root() / LOCK).write_text(text, encoding="utf-8")


def break_kernel(target: Target) -> None:
    """Let Jupyter find a kernel whose Python was deleted."""
    folder = Path(str(target.folder)) / "kernels"
    (folder / "suite").mkdir(parents=True)
    (folder / "suite" / "kernel.json").write_text(json.dumps({"argv": ["/nowhere/bin/python", "-m", "suite.kernel"]}), encoding="utf-8")
    before = target.surroundings.kernels
    target.surroundings.kernels = lambda: (folder, *before())


def break_llama(target: Target) -> None:
    """Have a llama.cpp that cannot be loaded."""
    target.surroundings.llama = Path(str(target.folder)) / "llama_cpp"
    (target.surroundings.llama / "lib").mkdir(parents=True)
    (target.surroundings.llama / "lib" / "libllama.so").write_bytes(b"\x7fELF and then nothing")


def move_stack(stack: Stack) -> None:
    """Let the stack run in another environment than the one that is checked."""
    tell(stack, python="/nowhere/venv")


def want_card(target: Target) -> None:
    """Let the profile put all layers of both models onto a card."""
    before = target.surroundings.profile

    def wanting(name: str) -> Any:
        found = before(name)
        return replace(found, chat=replace(found.chat, n_gpu_layers=999), code=replace(found.code, n_gpu_layers=999))

    target.surroundings.profile = wanting


def claim_layers(stack: Stack) -> None:
    """Let both model servers say that twenty layers lie on a card."""
    for name in ("inference-chat", "inference-code"):
        server = stack.parts[name]
        server.info = lambda honest=server.info: {**honest(), "n_gpu_layers": 20}


def add_card(target: Target, driver: str = "581.29") -> None:
    """Want a card, and have one that nobody uses."""
    want_card(target)
    card = Gpu(0, "a card that was made for a drill", "GPU-0", 6 << 30, 0, 6 << 30, driver=driver)
    target.surroundings.cards = lambda: (card,)


def add_silent_card(target: Target) -> None:
    """Want a card, and have one whose driver does not say its version."""
    add_card(target, "")


def listen_elsewhere(stack: Stack, address: str, port: int) -> None:
    """Have a process of its own listen on a port until the stack ends."""
    child = subprocess.Popen([sys.executable, "-I", "-c", LISTEN, address, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None

    def end() -> None:
        child.communicate()  # its standard input ends, and so does it

    host: Any = stack
    host._closers.append(end)
    child.stdout.readline()


def steal_port(stack: Stack) -> None:
    """Let another process take the port of a part that has ended."""
    stack.servers.close("logs")
    listen_elsewhere(stack, "127.0.0.1", _ports(stack)["logs"])


def add_neighbour(stack: Stack) -> None:
    """Let another process listen on a port's number on another address, where a client that looks up a name may end."""
    listen_elsewhere(stack, "127.0.0.2", _ports(stack)["logs"])


def free_port(stack: Stack) -> None:
    """Let a part end and leave its port."""
    stack.servers.close("logs")


def lose_port(stack: Stack) -> None:
    """Leave a port out of the stack's definition."""
    tell(stack, ports={name: port for name, port in _ports(stack).items() if name != "logs"})


def hide_owners(target: Target) -> None:
    """Let the system not say who has a port, as it does of other users' processes."""
    before = target.surroundings.listeners
    target.surroundings.listeners = lambda: {port: {None} for port in before()}


def _ports(stack: Stack) -> dict[str, int]:
    host: Any = stack
    return dict(host.ports)


ALTERED_FILE = Fault("a file of an installed package was changed", bend=alter_file)
UNKNOWN_STARTER = Fault("a package ran code at every start of Python", bend=run_early)
UNMET_DEMAND = Fault("a package was older than the suite demands", bend=demand_more)
OLD_PYTHON = Fault("Python was older than the suite demands", bend=demand_later_python)
NEW_PACKAGE = Fault("a package was installed under the running stack", bend=install_now)
UNRECORDED = Fault("the suite's own package had no list of its files", bend=forget_record)
DRIFTED_LOCK = Fault("a package had another version than the lock", bend=lock_another)
BROKEN_KERNEL = Fault("a kernel's Python was gone", bend=break_kernel)
BROKEN_LLAMA = Fault("llama.cpp could not be loaded", bend=break_llama)
OTHER_PYTHON = Fault("the stack ran in another environment", move_stack)
CARD_WANTED = Fault("the profile wanted a card, and no layer was on one", bend=want_card)
UNDECLARED_LAYERS = Fault("layers were on a card that the profile does not have", claim_layers)
UNUSED_CARD = Fault("a card was there, layers were said to be on it, and nothing of it was taken", claim_layers, add_card, MADE_CARD)
SILENT_DRIVER = Fault("the card's driver did not say its version", claim_layers, add_silent_card, MADE_CARD)
STOLEN_PORT = Fault("another process took the port of a part", steal_port)
FREE_PORT = Fault("nobody had the port of a part", free_port)
NEIGHBOUR = Fault("another process listened on the same port of another address", add_neighbour)
MISSING_PORT = Fault("the stack's definition lacked a port", lose_port)
NAMELESS_OWNER = Fault("the system did not say who has the ports", bend=hide_owners, on="fake:psutil")
