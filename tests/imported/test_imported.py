"""A child of the server is what an interpreter started by itself is, and shares nothing with another."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import children
from tests.children import FROM_THE_START, LEFT_BEHIND, ROOT, end, finish, on_path, run, start
from tests.imported.client import Imported, fits, possible

pytestmark = pytest.mark.skipif(not possible(), reason="children are forked on Linux without a GPU alone")
TELLS = """
import json, os, resource, signal, sys, tempfile, threading
import __main__
signals = {s.name: str(signal.getsignal(s)) for s in signal.Signals}
streams = [[s.encoding, s.errors, s.line_buffering, s.seekable(), s.fileno(), s.isatty()]
           for s in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)]
print(json.dumps({
    "argv": sys.argv, "orig_argv": sys.orig_argv[1:], "cwd": os.getcwd(), "env": dict(os.environ),
    "path": sys.path, "name": __name__, "main": __main__.__dict__ is globals(), "flags": str(sys.flags),
    "spec": getattr(__spec__, "name", None), "file": globals().get("__file__"), "package": __package__ or "",
    "leads": [os.getpid() == os.getsid(0), os.getpid() == os.getpgid(0)],
    "streams": streams, "signals": signals,
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "wakeup": signal.set_wakeup_fd(-1),
    "open": sorted(os.readlink(f"/proc/self/fd/{n}").split(":")[0]
                   for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")),
    "threads": len(os.listdir("/proc/self/task")), "alive": threading.active_count(),
    "temp": tempfile.gettempdir(),
    "limits": [resource.getrlimit(n) for n in range(16)], "umask": os.umask(0o22), "nice": os.nice(0),
    "tests": sorted(n for n in sys.modules if n.partition(".")[0] in ("tests", "server", "client")),
}))
"""


def both(command: list[object], **options: Any) -> list[subprocess.CompletedProcess[str]]:
    """What a command does in an interpreter of its own, and as a child of the server."""
    first = start([sys.executable, "-c", ""], imported=True)
    assert isinstance(first, Imported) and finish(first).returncode == 0
    return [run(command, imported=imported, **options) for imported in (False, True)]


@pytest.mark.parametrize("how", ["code", "file", "module"])
def test_it_starts_with_what_a_process_of_its_own_has(how: str, tmp_path: Path) -> None:
    (tmp_path / "tells.py").write_text(TELLS, encoding="utf-8")
    program = {"code": ["-c", TELLS], "file": [tmp_path / "tells.py"], "module": ["-m", "tells"]}[how]
    own, child = both([sys.executable, *program, "a", "-b"], cwd=tmp_path, WANDB_MODE="other")
    expected, found = (json.loads(done.stdout) for done in (own, child))
    assert found == expected and own.stderr == child.stderr == ""
    assert found["env"]["WANDB_MODE"] == "other" and found["leads"] == [True, True]


ENDS = {
    "pass": 0,
    "raise SystemExit(3)": 3,
    "import sys; sys.exit('said')": 1,
    "raise ValueError('said')": 1,
    "raise KeyboardInterrupt": -signal.SIGINT,
    "import os; os._exit(7)": 7,
    "import os; os.abort()": -signal.SIGABRT,
    "import os; os.kill(os.getpid(), 9)": -signal.SIGKILL,
    "import atexit; atexit.register(print, 'said')": 0,
    "import threading, time; threading.Timer(0.2, print, ['said']).start()": 0,
    "import sys; print('\\xe4'); print('\\xf6', file=sys.stderr); sys.stdout.write('said')": 0,
}


@pytest.mark.parametrize("code", ENDS)
def test_it_ends_as_a_process_of_its_own_does(code: str) -> None:
    own, child = both([sys.executable, "-c", code])
    assert own.returncode == child.returncode == ENDS[code]
    assert own.stdout == child.stdout
    assert (own.stderr.splitlines() or [""])[-1] == (child.stderr.splitlines() or [""])[-1]
    assert ("said" in child.stdout + child.stderr) is ("said" in code)


def test_two_share_no_state_and_the_server_lives_through_all_of_them() -> None:
    code = """
import os, random, sys
import numpy as np
import torch
import ctmar.units
print(getattr(ctmar.units, "mark", None), os.environ.get("MARK"), "json.tool" in sys.modules, torch.rand(1))
print(random.random(), np.random.rand())
import json.tool
ctmar.units.mark = os.environ["MARK"] = "left"
sys.stdout.flush()
os.abort()
"""
    server = children.server().process
    first, second = (run([sys.executable, "-c", code], imported=True).stdout.splitlines() for _ in range(2))
    assert first[0] == second[0] and first[0].startswith("None None False")
    assert not set(first[1].split()) & set(second[1].split())
    assert children.server().process is server and server.poll() is None


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_it_answers_signals(name: str) -> None:
    sleeps = "import time; print('on', flush=True); time.sleep(60)"
    child = start([sys.executable, "-c", sleeps], imported=True)
    assert child.stdout is not None and child.stdout.readline() == "on\n" and child.poll() is None
    os.killpg(child.pid, getattr(signal, name))
    assert finish(child, 20).returncode == -getattr(signal, name)
    assert end(child) == ("", "")


def test_over_its_limit_it_is_ended_with_its_own_children_and_had_said_what_it_said() -> None:
    sleeps = [sys.executable, "-c", "import time; print(7, flush=True); time.sleep(60)"]
    code = f"import subprocess; subprocess.run({sleeps!r}, check=False)"
    with pytest.raises(AssertionError, match="still running after 2 s(.|\n)*7"):
        run([sys.executable, "-c", code], limit=2, imported=True)


def test_limits_of_its_resources_are_its_own(tmp_path: Path) -> None:
    code = "with open('file', 'wb') as file: file.write(bytes(2000))"
    limits = {resource.RLIMIT_FSIZE: (1000, 1000)}
    for done in both([sys.executable, "-c", code], cwd=tmp_path, limits=limits):
        assert done.returncode == 1 and "File too large" in done.stderr
    assert run([sys.executable, "-c", code], cwd=tmp_path, imported=True).returncode == 0


def test_it_computes_in_threads() -> None:
    code = """
import numba, torch
numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
torch.set_num_threads(2)
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
one = torch.ones(500, 500)
ray = RayTransform(ImageGrid((32, 32), 1.0), ParallelBeam(60, 47, 1.0), "native")
print(ray.forward(torch.ones(2, 32, 32)).sum().item(), one.matmul(one).sum().item())
"""
    own, child = both([sys.executable, "-c", code], limit=120)
    assert own.stdout == child.stdout and len(child.stdout.split()) == 2, child.stderr


def test_importing_says_nothing() -> None:
    assert run([sys.executable, "-c", ""], imported=True).returncode == 0
    assert (children.server().folder / "stderr").read_text(encoding="utf-8") == ""


@pytest.mark.slow
def test_with_the_tests_the_server_and_its_children_end() -> None:
    code = """
import sys, time
from tests import children
sleeps = "import time; print('on', flush=True); time.sleep(60)"
child = children.start([sys.executable, "-c", sleeps], imported=True)
child.stdout.readline()
print(child.pid, children.server().process.pid, flush=True)
time.sleep(60)
"""
    tests = start([sys.executable, "-c", code], cwd=ROOT)
    assert tests.stdout is not None
    pids = [int(pid) for pid in tests.stdout.readline().split()]
    assert len(pids) == 2 and all(Path(f"/proc/{pid}").exists() for pid in pids)
    end(tests)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


WORDS = {
    "ctmar": (2, "", "usage: ctmar"),
    "ctmar nonsense": (2, "", "usage: ctmar"),
    "ctmar new class": (2, "", "error: "),
    "ctmar new mine && ls mine/mine.py": (0, "mine/mine.py\n", ""),
    "OMP_NUM_THREADS=64 ctmar new class": (2, "", "error: "),
    "ctmar new mine > said; ctmar new mine 2> said; cat said": (0, "error: ", ""),
}


@pytest.mark.parametrize("words", WORDS)
def test_a_shell_finds_it(words: str, tmp_path: Path) -> None:
    done = run(["bash", "-uc", words], cwd=tmp_path, **on_path(tmp_path / "bin"))
    status, out, error = WORDS[words]
    assert done.returncode == status, done
    assert out in done.stdout and error in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_what_stands_in_for_it_passes_signals_on(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import time\nprint('on', flush=True)\ntime.sleep(60)\n", encoding="utf-8"
    )
    env = on_path(tmp_path / "bin")
    program = Path(env["PATH"].split(os.pathsep)[0], "ctmar")
    written = program.read_text(encoding="utf-8").replace(
        f"[{str(Path(sys.executable).with_name('ctmar'))!r}",
        f"[{sys.executable!r}, {str(tmp_path / 'mine.py')!r}",
    )
    program.write_text(written, encoding="utf-8")
    child = start(["ctmar"], cwd=tmp_path, **env)
    assert child.stdout is not None and child.stdout.readline() == "on\n"
    os.kill(child.pid, getattr(signal, name))
    assert finish(child, 20).returncode == -getattr(signal, name)


def test_what_a_library_here_has_set_for_itself_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in LEFT_BEHIND if name not in FROM_THE_START]
    for name in names:
        monkeypatch.setenv(name, "left")
    child = start([sys.executable, "-c", f"import os; print([os.getenv(n) for n in {names}])"], imported=True)
    assert isinstance(child, Imported)
    # Under pytest-xdist its first process has set some before this one started.
    assert finish(child).stdout == f"{[None for _ in names]}\n" and len(names) >= 2


TRAIN = [sys.executable, str(ROOT / "train.py")]


@pytest.mark.parametrize(
    ("command", "change", "same"),
    [
        (TRAIN, {}, True),
        ([sys.executable, "-m", "ctmar", "train"], {"CTMAR_TRUST": "mine"}, True),
        ([str(Path(sys.executable).with_name("ctmar")), "train"], {"OMP_WAIT_POLICY": "PASSIVE"}, True),
        (TRAIN, {"PYTHONPATH": ""}, True),
        ([*TRAIN, "--help"], {}, False),
        (TRAIN, {"OMP_WAIT_POLICY": "ACTIVE"}, False),
        (TRAIN, {"OMP_NUM_THREADS": "64"}, False),
        (TRAIN, {"PYTHONHASHSEED": "1"}, False),
        (TRAIN, {"LC_ALL": "other"}, False),
        (["/usr/bin/python3", *TRAIN[1:]], {}, False),
        ([sys.executable, "-X", "utf8", TRAIN[1]], {}, False),
        ([sys.executable, "train.py"], {}, False),
        ([sys.executable, str(ROOT / "scripts" / "simulate.py")], {"PYTHONPATH": "/elsewhere"}, False),
        (["bash", "-c", "ctmar"], {}, False),
    ],
)
def test_only_what_is_the_same_is_forked(command: list[str], change: dict[str, str], same: bool) -> None:
    servers = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    servers["PYTHONPATH"] = str(ROOT)
    assert fits(command, servers | change, servers) is same
    absent = {name: value for name, value in servers.items() if name != "HOME"}
    assert not fits(command, absent, servers)
