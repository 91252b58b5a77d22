"""Landlock: what the kernel has of it, and the rules of one run."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

CREATE, ADD = 444, 445  # system calls; the same on every machine
_EXECUTE, _WRITE, _READ, _LIST, _REFER, _TRUNCATE, _DEVICE_IOCTL = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 13, 1 << 14, 1 << 15
_MAKE_CHARACTER, _MAKE_SOCKET, _MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ | _TRUNCATE | _DEVICE_IOCTL
_FIRST = (1 << 13) - 1  # the rights of ABI 1
_VERSION = 1  # flag: ask for the ABI
_PATH_RULE = 1

SIGNALS_FROM = 6  # the ABI from which on signals and abstract sockets are confined


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def abi() -> int:
    """The kernel's version of Landlock; raises OSError where it has none or it is switched off.

    Asked by the system call: /sys/kernel/security is often not mounted.
    """
    return _call(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))


def _handled(version: int) -> int:
    return _FIRST | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0) | (_DEVICE_IOCTL if version >= 5 else 0)


def ruleset(version: int, readable: Iterable[Path], devices: Iterable[Path], folder: Path) -> int:
    """A descriptor of rules: read and run what is below `readable`, read and write `devices` and `folder`, nothing else.

    What lies in `folder` cannot be run as a program. TCP, signals to the outside and abstract sockets are closed where the version knows them.
    """
    handled = _handled(version)
    attributes = struct.pack("=QQQ", handled, 0b11 if version >= 4 else 0, 0b11 if version >= SIGNALS_FROM else 0)
    attributes = attributes[:8 if version < 4 else 16 if version < SIGNALS_FROM else 24]
    rules = _call(CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    try:
        for path in readable:
            _allow(rules, path, handled & (_READ | _LIST | _EXECUTE))
        for path in devices:
            _allow(rules, path, handled & (_READ | _WRITE | _TRUNCATE))
        _allow(rules, folder, handled & ~(_EXECUTE | _MAKE_CHARACTER | _MAKE_BLOCK | _MAKE_SOCKET | _DEVICE_IOCTL))
    except OSError:
        os.close(rules)
        raise
    return rules


def _allow(rules: int, path: Path, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, fd)
        _call(ADD, ctypes.c_int(rules), ctypes.c_int(_PATH_RULE), ctypes.c_char_p(rule), ctypes.c_uint(0))
    finally:
        os.close(fd)
