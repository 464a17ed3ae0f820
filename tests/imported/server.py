"""A process that has everything imported and forks for each command: ``server.py SOCKET ALIVE ROOT``.

A connection to the listening socket asks for one child: a JSON object, with the files that are to be its
stdout and stderr. It is told the child's process id, then its exit status (negative: the signal that ended
it); closed before, it kills the child with its process group. The server ends, and its children with it, when
ALIVE is closed.

Run by its path and with the standard library alone, so that a child finds no module here that the command
would not have. What computes before a fork does so on one thread: a pool (OpenMP's, numba's) would not live
in the child. A child leaves the loop below and ends as the interpreter's own main program, atexit and all.
"""

import contextlib
import gc
import importlib.util
import json
import os
import pkgutil
import resource
import runpy
import select
import signal
import socket
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

BYTES = 1 << 18
NOT = {"__main__", "triton_kernels", "triton_backend"}
"""Modules that are run, or for which a package may not be there."""


def import_everything(root: str) -> None:
    """Imports what commands import, and checks that no thread came of it."""
    sys.path.insert(0, root)
    # As a command does before torch comes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in ("torch", "pytorch_lightning", "hydra.main", "monai.networks.nets", *modules("ctmar")):
        importlib.import_module(name)
    # Hydra imports its plugins whatever a command wants; Optuna's may not be there.
    plugins = [*modules("hydra._internal.core_plugins"), "optuna"]
    for name in (name for name in ("xraydb", *plugins) if importlib.util.find_spec(name)):
        importlib.import_module(name)
    warm()
    sys.path.remove(root)
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise RuntimeError(f"a server must have one thread to fork, got {threads}")


def warm() -> None:
    """Makes what a small run makes first and keeps: a config, spectra, compiled kernels, bodies and pedicles.

    Each is the same in every process. Random numbers are put back; torch stays on one thread meanwhile.
    """
    import random

    import numpy as np
    import torch
    import xraydb

    from ctmar.config.build import build_simulator
    from ctmar.config.composing import composed

    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    simulator = build_simulator(composed("train", ["geometry=tiny", "anatomy=procedural_small"]), 1)
    for split, index in (("train", 0), ("train", 1), ("val", 0), ("test", 0)):
        simulator.case(split, index)
    torch.set_num_threads(threads)
    # Its file is not to be open in a child.
    tables = xraydb.xray.get_xraydb()
    for held in (tables.session, tables.conn):
        held.close()
    tables.engine.dispose()
    xraydb.xray._xraydb = None
    random.setstate(kept[0])
    np.random.set_state(kept[1])
    torch.set_rng_state(kept[2])


def modules(package: str) -> list[str]:
    """A package's modules, but for those that are not to be imported."""
    folder = importlib.import_module(package).__path__
    names = [module.name for module in pkgutil.walk_packages(folder, f"{package}.")]
    return [name for name in names if not set(name.split(".")) & NOT]


class Server:
    """Answers connections until a fork makes it the child that one asked for.

    Args:
        listening: A socket of messages (``SOCK_SEQPACKET``).
        alive: A file whose end says that nobody asks any more.
    """

    def __init__(self, listening: socket.socket, alive: int) -> None:
        self.listening, self.alive = listening, alive
        self.children: dict[int, socket.socket] = {}
        self.ended: set[int] = set()
        self.wakeup, self.wake = os.pipe()
        for end in (self.wakeup, self.wake):
            os.set_blocking(end, False)

    def serve(self) -> dict[str, Any] | None:
        """In each child what it was asked to run; None in the server when it is done."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        while True:
            waiting: list[Any] = [self.listening, self.alive, self.wakeup, *self.children.values()]
            ready = select.select(waiting, [], [])[0]
            if self.alive in ready:
                for pid in list(self.children):
                    self.release(pid)
                return None
            if self.wakeup in ready:
                os.read(self.wakeup, BYTES)
                self.tell()
            for pid in [pid for pid, asked in self.children.items() if asked in ready]:
                self.release(pid)
            if self.listening in ready:
                request = self.answer(self.listening.accept()[0])
                if request is not None:
                    return request

    def answer(self, asked: socket.socket) -> dict[str, Any] | None:
        """Forks for a connection; what to run, in the child."""
        said, files, _, _ = socket.recv_fds(asked, BYTES, 2)
        if not said:  # whoever it was is gone
            asked.close()
            return None
        pid = os.fork()
        if pid:
            for file in files:
                os.close(file)
            self.children[pid] = asked
            return None
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asked.send(str(os.getpid()).encode())
        for own in (self.listening, asked, *self.children.values()):
            own.close()
        for place, file in zip((1, 2), files, strict=True):
            os.dup2(file, place)
        for file in (*files, self.alive, self.wakeup, self.wake):
            os.close(file)
        request: dict[str, Any] = json.loads(said)
        return request

    def tell(self) -> None:
        """Tells of children that ended. They stay until it is heard, so that their id stays theirs."""
        for pid, asked in self.children.items():
            found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or pid in self.ended:
                continue
            self.ended.add(pid)
            status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            with contextlib.suppress(OSError):  # gone; the next turn hears of it
                asked.send(str(status).encode())

    def release(self, pid: int) -> None:
        """Forgets a child, which ends with its group if it has not."""
        if pid not in self.ended:
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError):
                    kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.ended.discard(pid)
        self.children.pop(pid).close()


def become(request: dict[str, Any], interpreters_path: list[str]) -> None:
    """Takes on all that a process has from its start."""
    for limit, pair in request["limits"].items():
        resource.setrlimit(int(limit), tuple(pair))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.orig_argv = request["command"]
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        # The same objects, which modules hold already, know now of a file or a pipe.
        binary = open(number, "wb", closefd=False)  # noqa: SIM115
        stream.__init__(binary, stream.encoding, stream.errors, "\n", stream.line_buffering)  # type: ignore[misc]
    # ... but not what was drawn, found or cached before the fork.
    importlib.import_module("numpy").random.seed()
    tempfile.tempdir = None
    sys.path_importer_cache.clear()
    own = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = own + [path for path in interpreters_path if path not in own]


def run(program: str, *arguments: str) -> None:
    """Runs ``-m MODULE``, ``-c CODE`` or a file as the interpreter does."""
    if program == "-m":
        sys.argv = list(arguments)
        sys.path.insert(0, os.getcwd())
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif program == "-c":
        sys.argv = ["-c", *arguments[1:]]
        sys.path.insert(0, "")
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = [program, *arguments]
        sys.path.insert(0, str(Path(program).parent.resolve()))
        runpy.run_path(program, run_name="__main__")


def main() -> None:
    """Serves, and in a child runs what was asked for."""
    path, alive, root = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    interpreters_path = sys.path[1:]  # without this file's folder
    sys.path[:] = interpreters_path
    import_everything(root)
    gc.collect()
    gc.freeze()
    request = Server(socket.socket(fileno=path), alive).serve()
    if request is not None:
        become(request, interpreters_path)
        run(*request["command"][1:])


if __name__ == "__main__":
    main()
