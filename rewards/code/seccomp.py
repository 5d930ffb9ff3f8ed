"""The system calls that a submission may make, as a seccomp filter; standard library only.

An allowlist: reading files, memory, threads, time, pipes. What is not on it answers EPERM, calls newer than this list
(and `clone3`, for which glibc falls back to `clone`) ENOSYS. No process, no exec, no socket but a stream pair to
itself, no signal to anybody, no ptrace, no namespace, no mount, no change of limits.
"""

from __future__ import annotations

import errno
import platform
import struct

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
NEWER = 424  # from here on both architectures share numbers: newer than this list's kernel calls
CLONE_THREAD = 0x00010000

# name: (x86_64, aarch64); None where the call does not exist.
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "brk": (12, 214), "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216),
    "madvise": (28, 233), "msync": (26, 227), "membarrier": (324, 283),
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70), "preadv2": (327, 286), "pwritev2": (328, 287),
    "close": (3, 57), "close_range": (436, 436), "lseek": (8, 62), "dup": (32, 23), "dup2": (33, None),
    "dup3": (292, 24), "flock": (73, 32), "fsync": (74, 82), "fdatasync": (75, 83), "ftruncate": (77, 46),
    "fallocate": (285, 47), "fadvise64": (221, 223), "sendfile": (40, 71), "copy_file_range": (326, 285),
    "pipe": (22, None), "pipe2": (293, 59), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None),
    "newfstatat": (262, 79), "statx": (332, 291), "statfs": (137, 43), "fstatfs": (138, 44), "access": (21, None),
    "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78),
    "getdents": (78, None), "getdents64": (217, 61), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50),
    "umask": (95, 166), "getxattr": (191, 8), "lgetxattr": (192, 9), "fgetxattr": (193, 10),
    "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13),
    "select": (23, None), "pselect6": (270, 72), "poll": (7, None), "ppoll": (271, 73), "epoll_create": (213, None),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441), "eventfd": (284, None), "eventfd2": (290, 19), "timerfd_create": (283, 85),
    "timerfd_settime": (286, 86), "timerfd_gettime": (287, 87), "signalfd": (282, None), "signalfd4": (289, 74),
    "recvfrom": (45, 207), "sendto": (44, 206), "shutdown": (48, 210), "getsockopt": (55, 209),
    "getsockname": (51, 204), "getpeername": (52, 205),
    "futex": (202, 98), "set_robust_list": (273, 99), "set_tid_address": (218, 96), "rseq": (334, 293),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126),
    "gettid": (186, 178), "getcpu": (309, 168), "exit": (60, 93), "exit_group": (231, 94),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "pause": (34, None),
    "alarm": (37, None), "getitimer": (36, 102), "setitimer": (38, 103),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getpid": (39, 172), "getppid": (110, 173), "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158), "getpriority": (140, 141),
    "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "uname": (63, 160), "capget": (125, 90),
    "wait4": (61, 260), "waitid": (247, 95), "getrandom": (318, 278), "arch_prctl": (158, None),
}  # fmt: skip
# Only where the program has a private, size-limited directory to write in.
SCRATCH: dict[str, tuple[int | None, int | None]] = {
    "creat": (85, None), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
    "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None),
    "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88), "truncate": (76, 45),
}  # fmt: skip
CHECKED: dict[str, tuple[int | None, int | None]] = {
    "clone": (56, 220), "prlimit64": (302, 261), "setrlimit": (160, 164), "socketpair": (53, 199), "fcntl": (72, 25),
    "ioctl": (16, 29), "open": (2, None), "openat": (257, 56),
}  # fmt: skip
# Duplicating, flags, locks, pipe size; F_SETOWN and F_SETSIG would send signals to other processes.
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 36, 37, 38, 1030, 1032, 1034)
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # isatty, window size, FIONREAD, FIONBIO, close-on-exec
WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY O_RDWR O_CREAT O_TRUNC O_TMPFILE

LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
Code = tuple[bytes, ...]


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def _argument(index: int, *, high: bool = False) -> bytes:
    return _op(LOAD, 16 + 8 * index + 4 * high)


ALLOW: Code = (_op(RETURN, 0x7FFF0000),)


def _fail(number: int) -> Code:
    """Answer with this errno; 0 pretends that the call worked."""
    return (_op(RETURN, 0x00050000 | number),)


def _one_of(index: int, values: tuple[int, ...], otherwise: Code) -> Code:
    tests = [_op(EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
    return (_argument(index), *tests, *otherwise, *ALLOW)


def _checks(writes: bool) -> dict[str, Code]:
    """What becomes of the calls whose arguments decide."""
    refused = _fail(errno.EPERM)
    reads = {name: (_argument(index), _op(ANY_BIT, WRITING, 0, 1), *_fail(errno.EACCES), *ALLOW)
             for name, index in (("open", 1), ("openat", 2))}  # fmt: skip
    return {
        "clone": (_argument(0), _op(ANY_BIT, CLONE_THREAD, 0, 1), *ALLOW, *refused),
        # Honest programs raise their stack limit: told yes, nothing happens. Reading is allowed.
        "setrlimit": _fail(0),
        "prlimit64": (_argument(2), _op(EQUAL, 0, 0, 3), _argument(2, high=True), _op(EQUAL, 0, 0, 1), *ALLOW,
                      *_fail(0)),
        "socketpair": (_argument(0), _op(EQUAL, 1, 0, 3), _argument(1), _op(AND, 15), _op(EQUAL, 1, 1, 0), *refused,
                       *ALLOW),
        "fcntl": _one_of(1, FCNTL, refused),
        "ioctl": _one_of(1, IOCTL, _fail(errno.ENOTTY)),
        **(reads if not writes else {"open": ALLOW, "openat": ALLOW}),
    }  # fmt: skip


def program(*, writes: bool, scratch: bool) -> bytes | None:
    """The BPF program for this machine, or None for an unknown architecture.

    writes: opening files to write is left to another layer (Landlock, a read-only view). scratch: so are the calls
    that make, move and remove files.
    """
    machine = ARCHITECTURES.get(platform.machine())
    if machine is None:
        return None
    audit, column = machine
    answers: dict[int, Code] = {}
    for numbers in (*ALLOWED.values(), *(SCRATCH.values() if scratch else ())):
        number = numbers[column]
        if number is not None:
            answers[number] = ALLOW
    checks = _checks(writes)
    for name, numbers in CHECKED.items():
        number = numbers[column]
        if number is not None:
            answers[number] = checks[name]
    segments: list[tuple[int, Code]] = []
    for number in range(NEWER + 100):
        answer = answers.get(number, _fail(errno.EPERM if number < NEWER else errno.ENOSYS))
        if not segments or segments[-1][1] != answer:
            segments.append((number, answer))
    head = (_op(LOAD, 4), _op(EQUAL, audit, 1, 0), *_fail(errno.EPERM), _op(LOAD, 0))
    return b"".join([*head, *_tree(segments)])


def _tree(segments: list[tuple[int, Code]]) -> Code:
    """A binary search for the segment of a number: short, because the kernel walks it for every number at once."""
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    low, high = _tree(segments[:middle]), _tree(segments[middle:])
    if len(low) > 255:  # too far for a conditional jump
        return (_op(AT_LEAST, segments[middle][0], 0, 1), _op(0x05, len(low)), *low, *high)
    return (_op(AT_LEAST, segments[middle][0], len(low), 0), *low, *high)
