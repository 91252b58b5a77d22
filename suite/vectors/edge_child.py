"""A child process that works on the files of a shard: the engine's long calls hold Python still, and damaged files may end the process.

Run by path, never imported: `python -I edge_child.py <folder of packages> <pid of the parent> optimize|open <folder of the shard>`. It ends with 0
when all went well, with 5 when there was nothing to optimize, and with 3 and a reason as the last line of standard error when the engine refused.
"""

import ctypes
import os
import signal
import sys

NOTHING_TO_DO, REFUSED = 5, 3


def main(packages, parent, verb, place):
    """Do one thing with one shard."""
    die_with(int(parent))
    sys.path.append(packages)
    import qdrant_edge as edge

    try:
        shard = edge.EdgeShard.load(place)
        done = shard.optimize() if verb == "optimize" else look_through(edge, shard)
        shard.flush()
        shard.close()
    except Exception as error:  # noqa: BLE001 - edge raises nothing more specific; the parent reads the reason
        print("reason:", " ".join(str(error).split())[:300], file=sys.stderr)
        sys.exit(REFUSED)
    sys.exit(0 if done else NOTHING_TO_DO)


def look_through(edge, shard):
    """Read every point, so that files that end too early are met here."""
    after = None
    while True:
        _, after = shard.scroll(edge.ScrollRequest(offset=after, limit=1000, with_payload=True, with_vector=True))
        if after is None:
            return True


def die_with(parent):
    """End when the parent ends, however it ends: nobody waits for the result any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
