"""Which files of the machine a sandboxed program may read, and which interpreter and shell it is run by."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
PUBLIC = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")  # where libraries lie, what `awk` is, what time it is; no secrets
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_PARTS = ("bin", "lib", "lib64", "pyvenv.cfg")  # of an interpreter's prefix: one like ~/.local holds more, and not all of it is public


@dataclass(frozen=True)
class Places:
    """Paths as the program sees them. `readable` may be links, whose targets are meant."""

    readable: tuple[Path, ...]
    devices: tuple[Path, ...]
    interpreter: Path
    executable: Path
    path: str

    def environment(self, folder: Path) -> dict[str, str]:
        """All the variables that a program gets; PWD is one that bubblewrap would set anyway."""
        return {"PATH": self.path, "HOME": str(folder), "PWD": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}


def find_places() -> Places:
    """The places of this machine and of the interpreter that runs now."""
    hops = _hops(Path(os.path.abspath(sys.executable)))
    prefixes = [Path(prefix) for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)] + [hop.parent.parent for hop in hops]
    readable = [Path(name) for name in (*SYSTEM, *PUBLIC)]
    readable += [prefix / part for prefix in dict.fromkeys(prefixes) if prefix not in (Path("/"), Path("/usr")) for part in _PARTS]
    path = ":".join(dict.fromkeys([str(hops[0].parent), "/usr/local/bin", "/usr/bin", "/bin"]))
    return Places(tuple(place for place in dict.fromkeys(readable) if place.exists()), tuple(Path(name) for name in DEVICES if os.path.exists(name)),
                  hops[-1], hops[0], path)


def _hops(executable: Path) -> list[Path]:
    """The interpreter's path and where its links lead, the file itself last."""
    hops = [executable]
    while hops[-1].is_symlink() and len(hops) < 40:
        hops.append(Path(os.path.normpath(hops[-1].parent / os.readlink(hops[-1]))))
    return [*hops, Path(os.path.realpath(executable))]
