"""The ground that data lies on: whose folder is looked at, its filesystem, and whether what is written there is encrypted on the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

VOLATILE = frozenset({"tmpfs", "ramfs"})  # gone with the next start of the machine
NOT_FOR_DATA = frozenset({"proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "debugfs", "tracefs", "squashfs", "iso9660"})
ELSEWHERE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"})
ENCRYPTING = frozenset({"ecryptfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs"})


@dataclass(frozen=True)
class Mount:
    """The filesystem under a folder: where it is mounted, from which device, its type and options."""

    place: str
    device: str
    kind: str
    options: str

    @property
    def fit(self) -> bool:
        """Whether a database may lie there: one that can be written, on this machine."""
        return self.kind not in NOT_FOR_DATA | ELSEWHERE and "ro" not in self.options.split(",")

    @property
    def volatile(self) -> bool:
        """Whether all of it is gone when the machine stops."""
        return self.kind in VOLATILE


def mount(path: Path) -> Mount:
    """The filesystem that holds a folder, its links followed."""
    real = f"{os.path.realpath(path)}/"
    rows = [row for row in psutil.disk_partitions(all=True) if real.startswith(row.mountpoint.rstrip("/") + "/")]
    found = max(enumerate(rows), key=lambda row: (len(row[1].mountpoint), row[0]), default=None)  # of two on one place the later one counts
    if found is None:
        return Mount("", "", "unknown", "")
    return Mount(found[1].mountpoint, found[1].device, found[1].fstype, found[1].opts)


def encrypted(path: Path) -> tuple[bool, str]:
    """Whether what lies below the folder is encrypted on the disk as far as this system can tell, and by what, or why nobody can tell."""
    ground = mount(path)
    if ground.volatile:
        return True, f"{ground.kind} lies in memory, nothing of it on a disk"
    if ground.kind in ENCRYPTING:
        return True, f"{ground.kind} encrypts"
    try:
        device = os.stat(ground.device).st_rdev if os.path.exists(ground.device) else os.stat(path).st_dev
    except OSError as error:
        return False, f"the device of {path} cannot be looked at ({error.strerror})"
    if crypt(Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")):
        return True, f"{ground.device} is a dm-crypt volume"
    return False, f"{ground.kind} on {ground.device} is not encrypted as far as this system can see"


def crypt(block: Path) -> bool:
    """Whether a block device of /sys, or one that it is made of, is a dm-crypt volume."""
    try:
        if (block / "dm" / "uuid").read_text(encoding="ascii").startswith("CRYPT-"):
            return True
    except (OSError, ValueError):
        pass
    try:
        below = list((block / "slaves").iterdir())
    except OSError:
        return False
    return bool(below) and all(crypt(each) for each in below)  # a volume over two disks is as safe as the one that is not


def on_this_machine(host: Mapping[str, Any]) -> Path | None:
    """The data directory of a stack, when it is a folder of this machine: the record in it is that of the very host which answers."""
    data = Path(str(host.get("data_dir") or "/none"))
    try:
        there = json.loads((data / "run" / "host.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(there, dict) and there.get("id") == host.get("id") is not None else None


def user_of(host: Mapping[str, Any]) -> int | None:
    """The user as whom the stack works; None when its process cannot be looked at."""
    try:
        return psutil.Process(int(host["pid"])).uids().effective
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None
