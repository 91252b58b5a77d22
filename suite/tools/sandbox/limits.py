"""How much a sandboxed program may use."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
_BWRAP = 4  # its own processes count, too


@dataclass(frozen=True)
class Limits:
    """Bounds of one run: sizes in bytes, times in seconds. `memory`, `cpu` and `processes` count the whole tree of processes.

    `memory` is resident memory, in which pages shared by two processes count twice. Of each output stream `output` bytes are kept, and a
    program that writes more than `flood` in all is ended. `threads` is what the kernel bounds (threads of all processes), where it does.
    """

    memory: int = 512 * MIB
    cpu: float = 30.0
    output: int = MIB
    flood: int = 8 * MIB
    file: int = 10 * MIB
    folder: int = 100 * MIB
    entries: int = 10_000
    processes: int = 10
    threads: int = 64
    descriptors: int = 64
    cores: int = 4

    def rlimits(self, threads: bool) -> list[tuple[str, int]]:
        """What the kernel holds every single process to; `threads` tells whether RLIMIT_NPROC would count this sandbox alone.

        Memory and CPU time are looser than the limits, which the supervisor holds the whole tree to.
        """
        found = [("RLIMIT_AS", 8 * self.memory), ("RLIMIT_DATA", 2 * self.memory), ("RLIMIT_CPU", int(self.cpu) + 1), ("RLIMIT_FSIZE", self.file),
                 ("RLIMIT_NOFILE", self.descriptors), ("RLIMIT_CORE", 0), ("RLIMIT_MEMLOCK", 0), ("RLIMIT_MSGQUEUE", 0)]
        return [*found, ("RLIMIT_NPROC", self.threads + _BWRAP)] if threads else found
