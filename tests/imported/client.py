"""Children of the server of :mod:`.server`, and the commands that are the same as one of them.

Only the standard library: the program that stands in for ``ctmar`` on a shell's path starts with it.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
BYTES = 1 << 16
READ_WHEN_RUN = {
    *("CTMAR_TRUST", "CTMAR_DATA", "CTMAR_ROOT", "HYDRA_FULL_ERROR", "WANDB_MODE", "WANDB_SILENT"),
    *("PATH", "PWD", "OLDPWD", "SHLVL", "_", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_TESTRUNUID", "PYTHONPATH"),
}
"""Variables that nothing reads while it is imported; a child may have others than the server."""


def fits(command: Sequence[str], env: Mapping[str, str], servers: Mapping[str, str]) -> bool:
    """Whether a child of the server, whose own variables are given, is the same as a process of its own.

    Help is what a command gives before it imports anything, so it stays one.
    """
    if len(command) < 2 or {"-h", "--help"} & set(command):
        return False
    different = {name for name in {*env, *servers} if env.get(name) != servers.get(name)}
    if env.get("OMP_WAIT_POLICY", "PASSIVE") == "PASSIVE":  # which a command sets itself
        different.discard("OMP_WAIT_POLICY")
    return different <= READ_WHEN_RUN and _runs_ours(command, env.get("PYTHONPATH", "").split(os.pathsep)[0])


def _runs_ours(command: Sequence[str], first: str) -> bool:
    """Whether this interpreter runs a program with the ``ctmar`` of this checkout."""
    program = Path(command[0])
    if program == Path(sys.executable):
        program = Path(command[1])
    elif program.name != "ctmar" or program.parent != Path(sys.executable).parent:
        return False
    found = first == str(ROOT)
    if command[1] in ("-m", "-c"):
        return found
    beside = program.parent in (ROOT, ROOT / "ctmar")
    return program.is_absolute() and program.is_file() and (beside or found)


class Imported:
    """A child of the server, with what tests use of :class:`subprocess.Popen`.

    Args:
        connection: To the server.
        command: Which :func:`fits` has found to be the same.
        cwd: Its folder.
        env: All its variables.
        files: Its stdout and stderr; None gives pipes.
        limits: Of :mod:`resource`, soft and hard.
    """

    def __init__(
        self,
        connection: socket.socket,
        command: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        files: tuple[int, int] | None = None,
        limits: Mapping[int, tuple[int, int]] | None = None,
    ) -> None:
        self.args, self._connection = list(command), connection
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        given: tuple[int, ...] = files or ()
        if files is None:
            pipes = os.pipe(), os.pipe()
            # ``communicate`` closes them.
            self.stdout, self.stderr = (
                open(end, encoding="utf-8", errors="replace")  # noqa: SIM115
                for end, _ in pipes
            )
            given = tuple(end for _, end in pipes)
        command = command if command[0] == sys.executable else [sys.executable, *command]
        request = {"command": command, "cwd": cwd, "env": dict(env), "limits": dict(limits or {})}
        socket.send_fds(connection, [json.dumps(request).encode()], given)
        if files is None:
            for end in given:
                os.close(end)
        self._heard: dict[IO[str], bytes] = {}
        self.pid = int(self._hear())

    def _hear(self) -> str:
        said = self._connection.recv(BYTES).decode()
        if not said:
            raise ConnectionError(f"the server must fork {self.args}, and has ended")
        return said

    def poll(self) -> int | None:
        """Its exit status, negative for a signal's; None while it runs."""
        return self._status(0)

    def _status(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as waiting:
                waiting.register(self._connection, selectors.EVENT_READ)
                if waiting.select(timeout):
                    self.returncode = int(self._hear())
                    self._connection.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for it to end."""
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Reads all that it says, and waits for it; what was read counts on where the time was too short."""
        deadline = None if timeout is None else time.monotonic() + timeout
        said = [stream for stream in (self.stdout, self.stderr) if stream is not None]
        with selectors.DefaultSelector() as waiting:
            for stream in said:
                if not stream.closed:
                    waiting.register(stream, selectors.EVENT_READ)
            while waiting.get_map():
                ready = waiting.select(None if deadline is None else max(0, deadline - time.monotonic()))
                if not ready and deadline is not None and time.monotonic() >= deadline:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                for key, _ in ready:
                    stream: Any = key.fileobj
                    part = os.read(key.fd, BYTES)
                    self._heard[stream] = self._heard.get(stream, b"") + part
                    if not part:
                        waiting.unregister(stream)
                        stream.close()
        self.wait(None if deadline is None else max(0, deadline - time.monotonic()))
        out, error = (
            self._heard.get(stream, b"").decode("utf-8", "replace") if stream else ""
            for stream in (self.stdout, self.stderr)
        )
        return out, error


class Server:
    """The server of one process of tests, and the way to it.

    Args:
        folder: A new folder for its socket; a path to one may not be long.
        env: The variables that it imports with.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder, self.env = folder, dict(env)
        self.path = str(folder / "socket")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.bind(self.path)
        listening.listen(64)
        alive, self._alive = os.pipe()
        (folder / "env.json").write_text(json.dumps(self.env), encoding="utf-8")
        command = [sys.executable, str(Path(__file__).with_name("server.py"))]
        with (folder / "stderr").open("wb") as errors:
            # PYTHONPATH comes with each child: what the server has of it would stay behind.
            self.process = subprocess.Popen(
                [*command, str(listening.fileno()), str(alive), str(ROOT)],
                env=self.env | {"PYTHONPATH": ""},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(listening.fileno(), alive),
                start_new_session=True,
            )
        os.close(alive)
        listening.close()

    def end(self) -> None:
        """Ends it and its children."""
        os.close(self._alive)
        self.process.wait(timeout=60)


def connect(path: str) -> socket.socket:
    """A connection to the server, which answers when it has imported everything."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(path)
    return connection


def possible() -> bool:
    """Whether processes can be forked here: on Linux, and without a GPU, whose driver does not follow."""
    return sys.platform == "linux" and not Path("/dev/nvidiactl").exists()


def stand_in(folder: str, command: Sequence[str]) -> int:
    """Runs a command as a child of the server, or becomes it, in place of the program that a shell called.

    Args:
        folder: The server's.
        command: The program and its arguments.
    """
    servers = json.loads(Path(folder, "env.json").read_text(encoding="utf-8"))
    if not fits(command, os.environ, servers):
        os.execv(command[0], list(command))
    child = Imported(connect(str(Path(folder, "socket"))), command, os.getcwd(), os.environ, (1, 2))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda given, _: _pass_on(child, given))
    status = child.wait()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _pass_on(child: Imported, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
