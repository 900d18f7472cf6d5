"""Workers that make batches: threads, or processes that may die.

A batch can be made again, bit for bit, from its samples' numbers. So a process that is killed is
replaced, and the batches it was given are made again. Every process has a pipe of its own and
there is no lock between processes, so that none can die with what another one waits for.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.pool import ThreadPool
from multiprocessing.reduction import ForkingPickler
from typing import Any, Callable, Iterator, Sequence

from mxnet.util import is_np_array, is_np_shape, set_np

from ..core.settings import RPNTargetWarning
from ..gluon.recycled_memory import collect
from .order import SampleId
from .samples import Failure, named

__all__ = ["Processes", "Threads"]

MOST_DEATHS = 2
"""A batch that ended so many processes in which there was no other one is an error."""

MOST_TRIES = 10
"""The same for one whose processes died after they had made it, before it was taken over."""

SMALL = 4096
"""Bytes of a request that a pipe holds, whatever its process does meanwhile."""

PATIENCE = 5
"""Seconds until a process that was told to end is killed."""

GLANCE = 1
"""Seconds after which a process is looked at even if its pipe is silent."""

_workers: weakref.WeakSet[_Worker] = weakref.WeakSet()


class Threads:
    """Threads that make batches.

    Parameters
    ----------
    make_batch : callable
        Called with the samples of a batch; raises nothing.
    count : int
        Number of threads.
    """

    def __init__(self, make_batch: Callable, count: int):
        self._make_batch = make_batch
        self._pid = os.getpid()
        self._closed = False
        self._pool = ThreadPool(count, set_np, (is_np_shape(), is_np_array()))

    @property
    def closed(self) -> bool:
        """Whether no batch can be made any more; a forked process has no threads."""
        return self._closed or self._pid != os.getpid()

    def submit(self, samples: Sequence[SampleId]) -> Any:
        """Ask for a batch."""
        _check_open(self)
        return self._pool.apply_async(self._make_batch, (samples,))

    def result(self, job: Any, timeout: float) -> Any:
        """Return the batch asked for, or a `Failure`, once it is there."""
        deadline = time.monotonic() + timeout
        while not job.ready():
            _check_open(self)
            left = deadline - time.monotonic()
            if left <= 0:
                raise multiprocessing.TimeoutError(f"no batch came within {timeout} seconds")
            job.wait(min(left, GLANCE))
        return job.get()

    def cancel(self, jobs: Sequence[Any]) -> None:
        """Give up batches asked for."""

    def close(self) -> None:
        """End the threads."""
        if not self.closed:
            self._closed = True
            self._pool.terminate()


class _Job:
    """A batch asked for."""

    def __init__(self, samples: Sequence[SampleId]):
        self.samples = samples
        self.request = ForkingPickler.dumps(samples)
        self.result: Any = None
        self.done = False
        self.cancelled = False
        self.alone = False  # whether it may not share a process with another one
        self.deaths = 0
        self.tries = 0

    def finish(self, result: Any) -> None:
        self.done = True
        self.result = None if self.cancelled else result


class _Worker:
    """A process, the pipe to it, and the jobs it has been given, in order."""

    def __init__(self, connection: Any, process: Any = None):
        self.connection = connection
        self.process = process
        self.jobs: deque[_Job] = deque()
        _workers.add(self)

    def has_room(self, job: _Job) -> bool:
        """Return whether to give it a job: two at most, so that it need not wait for the next."""
        if not self.jobs:
            return True
        small = len(job.request) <= SMALL  # for else both sides might wait for each other
        return len(self.jobs) == 1 and small and not job.alone and not self.jobs[0].alone


class Processes:
    """Processes that make batches.

    Parameters
    ----------
    make_batch : callable
        Called with the samples of a batch, in a process; what it returns is sent with
        `ForkingPickler`.
    count : int
        Number of processes.
    """

    def __init__(self, make_batch: Callable, count: int):
        self._make_batch = make_batch
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.RLock()
        self._waiting: deque[_Job] = deque()
        self._deaths: list[str] = []  # that nobody has been warned of yet
        self._workers: list[_Worker] = []
        try:
            for number in range(count):
                self._start(number)
        except BaseException:
            self.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether no batch can be made any more; a forked process leaves all to its parent."""
        return self._closed or self._pid != os.getpid()

    def submit(self, samples: Sequence[SampleId]) -> _Job:
        """Ask for a batch."""
        _check_open(self)
        job = _Job(samples)
        with self._lock:
            self._waiting.append(job)
            self._distribute()
        return job

    def result(self, job: _Job, timeout: float) -> Any:
        """Return the batch asked for, or a `Failure`, once it is there.

        Raises
        ------
        multiprocessing.TimeoutError
            If it is not there after so many seconds.
        RuntimeError
            If the processes have been ended.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                if not self.closed:
                    self._collect(0)
                deaths, self._deaths = self._deaths, []
            for death in deaths:
                warnings.warn(death, RPNTargetWarning, stacklevel=4)  # where the loader is read
            if job.done:
                result, job.result = job.result, None
                return result
            _check_open(self)
            left = deadline - time.monotonic()
            if left <= 0:
                raise multiprocessing.TimeoutError(
                    f"the batch of {named(job.samples)} was not there after {timeout} seconds"
                )
            with self._lock:
                if not self.closed and not job.done:
                    self._collect(min(left, GLANCE))

    def cancel(self, jobs: Sequence[_Job]) -> None:
        """Give up batches asked for: those on their way are read off as they come."""
        for job in jobs:
            job.cancelled, job.result = True, None

    def close(self) -> None:
        """End the processes."""
        if self.closed:
            return
        self._closed = True
        with self._lock:
            for worker in self._workers:
                worker.connection.close()
                worker.process.terminate()
            deadline = time.monotonic() + PATIENCE
            for worker in self._workers:
                _end(worker.process, max(0, deadline - time.monotonic()))
            self._workers.clear()
        collect()  # the memory of their batches

    def _start(self, number: int) -> None:
        """Start the process of a number, in place of the one before."""
        context = multiprocessing.get_context()
        ours, theirs = context.Pipe()
        process = context.Process(  # type: ignore[attr-defined]
            target=_work,
            args=(theirs, self._make_batch, is_np_shape(), is_np_array()),
            name=f"seeded_loader-{number}",
            daemon=True,
        )
        worker = _Worker(ours, process)
        with _signals_held():
            process.start()
            theirs.close()
            self._workers[number : number + 1] = [worker]

    def _distribute(self) -> None:
        """Give the processes what waits, in order."""
        while self._waiting:
            job = self._waiting[0]
            if job.cancelled:
                self._waiting.popleft()
                continue
            worker = min(self._workers, key=lambda worker: len(worker.jobs))
            if not worker.has_room(job):
                return
            if not worker.process.is_alive():
                self._read(worker)  # which replaces it
                continue
            self._waiting.popleft()
            worker.jobs.append(job)
            try:
                worker.connection.send_bytes(job.request)
            except OSError:
                self._read(worker)

    def _collect(self, timeout: float) -> None:
        """Wait for results, take them, and give the processes new jobs."""
        sources = {}
        for worker in self._workers:
            if worker.jobs:
                sources[worker.connection] = sources[worker.process.sentinel] = worker
        ready = {sources[source] for source in wait(list(sources), timeout)}
        if not ready and timeout:
            ready = set(sources.values())  # someone else may keep the pipe of a dead one open
        for worker in ready:
            self._read(worker)
        self._distribute()

    def _read(self, worker: _Worker) -> None:
        """Take all results of a process, and replace it if it has ended."""
        ended = not worker.process.is_alive()  # now: what it has sent can then be read
        lost: list[_Job] = []
        try:
            while worker.jobs and worker.connection.poll():
                message = worker.connection.recv_bytes()
                job = worker.jobs.popleft()
                try:
                    job.finish(ForkingPickler.loads(message))
                except Exception as error:
                    # The memory of a batch is opened with the help of the process that made it.
                    worker.process.join(GLANCE if isinstance(error, (OSError, EOFError)) else 0)
                    if worker.process.is_alive():
                        job.finish(Failure(f"batch of {named(job.samples)}", error))
                    else:
                        lost.append(job)
        except (EOFError, OSError):
            ended = True
        if ended or lost:
            self._replace(worker, lost)

    def _replace(self, worker: _Worker, unopened: list[_Job]) -> None:
        """Start a process in place of one that has ended; its jobs are done again."""
        worker.connection.close()
        _end(worker.process, PATIENCE)
        how = _how_it_ended(worker.process.exitcode)
        for job in worker.jobs:
            job.deaths += len(worker.jobs) == 1
        again, fatal = [], []
        for job in [*unopened, *worker.jobs]:
            job.alone = True
            job.tries += 1
            if job.deaths >= MOST_DEATHS or job.tries >= MOST_TRIES:
                text = f"it ended {max(job.deaths, job.tries)} worker processes"
                where = f"batch of {named(job.samples)}"
                job.finish(Failure(where, f"{text}, the last of which {how}"))
                fatal.append(job)
            elif not job.cancelled:
                again.append(job)
        self._waiting.extendleft(reversed(again))
        batches = "; ".join(named(job.samples) for job in again)
        what = f"loaded again: {batches}" if again else "no batch is lost"
        if again or not fatal:
            self._deaths.append(f"a worker process of the loader {how}; {what}")
        self._start(self._workers.index(worker))


def _check_open(workers: Threads | Processes) -> None:
    if workers.closed:
        raise RuntimeError("the loader was closed while it was read")


def _end(process: Any, patience: float) -> None:
    """Wait for a process that was told to end, or whose pipe is closed; kill it after a while."""
    process.join(patience)
    if process.is_alive():
        process.kill()
        process.join(PATIENCE)


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is None:
        return "ended"
    if exitcode >= 0:
        return f"ended itself with exit status {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    hint = " (as the system does when memory runs out)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back what ends a program while a process starts.

    A process starts with them held back, too, and lets them in once it knows what to do.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Any, make_batch: Callable, np_shape: bool, np_array: bool) -> None:
    """Make batches until the pipe is closed, as it is when the main process ends."""
    # Ctrl-C goes to all processes of a terminal: what becomes of the workers is the parent's task.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.excepthook = _unless_nobody_listens
    worker = _Worker(connection)
    set_np(np_shape, np_array)
    while True:
        try:
            samples = worker.connection.recv()
        except (EOFError, OSError):
            return
        batch = make_batch(samples)
        try:
            message = ForkingPickler.dumps(batch)
        except Exception as error:
            message = ForkingPickler.dumps(Failure(f"batch of {named(samples)}", error))
        try:
            worker.connection.send_bytes(message)
        except OSError:
            return
        del batch, message  # before the next one is made


def _unless_nobody_listens(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print an error, but not that the main process was ended while it opened a batch."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _leave_workers_to_the_parent() -> None:
    """Close what a forked process inherits: a pipe is closed when nobody has it open."""
    for worker in list(_workers):
        worker.connection.close()
        # A process that ends would end all it takes for its children.
        multiprocessing.process._children.discard(worker.process)  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_workers_to_the_parent)
