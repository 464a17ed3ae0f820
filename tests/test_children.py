"""Children of tests end: they answer Ctrl-C wherever tests are started, and each has a limit."""

import ast
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.children import ROOT, end, finish, run, start

SLEEPS = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"]
INTERRUPTS = """
import os, signal, sys
from tests.children import end, start
child = start([sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"])
child.stdout.readline()
os.kill(child.pid, signal.{name})
try:
    print("ended by", -child.wait(timeout=20))
finally:
    end(child)
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""
IGNORE = "import signal; [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)]"
BLOCK = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("shell", [IGNORE, BLOCK], ids=["ignored", "blocked"])
def test_a_child_answers_signals_that_its_parent_does_not(shell: str, name: str) -> None:
    done = run([sys.executable, "-c", f"{shell}\n{INTERRUPTS.format(name=name)}"], cwd=ROOT, limit=60)
    # Python turns SIGINT into KeyboardInterrupt, and then dies of that signal.
    assert done.stdout.splitlines() == [f"ended by {int(getattr(signal, name))}", str(shell is IGNORE)]


def test_a_child_over_its_limit_is_ended_with_its_own_children() -> None:
    code = f"import subprocess, sys; subprocess.run({SLEEPS!r}, check=False)"
    with pytest.raises(AssertionError, match="still running after 1 s"):
        run([sys.executable, "-c", code], limit=1)


def test_what_a_child_says_reaches_its_test() -> None:
    code = (
        "import os, sys; print('out \\xe4', os.environ['SAID']); print('err', file=sys.stderr); sys.exit(3)"
    )
    done = run([sys.executable, "-c", code], SAID="a")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out ä a\n", "err\n")


def test_a_child_that_ended_can_be_ended_again() -> None:
    child = start([sys.executable, "-c", "pass"])
    finish(child)
    assert end(child) == ("", "")


def starters(source: str) -> Iterator[str]:
    """Names in a module that start a process or wait for one without a limit."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, of = node.func.attr, ast.unparse(node.func.value)
        if of == "subprocess" or (of == "os" and name in ("system", "popen", "spawnv")):
            yield f"{of}.{name}"
        limited = node.args or "timeout" in {word.arg for word in node.keywords}
        if name in ("wait", "communicate") and not limited:
            yield name


@pytest.mark.parametrize("source", ["subprocess.run(a, timeout=3)", "child.wait()", "os.system('a')"])
def test_what_has_no_limit_is_found(source: str) -> None:
    assert list(starters(source))


def test_every_child_of_a_test_has_a_limit() -> None:
    # The steps of a Dockerfile have an environment of their own, without this checkout, and a limit.
    starts = [ROOT / "tests" / name for name in ("children.py", "imported/client.py", "test_dockerfile.py")]
    files = [path for path in Path(ROOT, "tests").rglob("*.py") if path not in starts]
    found = {str(path.relative_to(ROOT)): sorted(starters(path.read_text("utf-8"))) for path in files}
    assert not {name: calls for name, calls in found.items() if calls}
    assert len(files) > 100 and os.name == "posix"


def test_a_child_answers_in_lines_whatever_a_command_here_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    code = "import os; print(os.environ.get('HYDRA_FULL_ERROR'))"
    assert run([sys.executable, "-c", code]).stdout.strip() == "None"
    assert run([sys.executable, "-c", code], HYDRA_FULL_ERROR="1").stdout.strip() == "1"
