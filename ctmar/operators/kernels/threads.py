"""Threads of the compiled kernels: a plain pool, since numba's own are not fork-safe or not thread-safe."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch


@lru_cache(maxsize=1)
def _pool(pid: int, threads: int) -> ThreadPoolExecutor:
    """The pool of this process; a forked child has another pid and makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="ctmar")


def over_lines(count: int, task_lines: int, work: Callable[[int, int], None]) -> None:
    """Runs ``work(first, last)`` over ``count`` lines, in tasks over ``torch.get_num_threads()`` threads.

    ``work`` calls kernels that release the GIL.
    """

    def task(first: int) -> None:
        work(first, min(first + task_lines, count))

    starts, threads = range(0, count, task_lines), torch.get_num_threads()
    if threads == 1:
        for first in starts:
            task(first)
    else:
        list(_pool(os.getpid(), threads).map(task, starts))
