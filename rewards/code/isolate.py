"""Isolation of one process by the kernel; loaded inside the fork-server, standard library only.

Layers, each used where the kernel allows it: network, ipc and uts namespaces (once, for the server and all its
children), rlimits, no capabilities, `no_new_privs`, Landlock (read-only interpreter libraries, no other file, no TCP)
and a seccomp filter (no new process, no exec, no socket, no signal, no ptrace, no new limits).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import struct
import sys
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x04000000, 0x08000000, 0x10000000, 0x40000000
CLONE_THREAD = 0x00010000
EPERM, EACCES, ENOSYS = 1, 13, 38
STACK_BYTES = 256 << 20

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# name: (x86_64, aarch64); None where the call does not exist. All answer EPERM.
DENIED: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186),
    "mq_open": (240, 180), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432),
    "fsconfig": (431, 431), "fspick": (433, 433), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268),
    "bpf": (321, 280), "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116), "personality": (135, 92),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "inotify_init1": (294, 26), "inotify_init": (253, None), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162),
    "setpriority": (141, 140), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "ioprio_set": (251, 30), "setsid": (112, 157),
    "setpgid": (109, 154), "mlock": (149, 228), "mlock2": (325, 284), "mlockall": (151, 230), "truncate": (76, 45),
    "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33), "creat": (85, None),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utimensat": (280, 88), "setxattr": (188, 5), "openat2": (437, 437),
    "landlock_restrict_self": (446, 446), "seccomp": (317, 277), "prctl": (157, 167),
}  # fmt: skip
PRETEND = {"setrlimit": (160, 164)}  # answers success and does nothing: honest programs raise their stack limit
# numbers and the index of the flags argument
OPENS: dict[str, tuple[int | None, int | None, int]] = {"open": (2, None, 1), "openat": (257, 56, 2)}
WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY O_RDWR O_CREAT O_TRUNC O_TMPFILE

LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def _jump(code: int, value: int, yes: int, no: int) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def seccomp_program(*, writes: bool) -> bytes | None:
    """The BPF program for this machine, or None for an unknown architecture. `writes`: files may be opened to write."""
    machine = ARCHITECTURES.get(platform.machine())
    if machine is None:
        return None
    audit, column = machine
    program = [_jump(LOAD, 4, 0, 0), _jump(EQUAL, audit, 1, 0), _jump(RETURN, ERRNO | EPERM, 0, 0),
               _jump(LOAD, 0, 0, 0)]  # fmt: skip
    if column == 0:  # the x32 numbers of x86_64
        program += [_jump(ANY_BIT, 0x40000000, 0, 1), _jump(RETURN, ERRNO | ENOSYS, 0, 0)]
    for numbers in DENIED.values():
        program += _answer(numbers[column], ERRNO | EPERM)
    for numbers in PRETEND.values():
        program += _answer(numbers[column], ERRNO)
    program += _answer(435, ERRNO | ENOSYS)  # clone3: glibc falls back to clone, whose flags can be read here
    low = {"clone": (56, 220), "prlimit64": (302, 261)}
    program += [_jump(EQUAL, low["clone"][column], 0, 4), _jump(LOAD, 16, 0, 0), _jump(ANY_BIT, CLONE_THREAD, 1, 0),
                _jump(RETURN, ERRNO | EPERM, 0, 0), _jump(RETURN, ALLOW, 0, 0)]  # fmt: skip
    # prlimit64 that only reads (new limit NULL, both halves) is fine, setting is pretended
    program += [_jump(EQUAL, low["prlimit64"][column], 0, 6), _jump(LOAD, 32, 0, 0), _jump(EQUAL, 0, 0, 2),
                _jump(LOAD, 36, 0, 0), _jump(EQUAL, 0, 1, 0), _jump(RETURN, ERRNO, 0, 0),
                _jump(RETURN, ALLOW, 0, 0)]  # fmt: skip
    for first, second, index in OPENS.values():
        opening = second if column else first
        if opening is not None and not writes:
            program += [_jump(EQUAL, opening, 0, 4), _jump(LOAD, 16 + 8 * index, 0, 0),
                        _jump(ANY_BIT, WRITING, 0, 1), _jump(RETURN, ERRNO | EACCES, 0, 0),
                        _jump(RETURN, ALLOW, 0, 0)]  # fmt: skip
    return b"".join([*program, _jump(RETURN, ALLOW, 0, 0)])


def _answer(number: int | None, action: int) -> list[bytes]:
    return [] if number is None else [_jump(EQUAL, number, 0, 1), _jump(RETURN, action, 0, 0)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install_seccomp(program: bytes) -> None:
    """Raises OSError where the kernel refuses."""
    _call(LIBC.prctl, PR_SET_SECCOMP, 2, ctypes.byref(_Program(len(program) // 8, program)), 0, 0)


def landlock_version() -> int:
    """The Landlock ABI of this kernel; 0 without."""
    return max(0, int(LIBC.syscall(444, None, ctypes.c_size_t(0), 1)))


def landlock_rules(version: int, readable: list[str]) -> int:
    """A ruleset (file descriptor) under which only `readable` can be read and nothing written or connected to."""
    files = (1 << 13) - 1  # all file rights of ABI 1
    files |= (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0) | (1 << 15 if version >= 5 else 0)
    attributes = struct.pack("<QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _call(LIBC.syscall, 444, attributes, ctypes.c_size_t(size), 0)
    for path in readable:
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights = (1 << 2) | (1 << 3) if os.path.isdir(path) else 1 << 2  # read files, list directories
            if path == os.devnull:
                rights |= (1 << 1) | (1 << 14 if version >= 3 else 0)  # write, truncate
            _call(LIBC.syscall, 445, rules, 1, struct.pack("<Qi", rights, handle), 0)
            os.close(handle)
    return rules


def readable_paths() -> list[str]:
    """What a program may read: the standard library, shared libraries, time zones, and harmless devices."""
    paths = {path for path in sys.path if os.path.isdir(path)} | {os.path.dirname(os.__file__)}
    paths |= {"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/localtime"}
    return sorted(paths | {"/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/etc/ld.so.cache"})


def unshare_server() -> list[str]:
    """Leave the network and ipc of the host, for this process and its children; the names of what worked."""
    spaces = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    for extra in (0, CLONE_NEWUSER):
        if LIBC.unshare(spaces | extra) == 0:
            return ["net", "ipc", "uts", *(["user"] if extra else [])]
    return []


def drop_capabilities() -> None:
    """No capability is left, also as root; raises OSError."""
    header = struct.pack("<Ii", 0x20080522, 0)
    _call(LIBC.capset, header, bytes(24))


def isolate(limits: dict[str, Any], level: dict[str, Any], rules: int | None, program: bytes | None) -> None:
    """Apply to this process every layer that `level` says works; an OSError means the process must not go on."""
    cpu = max(1, int(-(-limits["cpu_s"] // 1)))
    output = limits["output_bytes"]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not level["seccomp"] and os.getuid() != 0:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    _call(LIBC.prctl, PR_SET_PDEATHSIG, 9, 0, 0, 0)
    _call(LIBC.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)
    if level["capabilities_dropped"]:
        drop_capabilities()
    if level["no_new_privs"]:
        _call(LIBC.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if level["landlock"] and rules is not None:
        _call(LIBC.syscall, 446, rules, 0)
        os.close(rules)
    if level["seccomp"] and program is not None:
        install_seccomp(program)


def _call(function: Any, *arguments: Any) -> int:
    result = int(function(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function.__name__)
    return result
