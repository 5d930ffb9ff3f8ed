"""What a hostile program cannot do, at every level that this machine can show."""

import json
import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import rewards.code.sandbox as sandboxes
from rewards.code import Limits, run, sandbox_level

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared" / "data"
QUICK = Limits(cpu_s=1, idle_s=1, memory_bytes=512 << 20, output_bytes=1 << 20)
TWICE = {"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [2, 10]}
CHECK = {"type": "assert", "entry_point": "f", "test": "def check(c):\n    assert c(1) == 2\n    assert c(5) == 10\n"}


@pytest.fixture(params=["namespaces", "kernel"])
def level(request, monkeypatch):
    """Both levels; the lower one by refusing the upper."""
    sandboxes.discard()
    monkeypatch.setattr(sandboxes, "_REFUSED", {"namespaces": "a test"} if request.param == "kernel" else {})
    if sandbox_level()["name"] != request.param:
        pytest.skip(f"this machine has no level {request.param}: {sandbox_level()['refused']}")
    yield request.param
    sandboxes.discard()


LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
# Each returns the right answer if the attack works.
ATTACKS = {
    "sys.exit(0)": "import sys\ndef f(x): sys.exit(0)",
    "os._exit(0)": "import os\ndef f(x): os._exit(0)",
    "always equal": "class A:\n    def __eq__(self, o): return True\n    __ne__ = None\ndef f(x): return A()",
    "equal int": "class A(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\n"
    "def f(x): return A(0)",
    "a str that lies": "class A(str):\n    __eq__ = lambda self, o: True\n    __class__ = int\n"
    "def f(x): return A('')",
    "a metaclass that lies": "class M(type):\n    def mro(c): return [c, object]\n    __mro__ = (int, object)\n"
    "class A(metaclass=M):\n    __eq__ = lambda s, o: True\ndef f(x): return A()",
    "reflected": "class A:\n    def __req__(s, o): return True\n    def __rsub__(s, o): return 0\n"
    "    def __abs__(s): return 0\n    def __bool__(s): return True\n    def __lt__(s, o): return True\n"
    "def f(x): return A()",
    "patched json": "import json\njson.dumps = lambda *a, **k: '2'\ndef f(x): return 0",
    "patched builtins": "import builtins\nbuiltins.type = builtins.len = lambda *a: 2\ndef f(x): return 0",
    "pickle": "class A:\n    def __reduce__(self): return (eval, ('2',))\ndef f(x): return A()",
    "opaque": "def f(x): return lambda: 2",
    "cycle": "def f(x):\n    v = []\n    v.append(v)\n    return v",
    "huge int": "def f(x): return 1 << (1 << 30)",
    "forged frames": "import os\nfor fd in range(3, 9):\n"
    "    for body in (b'VT', b'VO0x0;', b'A', b'R', b'P', b'Vi0x;'):\n"
    "        try: os.write(fd, len(body).to_bytes(4, 'little') + body)\n        except OSError: pass\nos._exit(0)",
    "forged end of the exam": "import os\ndef f(x):\n    for fd in range(2, 9):\n        try: os.write(fd, "
    "b'\\x01\\0\\0\\0A')\n        except OSError: pass\n    return 0",
    "frame walk": "import sys, gc\ndef f(x):\n    g = sys._getframe(1)\n    while g:\n"
    "        if any(v in ([2, 10], (2, 10)) for v in g.f_locals.values()): return 2 * x\n        g = g.f_back\n"
    "    return any(type(o) is list and o == [2, 10] for o in gc.get_objects()) and 2 * x",
    "parent memory": "import os\ndef f(x): return open(f'/proc/{os.getppid()}/maps').read() and 2 * x",
    "own memory": "def f(x): return open('/proc/self/mem', 'rb') and 2 * x",
    "process_vm_readv": LIBC + "def f(x): return (libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0) == 0) and 2 * x",
    "ptrace": LIBC + "def f(x): return (libc.ptrace(16, os.getppid() or 1, 0, 0) == 0) and 2 * x",
    "read /etc": "def f(x): return len(open('/etc/passwd').read()) and 2 * x",
    "list /": "import os\ndef f(x): return {'root', 'home'} & {*os.listdir('/')} and 2 * x",
    "write a file": "def f(x):\n    open('/var/tmp/r1_escape', 'w').write('x')\n    return 2 * x",
    "overwrite the library": "import os\ndef f(x):\n    os.utime(os.__file__)\n    return 2 * x",
    "poison the library": "import os\ndef f(x):\n    open(os.path.dirname(os.__file__) + '/evil.pth', 'w')\n"
    "    return 2 * x",
    "shared memory": "def f(x):\n    open('/dev/shm/r1_escape', 'w').write('x')\n    return 2 * x",
    "memory file": "import os\ndef f(x): return os.memfd_create('x') and 2 * x",
    "fork": "import os\ndef f(x):\n    os.fork()\n    return 2 * x",
    "vfork": LIBC + "def f(x): return (libc.syscall(58) >= 0) and 2 * x",
    "clone": LIBC + "def f(x): return (libc.syscall(56, 17, 0, 0, 0, 0) >= 0) and 2 * x",
    "clone3": LIBC + "def f(x): return (libc.syscall(435, bytes(88), 88) >= 0) and 2 * x",
    "exec": "import os\ndef f(x): os.execv('/bin/true', ['true'])",
    "subprocess": "import subprocess\ndef f(x): return subprocess.run(['true']).returncode + 2 * x",
    "multiprocessing": "import multiprocessing as m\ndef f(x):\n    m.Process(target=print).start()\n"
    "    return 2 * x",
    "kill the parent": "import os\ndef f(x):\n    os.kill(os.getppid() or 1, 9)\n    return 2 * x",
    "kill everybody": "import os\ndef f(x):\n    os.kill(-1, 9)\n    return 2 * x",
    "stop the parent": "import os, signal\ndef f(x):\n    os.kill(os.getppid() or 1, signal.SIGSTOP)\n"
    "    return 2 * x",
    "signal by F_SETOWN": "import fcntl, os\ndef f(x):\n    r, w = os.pipe()\n"
    "    fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())\n"
    "    fcntl.fcntl(r, 10, 9)\n    fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\n    os.write(w, b'x')\n"
    "    return 2 * x",
    "signal by FIOSETOWN": "import fcntl, os\ndef f(x):\n    r, w = os.pipe()\n"
    "    fcntl.ioctl(r, 0x8901, bytes(8))\n    return 2 * x",
    "tcp": "import socket\ndef f(x):\n    socket.socket()\n    return 2 * x",
    "raw socket": "import socket\ndef f(x): return socket.socket(socket.AF_PACKET, socket.SOCK_RAW) and 2 * x",
    "datagram pair": "import socket\ndef f(x):\n    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "    a.sendto(b'x', '/dev/log')\n    return 2 * x",
    "keyring": LIBC + "def f(x): return (libc.syscall(250, 0, -3, 1) >= 0) and 2 * x",
    "io_uring": LIBC + "def f(x): return (libc.syscall(425, 1, bytes(120)) >= 0) and 2 * x",
    "bpf": LIBC + "def f(x): return (libc.syscall(321, 0, bytes(64), 64) >= 0) and 2 * x",
    "namespaces": LIBC + "def f(x): return (libc.unshare(0x10000000) == 0) and 2 * x",
    "mount": LIBC + "def f(x): return (libc.mount(b'x', b'/tmp', b'tmpfs', 0, 0) == 0) and 2 * x",
    "capabilities": LIBC + "def f(x): return (libc.prctl(23, 21, 0, 0, 0) == 1 and os.setuid(0) is None "
    "and libc.chroot(b'/tmp') == 0) and 2 * x",
    "more memory": "import resource as r\ndef f(x):\n    r.setrlimit(r.RLIMIT_AS, (-1, -1))\n"
    "    bytearray(1 << 30)\n    return 2 * x",
    "slow the neighbours": "import os\ndef f(x):\n    os.sched_setaffinity(0, [0])\n"
    "    os.setpriority(0, 0, -20)\n    return 2 * x",
    "environment": "import os\ndef f(x): return 2 * x if os.environ.get('R1_TEST_SECRET') else 0",
    "link": "import os\ndef f(x):\n    os.symlink('/etc', '/tmp/e')\n"
    "    return open('/tmp/e/hostname').read() and 2 * x",
}  # fmt: skip


def test_attacks_fail(level, monkeypatch):
    monkeypatch.setenv("R1_TEST_SECRET", "hunter2")
    for name, code in ATTACKS.items():
        for tests in (TWICE, CHECK):
            report = run(code, tests, limits=QUICK)
            assert not report.passed and "passed" not in report.verdicts[:1], (name, report)
            assert "infrastructure_error" not in report.verdicts, (name, report)
    for path in ("/var/tmp/r1_escape", "/dev/shm/r1_escape", os.path.dirname(os.__file__) + "/evil.pth"):
        assert not Path(path).exists()
    assert run("def f(x): return 2 * x", TWICE).passed


def test_no_connection_gets_out(level):
    with socket.socket() as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        datagrams.bind(listener.getsockname())
        address = listener.getsockname()
        for line in (f"socket.create_connection({address!r}, 1)",
                     f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', {address!r})"):  # fmt: skip
            code = f"import socket\ndef f(x):\n    {line}\n    return 2 * x"
            assert run(code, TWICE, limits=QUICK).verdicts == ["forbidden"] * 2
        for one in (listener, datagrams):
            one.settimeout(0.2)
            with pytest.raises(TimeoutError):
                one.accept() if one is listener else one.recv(9)


DUMP = """
import gc, os, sys, types
def reach():
    found = [repr(dict(os.environ)), repr(sys.argv), repr(sys.orig_argv), repr(sys.modules)]
    for o in gc.get_objects():
        try: found.append(repr(o)[:100000])
        except BaseException: pass
    for frame in sys._current_frames().values():
        while frame:
            found += [repr(frame.f_locals), repr(frame.f_globals), repr(frame.f_code.co_consts)]
            frame = frame.f_back
    for fd in range(64):
        for read in (lambda: os.pread(fd, 1 << 20, 0), lambda: os.readlink(f'/proc/self/fd/{fd}')):
            try: found.append(repr(read()))
            except OSError: pass
    for folder in ('/proc', '/proc/self', '/proc/1', '/tmp', '.', '/dev/shm', '/', '/work', '/root', '/home'):
        for top, dirs, files in os.walk(folder):
            dirs[:] = dirs[:20]
            found.append(repr((top, dirs, files)))
            for name in files[:50]:
                try: found.append(repr(open(os.path.join(top, name), 'rb').read(1 << 16)))
                except OSError: pass
            if len(found) > 300000: break
    try:
        import ctypes
        for start, end in [map(lambda v: int(v, 16), l.split()[0].split('-')) for l in open('/proc/self/maps')]:
            found.append(repr(ctypes.string_at(start, end - start)))
    except OSError: pass
    found.append(memory())
    return '\\n'.join(found)
def memory():
    "The heap of this process, page by page: what write() can read, it gives to a pipe; the rest is EFAULT."
    import ctypes
    libc, kept = ctypes.CDLL(None), []
    r, w = os.pipe()
    base = ctypes.cast(id(kept), ctypes.c_void_p).value & ~0xfffff
    for page in range(base - (24 << 20), base + (24 << 20), 4096):
        if libc.write(w, ctypes.c_void_p(page), 4096) == 4096:
            kept.append(os.read(r, 4096).decode('latin-1'))
    return ''.join(kept)
"""


@pytest.mark.parametrize("form", ["stdin", "call", "assert"])
def test_nothing_within_reach_holds_an_expected_value_or_a_secret(level, form, monkeypatch):
    want, secret, seen = (f"{name}{uuid.uuid4().hex}" for name in ("want", "secret", "seen"))
    monkeypatch.setenv("R1_TEST_SECRET", secret)
    monkeypatch.setattr(sys, "argv", [*sys.argv, secret])
    # The marker is given to the program in halves: what it finds whole came from elsewhere.
    halves = [(mark[:20], mark[20:]) for mark in (want, secret, seen)]
    body = DUMP + "def f(x):\n    own = x + x\n    d = reach()\n"
    body += f"    return [(a + b) in d for a, b in {halves!r}] + [len(d) > 10**6]\n"
    tests = {
        "stdin": {"type": "stdin", "cases": [{"input": seen, "output": want}]},
        "call": {"type": "call", "fn_name": "f", "inputs": [[seen]], "outputs": [want]},
        "assert": {"type": "assert", "entry_point": "f", "test": f"r = f({seen!r})\nassert r == {want!r}, r"},
    }[form]
    code = body + "print(f(input()))" if form == "stdin" else body
    if form != "stdin":  # say what was found through the exception text
        code = code.replace("def f(x):", "def g(x):") + "def f(x): raise ValueError(repr(g(x)))"
    report = run(code, tests, limits=Limits(cpu_s=60, total_cpu_s=60, output_bytes=64 << 20, memory_bytes=4 << 30))
    assert not report.passed
    assert "[False, False, True, True]" in report.detail, report  # nothing but its own input


def test_scratch_files_are_private_and_small():
    if sandbox_level()["name"] != "namespaces":
        pytest.skip("no private file system view here")
    write = "import tempfile\nt = tempfile.NamedTemporaryFile('w+')\nt.write(input()); t.seek(0)\nprint(t.read())"
    tests = {"type": "stdin", "cases": [{"input": "a\n", "output": "a\n"}]}
    assert run(write, tests).passed
    keep = "import os\nprint(sorted(os.listdir('/tmp')), os.getcwd())\nopen('/tmp/kept', 'w').write('x')\nos.mkdir('d')"
    tests = {"type": "stdin", "cases": [{"input": "", "output": "[] /tmp"}] * 3}
    assert run(keep, tests).passed
    fill = "for i in range(99):\n    try: open(f'/tmp/{i}', 'wb').write(bytes(10**6))\n"
    fill += "    except OSError as e: print(i, e.errno); break"
    assert run(fill, {"type": "stdin", "cases": [{"input": "", "output": "16 28\n"}]}).passed
    many = "try:\n    for i in range(10**5): open(f'/tmp/{i}', 'w')\nexcept OSError as e: print(i < 1000, e.errno)"
    assert run(many, {"type": "stdin", "cases": [{"input": "", "output": "True 28\n"}]}, limits=Limits(cpu_s=20)).passed


def test_the_level_is_reported_layer_by_layer(level):
    found = sandbox_level()
    assert found["name"] == level and found["seccomp"] and found["no_new_privs"] and found["capabilities_dropped"]
    assert found["namespaces"] == (["user", "pid", "net", "ipc", "uts", "mount"] if level == "namespaces" else [])
    assert bool(found["refused"]) == (level == "kernel")


def test_below_the_minimum_nothing_runs(monkeypatch):
    sandboxes.discard()
    monkeypatch.setattr(sandboxes, "_REFUSED", {"namespaces": "a test"})
    report = run("def f(x): return 2 * x", TWICE, min_level="namespaces")
    assert report.verdicts == ["infrastructure_error"] and "'namespaces' is asked for (a test)" in report.detail
    assert run("def f(x): return 2 * x", TWICE).passed
    sandboxes.discard()


def test_a_layer_that_fails_in_the_child_is_an_infrastructure_error():
    sandboxes.discard()
    server = sandboxes.sandbox()
    request = {"mode": "calls", "code": "f = abs", "fn_name": "f", "inputs": []}
    child = server.start(request, Limits(memory_bytes=1 << 80))
    with child, pytest.raises(sandboxes.InfrastructureError, match="not isolated"):
        child.wait()
    sandboxes.discard()


PYTHONS = (sys.executable, "/usr/bin/python3")


def rounds(place, cases):
    """One round of `code_rounds.py` in that place, by an interpreter that the place can read; None without one."""
    launch = [sys.executable, str(HERE / "code_places.py"), place, "--"]
    for python in PYTHONS:
        probe = f"import sys, os; sys.exit(sys.version_info < (3, 11) or not os.access({str(HERE)!r}, os.R_OK))"
        command = [*launch, python, "-c", probe]
        if os.path.exists(python) and subprocess.run(command, capture_output=True).returncode == 0:
            command = [*launch, python, str(HERE / "code_rounds.py"), "1", "1"]
            done = subprocess.run(command, input=cases, capture_output=True, text=True)
            assert done.stdout, done.stderr
            return json.loads(done.stdout)
    return None


@pytest.mark.skipif(not DATA.exists(), reason="labelled development cases are not on this machine")
@pytest.mark.parametrize("place", ["here", "nobody", "container", "container-nobody"])
def test_labelled_cases_in_every_place(place):
    if os.getuid() != 0 and place != "here":
        pytest.skip("only root can become somebody else")
    if os.uname().machine != "x86_64" and place.startswith("container"):
        pytest.skip("the emulated container is written for x86_64")
    hostile = [line for line in (DATA / "hostile_dev.jsonl").read_text().splitlines()
               if place == "here" or json.loads(line).get("within_s") is None]  # fmt: skip
    ordinary = (DATA / "code_dev.jsonl").read_text().splitlines()[:: 1 if place == "here" else 8]
    found = rounds(place, "\n".join([*hostile, *ordinary]))
    if found is None:
        pytest.skip("that user cannot read an interpreter and this checkout")
    assert found["wrong"] == [] and found["left"] == []
    assert found["level"] == ("kernel" if place.startswith("container") else sandbox_level()["name"])
