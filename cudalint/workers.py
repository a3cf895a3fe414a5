"""Worker processes, started when there is enough to do for more than one."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.pool import Pool


class Workers:
    """A pool of processes, started when there is enough to do for more than one."""

    def __init__(self, jobs: int | None, prepare: Callable[[], None] = lambda: None) -> None:
        """`prepare` does once, before processes fork, what each of them would do."""
        self.jobs = jobs or len(_processors())
        self.prepare = prepare
        self.pool: Pool | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.terminate()

    def map(
        self, work: Callable[[Any], Any], tasks: Sequence[Any], batch: int, enough: int
    ) -> Iterable[Any]:
        """`work` over tasks, in their order."""
        if self.jobs == 1 or len(tasks) < enough:
            return map(work, tasks)
        if self.pool is None:
            self.pool = _start(self.jobs, self.prepare)
        return self.pool.imap(work, tasks, chunksize=batch)


def _processors() -> Sized:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _start(jobs: int, prepare: Callable[[], None]) -> Pool:
    import multiprocessing

    methods = multiprocessing.get_all_start_methods()
    forks = "fork" in methods and os.uname().sysname == "Linux"  # Apple's libraries do not survive
    if forks:
        prepare()
        gc.freeze()  # the children share these pages as long as nobody walks over them
    return multiprocessing.get_context("fork" if forks else "spawn").Pool(jobs, _begin)


def _begin() -> None:
    """How a worker runs.

    An interrupt is the first process's to answer: it ends the others, which would each print where
    they stood.
    """
    import signal  # it makes a table of all signals: 1 ms that a run on one file has no use for

    from cudalint.garbage import collect_rarely

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_rarely(50_000)
