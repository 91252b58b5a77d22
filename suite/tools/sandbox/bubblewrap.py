"""The command line that runs a program in namespaces of its own, by bubblewrap."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from suite.tools.sandbox.places import Places


def find_bubblewrap() -> str | None:
    """The path of bwrap, looked for where the system keeps programs."""
    return shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")


def arguments(bwrap: str, places: Places, folder: Path, info: int) -> list[str]:
    """What to put before the program: no network, no other processes, its folder the only writable place.

    bwrap writes the process id of the namespace's first process to the descriptor `info`. /proc is not mounted: nothing needs it.
    """
    found = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
             "--hostname", "sandbox", "--info-fd", str(info), "--clearenv"]
    for name, value in places.environment(folder).items():
        found += ["--setenv", name, value]
    for place in places.readable:
        target = Path(os.path.realpath(place))
        if place.is_symlink() and any(other in target.parents for other in places.readable):  # /bin and the like: a mount costs more
            found += ["--symlink", os.readlink(place), str(place)]
        else:
            found += ["--ro-bind", str(place), str(place)]
    for device in places.devices:
        found += ["--dev-bind", str(device), str(device)]
    return [*found, "--bind", str(folder), str(folder), "--remount-ro", "/", "--chdir", str(folder), "--"]
