"""What runs first in a sandboxed child: it gives up every right, then becomes the program.

Its code is given to `python -I -S`, never imported by the suite: it loads as little as it can, because every run waits for it.
"""

import marshal
import os
import sys

NAME = "<code>"  # what tracebacks call the program


def give_up(plan):
    """Limits, then capabilities, then files by Landlock, then system calls: each step needs what the later ones take."""
    import resource

    os.umask(0o077)
    if plan["join"] >= 0:
        os.write(plan["join"], b"0")  # this process, to the cgroup
    for name, limit in plan["rlimits"]:
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (limit, limit))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-plan["cores"]:])
    call, install = kernel(plan["calls"])
    call("prctl", 1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: SIGKILL when the suite dies
    if plan["parent"] and os.getppid() != plan["parent"]:
        sys.exit("The suite has ended.")
    try:
        for capability in range(64):
            call("prctl", 24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: what root would get back by running a program
    except OSError:  # there are no more, or they are not this user's to drop
        pass
    call("capset", plan["capability_header"], bytes(24))
    call("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    call("landlock_restrict_self", plan["ruleset"], 0)
    install(plan["filter"])
    os.write(plan["ready"], b"!")  # from here on nothing is left to give up
    os.closerange(3, 1 << 20)


def kernel(numbers):
    """Two functions: a system call by name, and the installation of a filter; both raise OSError.

    Made from what ctypes itself is made from: to load the whole of it takes a quarter of a run's time.
    """
    import _ctypes as c

    class Long(c._SimpleCData):
        _type_ = "l"

    class Short(c._SimpleCData):
        _type_ = "H"

    class Bytes(c._SimpleCData):
        _type_ = "z"

    class Filter(c.Structure):
        _fields_ = (("length", Short), ("steps", Bytes))

    class Function(c.CFuncPtr):
        _flags_ = c.FUNCFLAG_CDECL | c.FUNCFLAG_USE_ERRNO
        _restype_ = Long

    function = Function(c.dlsym(c.dlopen(None, 0), "syscall"))

    def call(name, *arguments):
        result = function(Long(numbers[name]), *[Long(one) if isinstance(one, int) else one for one in arguments])
        if result < 0:
            raise OSError(c.get_errno(), f"{name}: {os.strerror(c.get_errno())}")
        return result

    return call, lambda steps: call("seccomp", 1, 0, c.byref(Filter(len(steps) // 8, steps)))


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
