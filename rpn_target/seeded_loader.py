"""A DataLoader whose every draw depends on seed, epoch and sample alone.

The epoch travels with the index: the batch sampler yields batches of `Place`, the data set hands
each sample a generator made from it, and no worker keeps any state. So the batches are the same
with any number of workers, processes or threads, on one machine or split over ranks.
"""

from __future__ import annotations

import inspect
import numbers
import random
import traceback
from typing import NamedTuple

import numpy as np
from mxnet.gluon.data import DataLoader
from mxnet.gluon.data.dataloader import default_batchify_fn, default_mp_batchify_fn

from .randomness import sample_generator

__all__ = ["SeededLoader", "seeded_loader"]

ORDER = 2**64 - 1  # stands for the index where the order of an epoch is drawn
LAST_BATCH = ("keep", "discard")


class Place(NamedTuple):
    """One sample of one epoch."""

    epoch: int
    index: int


def seeded_loader(
    dataset,
    transform,
    seed,
    epoch=0,
    *,
    batch_size=None,
    shuffle=False,
    sampler=None,
    last_batch="keep",
    batch_sampler=None,
    batchify_fn=None,
    rank=0,
    num_ranks=1,
    **kwargs,
):
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
    last_batch : {"keep", "discard"}
        What becomes of samples that do not fill a batch on every rank. "keep": they are shared
        out as evenly as they can be, so that ranks may differ by one sample, and a rank may be
        left without a last batch. "discard": they are left out, so that all ranks make equally
        many steps.
    batch_sampler : gluon Sampler, optional
        Gives whole batches, such as ``gluoncv.data.sampler.SplitSortedBucketSampler``; instead of
        ``batch_size``, ``shuffle``, ``sampler`` and ``last_batch``. Rank r of R takes every R-th
        batch from the r-th on. It should start every epoch alike: GluonCV's does, unless it is
        given ``num_parts``, for which ``rank`` and ``num_ranks`` are here.
    batchify_fn : callable, optional
        Makes a batch of samples; by default as in ``DataLoader``.
    rank, num_ranks : int
        Which part of every epoch is this process's. All ranks together read every sample once.
    **kwargs
        Passed on to ``DataLoader``: ``num_workers``, ``thread_pool``, ``prefetch``, ...

    Returns
    -------
    SeededLoader
        A ``DataLoader`` with the attribute ``epoch``.

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
    seed = _whole("seed", seed, 0, 2**64)
    epoch = _whole("epoch", epoch, 0, 2**63)
    num_ranks = _whole("num_ranks", num_ranks, 1, 2**31)
    rank = _whole("rank", rank, 0, num_ranks)
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
        batch_size = _whole("batch_size", batch_size, 1, 2**31)
        batches = _Batches(len(dataset), batch_size, shuffle, sampler, last_batch)
    elif batch_size is not None or shuffle or sampler is not None or last_batch != "keep":
        raise ValueError(
            "batch_sampler excludes batch_size, shuffle, sampler and last_batch; some were given"
        )
    else:
        batches = _GivenBatches(batch_sampler)
    if kwargs.get("auto_reload"):
        raise ValueError("auto_reload must be False: it begins an epoch before it is asked for")
    if batchify_fn is None:
        batchify_fn = default_mp_batchify_fn if kwargs.get("num_workers") else default_batchify_fn
    return SeededLoader(
        _SeededDataset(dataset, transform, seed),
        batch_sampler=_Places(batches, seed, epoch, rank, num_ranks),
        batchify_fn=_Batchify(batchify_fn),
        **kwargs,
    )


class SeededLoader(DataLoader):
    """What `seeded_loader` returns."""

    def __iter__(self):
        for batch in super().__iter__():
            if isinstance(batch, _Failure):
                batch.reraise()
            yield batch

    @property
    def epoch(self) -> int:
        """Number of the epoch the next iteration will be; may be set."""
        return self._batch_sampler.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._batch_sampler.epoch = _whole("epoch", epoch, 0, 2**63)


class _Failure:
    """An error on its way from a worker: MXNet shuts its workers down if one raises."""

    def __init__(self, error: Exception, where: str):
        # Not a subclass of these two: it may want other arguments than a message.
        kinds = [kind for kind in (TypeError, ValueError) if isinstance(error, kind)]
        self._type = kinds[0] if kinds else RuntimeError
        name = "" if kinds else f"{type(error).__name__}: "
        self._message = f"{where}: {name}{error}"
        self._traceback = traceback.format_exc()

    def reraise(self):
        raise self._type(self._message) from RuntimeError(self._traceback)


class _Sample(NamedTuple):
    """A transformed sample on its way to the batchify function."""

    place: Place
    value: object


class _Batchify:
    """A batchify function that lets failures through, and makes one of its own errors."""

    def __init__(self, batchify_fn):
        self._batchify_fn = batchify_fn

    def __call__(self, samples):
        for sample in samples:
            if isinstance(sample, _Failure):
                return sample
        try:
            return self._batchify_fn([sample.value for sample in samples])
        except Exception as error:
            indices = ", ".join(str(sample.place.index) for sample in samples)
            epoch = samples[0].place.epoch
            return _Failure(error, f"batch of samples {indices} of epoch {epoch}")


class _SeededDataset:
    """A data set indexed by `Place`, which applies the transform."""

    def __init__(self, dataset, transform, seed: int):
        self._dataset = dataset
        self._transform = transform
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, place: Place):
        try:
            if place.index < 0:  # would be the same sample with other draws
                raise ValueError("a sampler must give indices from 0 on")
            sample = self._dataset[place.index]
            sample = sample if isinstance(sample, tuple) else (sample,)
            value = self._transform(*sample, rng=sample_generator(self._seed, *place))
            return _Sample(place, value)
        except Exception as error:  # whatever it is, the caller should know the sample
            return _Failure(error, f"sample {place.index} of epoch {place.epoch}")


class _Places:
    """The batch sampler: batches of `Place` for one rank, a new epoch each time."""

    def __init__(self, batches, seed: int, epoch: int, rank: int, num_ranks: int):
        self.epoch = epoch
        self._batches = batches
        self._seed = seed
        self._rank = rank
        self._num_ranks = num_ranks

    def __len__(self) -> int:
        return self._batches.count(self._rank, self._num_ranks)

    def __iter__(self):
        # Not a generator: the epoch counts when the loader asks, not when it reads.
        epoch, self.epoch = self.epoch, self.epoch + 1
        draws = sample_generator(self._seed, epoch, ORDER)
        batches = self._batches.of_rank(draws, self._rank, self._num_ranks)
        return iter([[Place(epoch, int(index)) for index in batch] for batch in batches])


class _Batches:
    """Batches of consecutive samples of a drawn or given order."""

    def __init__(self, size: int, batch_size: int, shuffle: bool, sampler, last_batch: str):
        self._size = size if sampler is None else len(sampler)
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._sampler = sampler
        self._keep = last_batch == "keep"

    def count(self, rank: int, num_ranks: int) -> int:
        """Return the number of batches of a rank."""
        full, rest = divmod(self._size, self._batch_size * num_ranks)
        return full + (self._keep and rest > rank)

    def of_rank(self, draws: np.random.Generator, rank: int, num_ranks: int) -> list:
        """Return the batches of a rank in an epoch."""
        order = self._order(draws)
        together = self._batch_size * num_ranks
        full = len(order) // together * together
        batches = list(order[:full].reshape(-1, num_ranks, self._batch_size)[:, rank])
        rest = np.array_split(order[full:], num_ranks)[rank]
        return [*batches, rest] if self._keep and len(rest) else batches

    def _order(self, draws: np.random.Generator) -> np.ndarray:
        if self._sampler is not None:
            return np.asarray(_with_seeded_globals(draws, lambda: list(self._sampler)), np.int64)
        return draws.permutation(self._size) if self._shuffle else np.arange(self._size)


class _GivenBatches:
    """Batches of somebody else's batch sampler."""

    def __init__(self, batch_sampler):
        self._batch_sampler = batch_sampler

    def count(self, rank: int, num_ranks: int) -> int:
        """Return the number of batches of a rank."""
        return len(range(rank, len(self._batch_sampler), num_ranks))

    def of_rank(self, draws: np.random.Generator, rank: int, num_ranks: int) -> list:
        """Return the batches of a rank in an epoch."""
        return _with_seeded_globals(draws, lambda: list(self._batch_sampler))[rank::num_ranks]


def _with_seeded_globals(draws: np.random.Generator, function):
    """Call a function with ``np.random`` and ``random`` seeded, and put both back."""
    states = np.random.get_state(), random.getstate()
    seed = int(draws.integers(2**32))
    np.random.seed(seed)
    random.seed(seed)
    try:
        return function()
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


def _accepts_rng(transform) -> bool:
    try:
        parameters = inspect.signature(transform).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "rng" or p.kind is p.VAR_KEYWORD for p in parameters)


def _whole(name: str, value, low: int, end: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, but got {value!r}")
    if not low <= value < end:
        raise ValueError(f"{name} must be at least {low} and below {end}, but got {value}")
    return int(value)
