"""Attempts to get out of the sandbox: each function tries one thing and gives true when it worked.

The text of this file is the program: it is run in the sandbox, where none may work, and without one, where those marked must. It knows no
module but the standard library's. `p` is what the test tells: paths, ports and process ids of things outside.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

ATTEMPTS: dict[str, tuple[Callable[[dict], Any], str]] = {}
LIBC = ctypes.CDLL(None, use_errno=True)
INTEL = platform.machine() == "x86_64"


def attempt(works: str = "", intel: bool = False) -> Callable[[Callable[[dict], Any]], Callable[[dict], Any]]:
    """Register an attempt; `works` says for whom it works without a sandbox: `all`, `root`, `unsafe` where that is not tried, or nothing certain."""

    def register(function: Callable[[dict], Any]) -> Callable[[dict], Any]:
        if INTEL or not intel:
            ATTEMPTS[function.__name__] = (function, works)
        return function

    return register


def call(number: int, *arguments: Any) -> int:
    """A raw system call; raises OSError."""
    result = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(one) if isinstance(one, int) else one for one in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def shell(command: str) -> str:
    return subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=False).stdout


def read(path: str) -> str:
    with open(path, encoding="latin-1") as stream:
        return stream.read(100_000)


# ---- reading ----

@attempt("all")
def read_key_by_open(p: dict) -> Any:
    return p["secret"] in read(p["key"])


@attempt("all")
def read_token_by_system(p: dict) -> Any:
    os.system(f"cat '{p['token']}' > got")
    return p["secret"] in read("got")


@attempt("all")
def read_key_by_subprocess(p: dict) -> Any:
    return p["secret"] in subprocess.run(["cat", p["key"]], capture_output=True, text=True, check=False).stdout


@attempt("all")
def read_key_by_bash(p: dict) -> Any:
    return p["secret"] in shell(f"cat < '{p['key']}'")


@attempt("all")
def read_key_by_here_document(p: dict) -> Any:
    return p["secret"] in shell(f"cat <<X\n$(< '{p['key']}')\nX\n")


@attempt("all")
def read_key_by_new_interpreter(p: dict) -> Any:
    code = f"print(open({p['key']!r}).read())"
    return p["secret"] in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout


@attempt("all")
def read_key_by_posix_spawn(p: dict) -> Any:
    pid = os.posix_spawn("/bin/bash", ["bash", "-c", f"cat '{p['key']}' > spawned"], {"PATH": "/usr/bin:/bin"})
    os.waitpid(pid, 0)
    return p["secret"] in read("spawned")


@attempt("all", intel=True)
def read_key_by_raw_open(p: dict) -> Any:
    return p["secret"].encode() in os.read(call(2, ctypes.c_char_p(p["key"].encode()), 0), 1000)


@attempt("all")
def read_key_by_openat2(p: dict) -> Any:
    how = ctypes.create_string_buffer(24)
    return p["secret"].encode() in os.read(call(437, -100, ctypes.c_char_p(p["key"].encode()), how, 24), 1000)


@attempt("all")
def read_key_through_a_path_descriptor(p: dict) -> Any:
    fd = os.open(p["outside"], os.O_PATH)
    return p["secret"].encode() in os.read(os.open("host.key", os.O_RDONLY, dir_fd=fd), 1000)


@attempt("all")
def read_key_after_chdir(p: dict) -> Any:
    os.chdir(p["outside"])
    return p["secret"] in read("host.key")


@attempt("all")
def read_key_through_symlink(p: dict) -> Any:
    os.symlink(p["key"], "link-to-key")
    return p["secret"] in read("link-to-key")


@attempt("all")
def read_key_through_hard_link(p: dict) -> Any:
    os.link(p["key"], "hard-link")
    return p["secret"] in read("hard-link")


@attempt("all")
def read_key_by_moving_it_in(p: dict) -> Any:
    os.rename(p["movable"], "moved")
    return p["secret"] in read("moved")


@attempt("all")
def read_key_in_a_race_of_links(p: dict) -> Any:
    os.mkdir("real")
    with open("real/host.key", "w") as stream:
        stream.write("nothing")
    os.symlink(p["outside"], "false")
    os.symlink("real", "way")
    stop, begun = threading.Event(), threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in ("real", p["outside"]):
                os.symlink(target, "next")
                os.rename("next", "way")
            begun.set()

    thread = threading.Thread(target=swap)
    thread.start()
    begun.wait(5)  # on a busy machine all reads could be over before the first swap
    got = False
    for _ in range(2000):
        try:
            got = got or p["secret"] in read("way/host.key")
        except OSError:
            continue
    stop.set()
    thread.join()
    return got


@attempt("all")
def read_key_with_preloaded_library(p: dict) -> Any:
    library = next(path for path in ("/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6") if os.path.exists(path))
    with open(library, "rb") as source, open("own.so", "wb") as target:
        target.write(source.read())
    got = subprocess.run(["cat", p["key"]], capture_output=True, text=True, check=False, env={"LD_PRELOAD": os.path.abspath("own.so"), "PATH": "/usr/bin:/bin"})
    return p["secret"] in got.stdout


@attempt("all")
def read_inherited_descriptors(p: dict) -> Any:
    for fd in range(3, 1024):
        try:
            if p["secret"].encode() in os.pread(fd, 1000, 0):
                return True
        except OSError:
            continue
    return False


@attempt("all")
def read_environment(p: dict) -> Any:
    return any(p["secret"] in value for value in os.environ.values())


@attempt("all")
def list_outside_folder(p: dict) -> Any:
    return "host.key" in os.listdir(p["outside"])


@attempt("all")
def list_root_folder(p: dict) -> Any:
    return os.listdir("/")


@attempt("all")
def read_passwd(p: dict) -> Any:
    return "root" in read("/etc/passwd")


@attempt("root")
def read_shadow(p: dict) -> Any:
    return "root" in read("/etc/shadow")


@attempt("all")
def list_other_folders_of_the_sandbox(p: dict) -> Any:
    os.listdir(p["box"])
    return True


@attempt("all")
def list_sys(p: dict) -> Any:
    return os.listdir("/sys/kernel") or os.listdir("/sys")


@attempt("all")
def make_a_file_handle(p: dict) -> Any:
    handle, mount = ctypes.create_string_buffer(b"\x80\0\0\0\0\0\0\0" + bytes(128)), ctypes.c_int()
    if LIBC.name_to_handle_at(-100, ctypes.c_char_p(p["key"].encode()), handle, ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    return True


@attempt("root", intel=True)
def open_a_file_handle(p: dict) -> Any:
    handle = ctypes.create_string_buffer(bytes.fromhex(p["handle"]))
    return p["secret"].encode() in os.read(call(304, os.open(".", os.O_RDONLY), handle, os.O_RDONLY), 1000)


# ---- /proc ----

@attempt("all")
def read_environment_of_the_suite(p: dict) -> Any:
    return p["secret"] in read(f"/proc/{p['suite']}/environ")


@attempt("all")
def read_environment_of_the_parent(p: dict) -> Any:
    return read(f"/proc/{os.getppid()}/environ")


@attempt("all")
def read_memory_of_the_suite(p: dict) -> Any:
    start = int(read(f"/proc/{p['suite']}/maps").split("-")[0], 16)
    with open(f"/proc/{p['suite']}/mem", "rb") as stream:
        stream.seek(start)
        return stream.read(4)


@attempt("all")
def read_key_through_root_of_the_suite(p: dict) -> Any:
    return p["secret"] in read(f"/proc/{p['suite']}/root{p['key']}")


@attempt("all")
def read_command_lines(p: dict) -> Any:
    return read("/proc/1/cmdline") and read(f"/proc/{p['suite']}/cmdline")


@attempt("all")
def write_own_adjustment(p: dict) -> Any:
    with open("/proc/self/oom_score_adj", "w") as stream:
        stream.write("1")
    return True


@attempt("root")
def open_a_kernel_setting(p: dict) -> Any:
    return os.open("/proc/sys/kernel/domainname", os.O_WRONLY)


# ---- writing ----

@attempt("all")
def write_outside(p: dict) -> Any:
    with open(p["outside"] + "/written", "w") as stream:
        stream.write("x")
    return True


@attempt("all")
def write_outside_by_bash(p: dict) -> Any:
    shell(f"echo x > '{p['outside']}/written-by-bash'")
    return os.path.getsize(p["outside"] + "/written-by-bash")


@attempt("all")
def write_tmp(p: dict) -> Any:
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        try:
            path = f"{folder}/suite-attempt-{os.getpid()}"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            os.unlink(path)
            return True
        except OSError:
            continue
    return False


@attempt("unsafe")
def write_where_programs_lie(p: dict) -> Any:
    for folder in ("/usr/local/lib", "/usr/lib", os.path.dirname(os.__file__), os.path.dirname(sys.executable)):
        try:
            return os.open(f"{folder}/suite-attempt", os.O_WRONLY | os.O_CREAT)
        except OSError:
            continue
    return False


@attempt("all")
def remove_by_bash(p: dict) -> Any:
    shell(f"ls; rm -f '{p['doomed']}'")
    os.chdir(p["outside"])
    return "doomed" not in os.listdir(".")


@attempt("all")
def remove_outside(p: dict) -> Any:
    os.unlink(p["outside"] + "/doomed-too")
    return True


@attempt("all")
def make_folder_outside(p: dict) -> Any:
    os.mkdir(p["outside"] + "/made")
    return True


@attempt("all")
def make_symlink_outside(p: dict) -> Any:
    os.symlink("/", p["outside"] + "/made-link")
    return True


@attempt("all")
def move_out(p: dict) -> Any:
    with open("mine", "w") as stream:
        stream.write("x")
    os.rename("mine", p["outside"] + "/moved-out")
    return True


@attempt("all")
def truncate_outside(p: dict) -> Any:
    os.truncate(p["outside"] + "/long", 1)
    return True


@attempt("all")
def truncate_outside_while_opening(p: dict) -> Any:
    return os.open(p["outside"] + "/long", os.O_RDONLY | os.O_TRUNC)


@attempt("all")
def change_mode_outside(p: dict) -> Any:
    os.chmod(p["outside"] + "/long", 0o666)
    return True


@attempt("all")
def change_mode_of_a_read_descriptor(p: dict) -> Any:
    os.fchmod(os.open(p["public"], os.O_RDONLY), 0o644)
    return True


@attempt("all")
def change_owner_outside(p: dict) -> Any:
    os.chown(p["outside"] + "/long", os.getuid(), os.getgid())
    return True


@attempt("all")
def change_times_outside(p: dict) -> Any:
    os.utime(p["outside"] + "/long", (1, 1))
    return True


@attempt()
def set_attribute_outside(p: dict) -> Any:
    os.setxattr(p["outside"] + "/long", "user.suite", b"x")
    return True


@attempt("unsafe")
def open_kernel_devices(p: dict) -> Any:
    for name in ("kmsg", "mem", "kvm", "fuse", "net/tun", "tty", "console", "vda", "sda", "nvme0n1", "ptmx", "loop-control"):
        try:
            return os.open("/dev/" + name, os.O_RDWR | os.O_NOCTTY)
        except OSError:
            continue
    return False


@attempt("root")
def make_a_device(p: dict) -> Any:
    os.mknod("null", 0o20600, os.makedev(1, 3))
    return True


# ---- network ----

@attempt("all")
def connect_by_tcp(p: dict) -> Any:
    with socket.create_connection(("127.0.0.1", p["tcp"]), timeout=2):
        return True


@attempt("all")
def connect_by_tcp_in_bash(p: dict) -> Any:
    return "yes" in shell(f"exec 3<>/dev/tcp/127.0.0.1/{p['tcp']} && echo yes")


@attempt("all")
def listen_by_tcp(p: dict) -> Any:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        return True


@attempt("all")
def send_by_udp(p: dict) -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"x", ("127.0.0.1", p["udp"]))


@attempt("all")
def connect_to_unix_socket(p: dict) -> Any:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(p["unix"])
        return True


@attempt("all")
def connect_to_abstract_socket(p: dict) -> Any:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + p["abstract"])
        return True


@attempt("all")
def send_from_a_pair_to_a_path(p: dict) -> Any:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        return one.sendto(b"x", p["datagram"])


@attempt("all")
def send_a_message_from_a_pair(p: dict) -> Any:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with one, other:
        return one.sendmsg([b"x"])


@attempt("all")
def ask_netlink(p: dict) -> Any:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.bind((0, 0))
        return True


@attempt("all")
def make_any_socket(p: dict) -> Any:
    for family in range(1, 46):
        for kind in (1, 2, 3, 5):
            try:
                return call(41 if INTEL else 198, family, kind, 0)
            except OSError:
                continue
    return False


@attempt("all")
def resolve_a_name(p: dict) -> Any:
    return socket.getaddrinfo("localhost", 80, proto=socket.IPPROTO_TCP)[0] and socket.socket()


# ---- other processes ----

@attempt("all")
def signal_the_victim(p: dict) -> Any:
    os.kill(p["victim"], 0)
    return True


@attempt("all")
def signal_the_suite(p: dict) -> Any:
    os.kill(p["suite"], 0)
    return True


@attempt("all")
def signal_the_group_of_the_victim(p: dict) -> Any:
    os.killpg(p["victim"], signal.SIGCONT)
    return True


@attempt("all")
def signal_by_pidfd(p: dict) -> Any:
    signal.pidfd_send_signal(os.pidfd_open(p["victim"]), signal.SIGCONT)
    return True


@attempt("all", intel=True)
def signal_a_thread(p: dict) -> Any:
    return call(234, p["victim"], p["victim"], 0) == 0


@attempt("all", intel=True)
def queue_a_signal(p: dict) -> Any:
    information = ctypes.create_string_buffer(128)
    ctypes.c_int.from_buffer(information, 8).value = -1
    return call(129, p["victim"], signal.SIGCONT, information) == 0


@attempt("all")
def signal_by_owner_of_a_pipe(p: dict) -> Any:
    reader, writer = os.pipe()
    fcntl.fcntl(reader, 10, signal.SIGCONT)
    fcntl.fcntl(reader, fcntl.F_SETOWN, p["victim"])
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
    return os.write(writer, b"x")


@attempt("all", intel=True)
def trace_the_victim(p: dict) -> Any:
    return call(101, 0x4206, p["victim"], 0, 0) == 0


@attempt("all", intel=True)
def trace_by_the_parent(p: dict) -> Any:
    return call(101, 0, 0, 0, 0) == 0


@attempt("all", intel=True)
def read_memory_of_the_victim(p: dict) -> Any:
    local = ctypes.create_string_buffer(8)
    mine = (ctypes.c_ulong * 2)(ctypes.addressof(local), 8)
    theirs = (ctypes.c_ulong * 2)(p["address"], 8)
    return call(310, p["victim"], mine, 1, theirs, 1, 0) == 8


@attempt("all")
def limit_the_victim(p: dict) -> Any:
    return resource.prlimit(p["victim"], resource.RLIMIT_CORE, (0, resource.prlimit(p["victim"], resource.RLIMIT_CORE)[1]))


@attempt("all")
def slow_the_victim(p: dict) -> Any:
    os.setpriority(os.PRIO_PROCESS, p["victim"], 5)
    return True


@attempt("all")
def move_the_victim(p: dict) -> Any:
    os.sched_setaffinity(p["victim"], os.sched_getaffinity(0))
    return True


@attempt("all")
def widen_own_cores(p: dict) -> Any:
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    return True


@attempt("all", intel=True)
def share_memory_with_the_host(p: dict) -> Any:
    return call(29, 0, 4096, 0o1600) >= 0


@attempt("all", intel=True)
def open_a_message_queue(p: dict) -> Any:
    queue = call(68, 0, 0o1600)
    call(71, queue, 0, 0)
    return True


# ---- the kernel's wider surface ----

@attempt("all", intel=True)
def set_up_io_uring(p: dict) -> Any:
    return call(425, 4, ctypes.create_string_buffer(120)) >= 0


@attempt("root", intel=True)
def make_a_bpf_map(p: dict) -> Any:
    return call(321, 0, ctypes.create_string_buffer(b"\2\0\0\0\4\0\0\0\4\0\0\0\1\0\0\0" + bytes(112)), 128) >= 0


@attempt("all", intel=True)
def add_a_key(p: dict) -> Any:
    return call(248, ctypes.c_char_p(b"user"), ctypes.c_char_p(b"suite-attempt"), ctypes.c_char_p(b"x"), 1, -2) > 0


@attempt("all", intel=True)
def ask_for_a_keyring(p: dict) -> Any:
    return call(250, 0, -2, 1) > 0


@attempt("root", intel=True)
def make_a_userfaultfd(p: dict) -> Any:
    return call(323, 0) >= 0


@attempt("all", intel=True)
def open_performance_events(p: dict) -> Any:
    event = ctypes.create_string_buffer(b"\1\0\0\0\x80\0\0\0" + bytes(120))
    ctypes.c_ulong.from_buffer(event, 40).value = 0b1100001  # off at first, nothing of the kernel
    return call(298, event, 0, -1, -1, 0) >= 0


@attempt("all", intel=True)
def unshare_user_namespace(p: dict) -> Any:
    return call(272, 0x10000000) == 0


@attempt("all")
def clone_user_namespace(p: dict) -> Any:
    pid = call(56 if INTEL else 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


@attempt("all")
def clone3_user_namespace(p: dict) -> Any:
    arguments = (ctypes.c_ulong * 11)(0x10000000, 0, 0, 0, signal.SIGCHLD)
    pid = call(435, arguments, 88)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


@attempt("all")
def clone_a_sibling(p: dict) -> Any:
    pid = call(56 if INTEL else 220, 0x8000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid


@attempt("root", intel=True)
def join_namespace_of_the_suite(p: dict) -> Any:
    return call(308, os.open(f"/proc/{p['suite']}/ns/net", os.O_RDONLY), 0) == 0


@attempt("root", intel=True)
def mount_a_file_system(p: dict) -> Any:
    os.mkdir("mounted")
    call(165, ctypes.c_char_p(b"none"), ctypes.c_char_p(b"mounted"), ctypes.c_char_p(b"tmpfs"), 0, None)
    call(166, ctypes.c_char_p(b"mounted"), 2)
    return True


@attempt("root")
def open_a_file_system(p: dict) -> Any:
    return call(430, ctypes.c_char_p(b"tmpfs"), 0) >= 0


@attempt("root")
def clone_a_mount(p: dict) -> Any:
    return call(428, -100, ctypes.c_char_p(b"/"), 1) >= 0


@attempt("root")
def change_root(p: dict) -> Any:
    os.chroot(".")
    return True


@attempt("all", intel=True)
def change_personality(p: dict) -> Any:
    return call(135, 0x0040000) >= 0


@attempt("root")
def become_another_user(p: dict) -> Any:
    os.setuid(65533)
    return True


@attempt("root")
def drop_groups(p: dict) -> Any:
    os.setgroups([])
    return True


@attempt("root")
def name_the_host(p: dict) -> Any:
    socket.sethostname(socket.gethostname())
    return True


@attempt()
def raise_own_limits(p: dict) -> Any:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard - 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return True


@attempt("all")
def run_a_setuid_program(p: dict) -> Any:
    return subprocess.run(["passwd", "-S"], capture_output=True, check=False).stdout


@attempt("all")
def gain_rights_by_a_program(p: dict) -> Any:
    return LIBC.prctl(39, 0, 0, 0, 0) == 0  # PR_GET_NO_NEW_PRIVS


@attempt("all")
def run_a_program_in_memory(p: dict) -> Any:
    fd = os.memfd_create("program")
    with open("/usr/bin/true", "rb") as stream:
        os.write(fd, stream.read())
    pid = os.fork()
    if pid == 0:
        try:
            os.execve(fd, ["true"], {})
        finally:
            os._exit(9)
    return os.waitpid(pid, 0)[1] == 0


@attempt("all")
def run_an_own_program(p: dict) -> Any:
    with open("/usr/bin/true", "rb") as source, open(os.open("program", os.O_WRONLY | os.O_CREAT, 0o755), "wb") as target:
        target.write(source.read())
    return subprocess.run([os.path.abspath("program")], check=False).returncode == 0


@attempt("", intel=True)
def call_by_the_x32_numbers(p: dict) -> Any:
    return call(0x40000000 + 39) > 0


@attempt("", intel=True)
def call_by_int_80(p: dict) -> Any:
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3")  # push rbx; mov eax, getpid; int 0x80; pop rbx; ret
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() == os.getpid()


@attempt("all", intel=True)
def make_a_call_that_no_list_names(p: dict) -> Any:
    return call(253) >= 0  # inotify_init


@attempt()
def type_into_the_terminal(p: dict) -> Any:
    for fd in (0, 1, 2):
        try:
            fcntl.ioctl(fd, termios.TIOCSTI, b"x")
            return True
        except OSError:
            continue
    return os.open("/dev/tty", os.O_RDWR)


@attempt("unsafe")
def set_the_clock(p: dict) -> Any:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return True


def try_one(name: str, p: dict) -> str:
    """What became of an attempt in a process of its own: `worked`, or why not."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            text = "worked" if ATTEMPTS[name][0](p) else "gave nothing"
        except BaseException as error:  # noqa: BLE001  whatever stopped it is the answer
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode()[:300])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read().decode()
    status = os.waitpid(pid, 0)[1]
    return text or f"signal {os.WTERMSIG(status)}"


def main(p: dict) -> None:
    """Try all, each in a folder of its own, and print what became of them."""
    here = os.getcwd()
    found = {}
    for name, (_, works) in ATTEMPTS.items():
        if works == "unsafe" and not p["boxed"]:
            continue
        os.mkdir(name)
        os.chdir(name)
        found[name] = try_one(name, p)
        os.chdir(here)
    print(json.dumps(found))
