"""The filter of system calls: a list of what is allowed, as a program of classic BPF."""

from __future__ import annotations

import errno
import struct

from suite.tools.sandbox import syscalls

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables, AUDIT_ARCH_*
X32 = 0x40000000  # this bit in a call's number selects x86_64's second calling convention

_LOAD, _AND, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ASK = 0x7FFF0000, 0x80000000, 0x7FC00000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

# CLONE_NEW*, and those that would make the new process somebody else's child or let it be traced
_CLONE_REFUSED = 0x7E020000 | 0x8000 | 0x2000
_PRCTL = (15, 16)  # the name of a thread, set and asked for
# isatty and window size, what is there to read, non-blocking, close-on-exec, the terminal's group
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x540F)
# duplicates, flags, locks, the size of a pipe; not F_SETOWN and F_SETSIG, which send signals
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
_UNIX, _STREAM = 1, 1


def _refused(code: int) -> int:
    return 0x00050000 | code


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction; `yes` and `no` are how many to skip after a comparison."""
    return struct.pack("=HBBI", code, yes, no, value)


def _argument(index: int, high: bool = False) -> bytes:
    return _step(_LOAD, _ARGUMENTS + 8 * index + (4 if high else 0))


def _return(value: int) -> bytes:
    return _step(_RETURN, value)


def _one_of(index: int, values: tuple[int, ...], otherwise: int) -> list[bytes]:
    """Allow a call whose argument, a 32-bit number to the kernel, is one of the values."""
    tests = [_step(_EQUAL, value, yes=len(values) - place) for place, value in enumerate(values)]
    return [_argument(index), *tests, _return(_refused(otherwise)), _return(_ALLOW)]


def _bounded() -> dict[str, list[bytes]]:
    """Instructions for the calls that depend on their arguments; each list ends in an answer."""
    no = _return(_refused(errno.EPERM))
    return {
        "clone": [_argument(0), _step(_ANY_BIT, _CLONE_REFUSED, no=1), no, _return(_ALLOW)],
        "prctl": _one_of(0, _PRCTL, errno.EPERM),
        "prlimit64": _one_of(0, (0,), errno.EPERM),  # the limits of other processes of this user could be changed, too
        "ioctl": _one_of(1, _IOCTL, errno.ENOTTY),
        "fcntl": _one_of(1, _FCNTL, errno.EPERM),
        # asyncio needs one; a datagram socket could send to any path
        "socketpair": [_argument(0), _step(_EQUAL, _UNIX, no=4), _argument(1), _step(_AND, 0xF), _step(_EQUAL, _STREAM, no=1), _return(_ALLOW), no],
        "sendto": [_argument(4), _step(_EQUAL, 0, no=3), _argument(4, high=True), _step(_EQUAL, 0, no=1), _return(_ALLOW), no],
    }


def program(machine: str, *, signals: bool, groups: bool, owners: bool) -> bytes:
    """The filter for a machine; the three say which of the tables SIGNALS, GROUPS and OWNERS are let through.

    What is not allowed fails with EPERM. A call of another architecture, or of x32, kills the process with SIGSYS.
    """
    column, steps = MACHINES[machine][0], _native(machine)
    allowed = dict(syscalls.ALLOWED)
    for wanted, table in ((signals, syscalls.SIGNALS), (groups, syscalls.GROUPS), (owners, syscalls.OWNERS)):
        allowed |= table if wanted else {}
    answers = [(numbers, [_return(_ALLOW)]) for numbers in allowed.values()]
    answers += [(syscalls.BOUNDED[name], block) for name, block in _bounded().items()]
    answers += [(numbers, [_return(_refused(errno.ENOSYS))]) for numbers in syscalls.ABSENT.values()]
    answers += [(numbers, [_return(_refused(errno.ENOTSUP))]) for numbers in syscalls.ATTRIBUTES.values()]
    for numbers, block in answers:
        if (number := numbers[column]) is not None:
            steps += [_step(_EQUAL, number, no=len(block)), *block]
    steps += [_step(_GREATER, syscalls.NEWEST, no=1), _return(_refused(errno.ENOSYS)), _return(_refused(errno.EPERM))]
    return b"".join(steps)


def asking(machine: str) -> bytes:
    """A filter that lets every call pass but those that make processes and threads, which wait for an answer."""
    column, steps = MACHINES[machine][0], _native(machine)
    for numbers in (syscalls.BOUNDED["clone"], syscalls.ALLOWED["fork"], syscalls.ALLOWED["vfork"], syscalls.ABSENT["clone3"]):
        if (number := numbers[column]) is not None:
            steps += [_step(_EQUAL, number, no=1), _return(_ASK)]
    return b"".join([*steps, _return(_ALLOW)])


def numbers(machine: str) -> dict[str, int]:
    """The numbers of the calls that a child gives up its rights by, and of `clone`."""
    column = MACHINES[machine][0]
    found = {"clone": syscalls.BOUNDED["clone"], "prctl": syscalls.BOUNDED["prctl"]} | syscalls.GIVING_UP
    return {name: number for name, pair in found.items() if (number := pair[column]) is not None}


def _native(machine: str) -> list[bytes]:
    """Kill for calls of another architecture, and load the number of the others."""
    steps = [_step(_LOAD, _ARCH), _step(_EQUAL, MACHINES[machine][1], yes=1), _return(_KILL), _step(_LOAD, _NUMBER)]
    return [*steps, _step(_AT_LEAST, X32, no=1), _return(_KILL)] if machine == "x86_64" else steps
