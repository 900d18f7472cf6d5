"""A DataLoader whose every draw depends on seed, epoch and sample alone.

The epoch travels with the index: the batch sampler yields lists of `SampleId`, the dataset hands
each sample a generator made from it, and no worker keeps any state. So the batches are the same
with any number of workers, processes or threads, on one machine or split over ranks; they can be
made again when a worker dies; and where the reading stands is two numbers.
"""

from __future__ import annotations

import inspect
import weakref
from collections import deque
from itertools import islice
from typing import Any, Callable, Iterator, Mapping

import mxnet as mx
from mxnet.gluon.data import DataLoader
from mxnet.gluon.data.dataloader import (
    _as_in_context,
    default_batchify_fn,
    default_mp_batchify_fn,
)

from ..core.settings import shown, whole_number
from .order import LAST_BATCH, Batch, BatchSampler, GivenBatches, Order, Position
from .samples import BatchMaker, Failure, SeededDataset
from .workers import Processes, Threads

__all__ = ["SeededLoader", "seeded_loader"]


def seeded_loader(
    dataset: Any,
    transform: Callable,
    seed: int,
    epoch: int = 0,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
    sampler: Any = None,
    last_batch: str = "keep",
    batch_sampler: Any = None,
    batchify_fn: Callable | None = None,
    rank: int = 0,
    num_ranks: int = 1,
    **kwargs: Any,
) -> SeededLoader:
    """Return a gluon DataLoader with reproducible draws.

    Every draw for sample i of epoch e depends on ``(seed, e, i)`` alone. Each time the loader is
    iterated over, the next epoch begins. NumPy 1.21 to 1.26 draw the same numbers.

    Parameters
    ----------
    dataset : gluon Dataset or sequence
        Gives samples without any randomness of its own (draws made inside the data set, as in
        ``gluoncv.data.MixupDetection``, are beyond the loader's control).
    transform : callable
        Called as ``transform(*sample, rng=generator)``: the transforms of this package, or any
        function with an argument ``rng`` that draws from nothing else.
    seed : int
        At least 0, below 2**64.
    epoch : int
        Number of the first epoch; a training resumed here sees what it would have seen.
    batch_size : int
        Samples per batch (per rank).
    shuffle : bool
        Whether to draw a new order, from the seed, for every epoch.
    sampler : gluon Sampler, optional
        Gives the order of the samples. Like ``batch_sampler``, it may draw from ``np.random`` and
        ``random``: both are seeded while it runs, and put back.
    last_batch : {"keep", "discard", "rollover"}
        What becomes of samples that do not fill a batch on every rank. "keep": they are shared
        out as evenly as they can be, so that ranks may differ by one sample, and a rank may be
        left without a last batch. "discard": they are left out, so that all ranks make equally
        many steps. "rollover": they come first in the next epoch, with the draws of their own, so
        that all ranks make equally many steps and no sample is lost. An epoch smaller than a
        batch on every rank may then have no batch at all.
    batch_sampler : gluon Sampler, optional
        Gives whole batches, such as ``gluoncv.data.sampler.SplitSortedBucketSampler``; instead of
        ``batch_size``, ``shuffle``, ``sampler`` and ``last_batch``. Rank r of R takes every R-th
        batch from the r-th on. It should start every epoch alike: GluonCV's does, unless it is
        given ``num_parts``, for which ``rank`` and ``num_ranks`` are here.
    batchify_fn : callable, optional
        Makes a batch of samples; by default as in ``DataLoader``.
    rank, num_ranks : int
        Which part of every epoch is this process's. All ranks together read every sample once
        (but see ``last_batch``), with the draws it has on one rank alone.
    **kwargs
        Passed on to ``DataLoader``: ``num_workers``, ``thread_pool``, ``prefetch``, ...

    Returns
    -------
    SeededLoader
        A ``DataLoader`` with the attribute ``epoch``; its length is that of the next epoch. It
        keeps its workers from epoch to epoch; ``close()``, or the end of a ``with`` block, ends
        them. ``state_dict()`` tells after any batch how far the loader was read, and
        ``load_state_dict(state)`` lets another one go on there.

    Notes
    -----
    A worker process that ends before its time costs an `RPNTargetWarning`: another one takes its
    place and makes its batches again, with the same bytes. A batch that ends its worker again
    when it is the only one there is an error that names its samples.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not of its kind or out of range. An error in a sample is raised while
        iterating, names its index and epoch, and leaves the loader usable; likewise one in
        ``batchify_fn``. It is a TypeError or ValueError if it was one, else a RuntimeError.

    Examples
    --------
    >>> from rpn_target import seeded_loader
    >>> def noisy(value, rng):
    ...     return value + rng.integers(100)
    >>> batches = [batch.asnumpy().tolist()
    ...            for batch in seeded_loader([0, 100, 200], noisy, seed=1, batch_size=2)]
    >>> again = seeded_loader([0, 100, 200], noisy, seed=1, batch_size=2, num_workers=2)
    >>> batches == [batch.asnumpy().tolist() for batch in again]
    True
    """
    seed = whole_number("seed", seed, 0, 2**64)
    epoch = whole_number("epoch", epoch, 0, 2**63)
    num_ranks = whole_number("num_ranks", num_ranks, 1, 2**31)
    rank = whole_number("rank", rank, 0, num_ranks)
    if not _accepts_rng(transform):
        raise TypeError(
            "transform must accept an argument `rng` and draw from it alone, as the transforms of "
            f"rpn_target do, but {transform!r} does not"
        )
    if last_batch not in LAST_BATCH:
        raise ValueError(f"last_batch must be one of {LAST_BATCH}, but got {last_batch!r}")
    if batch_sampler is None:
        if sampler is not None and shuffle:
            raise ValueError("sampler and shuffle exclude each other, but both were given")
        batch_size = whole_number("batch_size", batch_size, 1, 2**31)
        order: Order | GivenBatches = Order(
            len(dataset), batch_size, seed, shuffle, sampler, last_batch
        )
    elif batch_size is not None or shuffle or sampler is not None or last_batch != "keep":
        raise ValueError(
            "batch_sampler excludes batch_size, shuffle, sampler and last_batch; some were given"
        )
    else:
        order = GivenBatches(batch_sampler, seed)
    if kwargs.get("auto_reload"):
        raise ValueError("auto_reload must be False: it begins an epoch before it is asked for")
    if batchify_fn is None:
        batchify_fn = default_mp_batchify_fn if kwargs.get("num_workers") else default_batchify_fn
    batches = BatchSampler(order, epoch, rank, num_ranks)
    return SeededLoader(dataset, transform, seed, batches, batchify_fn, shuffle, **kwargs)


class SeededLoader(DataLoader):
    """What `seeded_loader` returns: a gluon ``DataLoader``.

    As a context manager, it ends its workers with the block.

    Parameters
    ----------
    dataset, transform, seed
        As in `seeded_loader`.
    batches : BatchSampler
    batchify_fn : callable
    shuffle : bool
        For `state_dict`.
    num_workers, thread_pool, prefetch, timeout, **kwargs
        As in ``DataLoader``.
    """

    def __init__(
        self,
        dataset: Any,
        transform: Callable,
        seed: int,
        batches: BatchSampler,
        batchify_fn: Callable,
        shuffle: bool,
        num_workers: int = 0,
        thread_pool: bool = False,
        prefetch: int | None = None,
        timeout: float = 120,
        **kwargs: Any,
    ):
        self._workers: Processes | Threads | None = None
        num_workers = max(0, num_workers)
        seeded = SeededDataset(dataset, transform, seed, bool(num_workers and thread_pool))
        self._make_batch = BatchMaker(seeded, batchify_fn)
        self._seed = seed
        self._shuffle = shuffle
        self._position: Position | None = None  # None: where the next iteration begins
        prefetch = 2 * num_workers if prefetch is None else prefetch
        super().__init__(
            seeded,
            batch_sampler=batches,
            batchify_fn=batchify_fn,
            prefetch=prefetch,
            timeout=timeout,
            **kwargs,
        )
        self._num_workers = num_workers  # of which the base class makes no pool of its own
        self._thread_pool = thread_pool
        if num_workers:
            self._open()

    def __iter__(self) -> Iterator[Any]:
        batches, epoch = self._batch_sampler, self._batch_sampler.epoch
        for end, batch in self._load(batches.begin()):
            if isinstance(batch, Failure):
                batch.reraise()
            if self._pin_memory:
                batch = _as_in_context(batch, mx.cpu_pinned(self._pin_device_id))
            self._position = end
            yield batch
        if batches.epoch == epoch + 1:
            self._position = None

    def _load(self, batches: Iterator[Batch]) -> Iterator[tuple[Position, Any]]:
        """Load batches, each with the position after it."""
        if not self._num_workers:
            for batch in batches:
                yield batch.end, self._make_batch(batch.samples)
            return
        workers = self._open()
        jobs: deque[tuple[Position, Any]] = deque()
        try:
            for batch in islice(batches, self._prefetch):
                jobs.append((batch.end, workers.submit(batch.samples)))
            while True:
                for batch in islice(batches, 1):
                    jobs.append((batch.end, workers.submit(batch.samples)))
                if not jobs:
                    return
                end, job = jobs.popleft()
                yield end, workers.result(job, self._timeout)
        except GeneratorExit:  # the workers are kept for the next epoch
            raise
        except BaseException:  # Ctrl-C, a timeout: nobody knows what the pipes hold
            workers.close()
            raise
        finally:
            workers.cancel([job for _, job in jobs])

    def _open(self) -> Processes | Threads:
        """Return the workers; new ones where they have been ended."""
        if self._workers is None or self._workers.closed:
            kind = Threads if self._thread_pool else Processes
            self._workers = kind(self._make_batch, self._num_workers)
            weakref.finalize(self, self._workers.close)  # also at the end of the program
        return self._workers

    def close(self) -> None:
        """End the workers. Whoever iterates over the loader again starts new ones."""
        if self._workers is not None:
            self._workers.close()

    def __enter__(self) -> SeededLoader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_workers", None) is not None:
            self.close()

    def refresh(self) -> None:
        """Raise an error: an epoch begins when it is asked for."""
        raise RuntimeError("a seeded loader begins an epoch when it is iterated over, no sooner")

    @property
    def epoch(self) -> int:
        """Number of the epoch the next iteration will be; may be set."""
        return self._batch_sampler.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._batch_sampler.epoch = whole_number("epoch", epoch, 0, 2**63)
        self._batch_sampler.rounds = 0
        self._position = None

    def state_dict(self) -> dict[str, int]:
        """Return where the reading stands, after the batch that was handed out last.

        Returns
        -------
        dict
            Plain numbers, which JSON keeps: ``epoch``, and ``samples``, how many of its order all
            ranks together have read; ``seed``, ``length`` (of the dataset) and ``shuffle``, for
            `load_state_dict` to compare. It is the same on all ranks.
        """
        position = self._position or self._batch_sampler.position()
        return {
            "epoch": position.epoch,
            "samples": position.samples,
            "seed": self._seed,
            "length": len(self._dataset),
            "shuffle": int(self._shuffle),
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where another loader, or this one, stood: with the batch that came next.

        What was read before is not read again. The number of workers may be another one; so may
        the number of ranks and ``batch_size``, if the samples read so far are whole batches on
        every rank. A sampler must be the same. Where a loop was broken off, a loader begins the
        next epoch; given its own state, it goes on within this one.

        Parameters
        ----------
        state : dict
            What `state_dict` returned.

        Raises
        ------
        TypeError, ValueError
            If it is no such dictionary, or that of another seed, length of the dataset or
            shuffle, or if the samples read are not whole batches; the message tells which
            ``batch_size`` would do.
        """
        ours = self.state_dict()
        if not isinstance(state, Mapping) or set(state) != set(ours):
            raise ValueError(
                f"state must be what state_dict() returned, with {', '.join(ours)}, but got "
                f"{shown(state)}"
            )
        state = {name: whole_number(f"{name} of the state", state[name]) for name in ours}
        for name in ("seed", "length", "shuffle"):
            if state[name] != ours[name]:
                raise ValueError(
                    f"the state must be that of a loader with the same {name}, but it has "
                    f"{name} {state[name]} and this loader {ours[name]}"
                )
        epoch = whole_number("epoch of the state", state["epoch"], 0, 2**63)
        self._batch_sampler.go_to(Position(epoch, state["samples"]))
        self._position = None


def _accepts_rng(transform: Any) -> bool:
    try:
        parameters = inspect.signature(transform).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "rng" or p.kind is p.VAR_KEYWORD for p in parameters)
