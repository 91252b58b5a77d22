"""What runs first in a sandboxed child: it gives up every right, then becomes the program.

Its code is given to `python -I -S`, never imported by the suite: it loads as little as it can, because every run waits for it.
"""

import marshal
import os
import sys

NAME = "<code>"  # what tracebacks call the program


def give_up(plan):
    """Limits, then capabilities, then files by Landlock, then system calls: each step needs what the later ones take."""
    import _socket  # `socket` takes longer to load than everything else here
    import ctypes
    import resource

    libc = ctypes.CDLL(None, use_errno=True)

    def demand(result, what):
        if result != 0:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    def prctl(option, value, other=0):
        return libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(other), ctypes.c_ulong(0), ctypes.c_ulong(0))

    os.umask(0o077)
    for name, limit in plan["rlimits"]:
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (limit, limit))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-plan["cores"]:])
    demand(prctl(1, 9), "PR_SET_PDEATHSIG")  # SIGKILL when the suite dies
    if plan["parent"] and os.getppid() != plan["parent"]:
        sys.exit("The suite has ended.")
    capability = 0
    while prctl(24, capability) == 0:  # PR_CAPBSET_DROP: what root would get back by running a program
        capability += 1
    demand(libc.capset(ctypes.c_char_p(plan["capability_header"]), ctypes.c_char_p(bytes(24))), "capset")
    demand(prctl(38, 1), "PR_SET_NO_NEW_PRIVS")
    demand(libc.syscall(ctypes.c_long(446), ctypes.c_int(plan["ruleset"]), ctypes.c_uint(0)), "landlock_restrict_self")

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    def install(steps, flags):
        program = Program(len(steps) // 8, steps)
        return libc.syscall(ctypes.c_long(plan["install"]), ctypes.c_uint(1), ctypes.c_uint(flags), ctypes.byref(program))

    listener = install(plan["asking"], 8)  # SECCOMP_FILTER_FLAG_NEW_LISTENER: the suite answers each call that makes a process
    demand(min(listener, 0), "seccomp listener")
    suite = _socket.socket(fileno=plan["suite"])
    suite.sendmsg([b"+"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, listener.to_bytes(4, sys.byteorder))])
    demand(install(plan["filter"], 0), "seccomp")
    os.write(plan["suite"], b"!")  # from here on nothing is left to give up
    os.closerange(3, 4096)


def run_code(source, executable):
    """The program as `__main__` of this interpreter, with the site packages of `executable`, which may be a virtual environment's."""
    sys.executable = executable
    import site

    site.main()
    sys.argv[:] = [""]
    sys.path.insert(0, os.getcwd())
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    sys.excepthook = lambda kind, error, trace: report(source, kind, error, trace)
    exec(compile(source, NAME, "exec", dont_inherit=True), main.__dict__)


def report(source, kind, error, trace):
    """A traceback that begins in the program and shows its lines."""
    import linecache
    import traceback

    linecache.cache[NAME] = (len(source), None, source.splitlines(keepends=True), NAME)
    while trace is not None and trace.tb_frame.f_code.co_filename != NAME:
        trace = trace.tb_next
    traceback.print_exception(kind, error, trace)


if __name__ == "__main__":
    plan = marshal.load(stream)  # noqa: F821  the file that this code came from
    stream.close()  # noqa: F821
    give_up(plan)
    if plan["argv"]:
        import signal

        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python; `yes | head` is to end as in any shell
            signal.signal(ignored, signal.SIG_DFL)
        os.execv(plan["argv"][0], plan["argv"])
    run_code(plan["source"], plan["executable"])
