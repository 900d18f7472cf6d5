"""A DataLoader whose every draw depends on seed, epoch and sample alone.

The epoch travels with the index: the batch sampler yields batches of `Place`, the data set hands
each sample a generator made from it, and no worker keeps any state. So the batches are the same
with any number of workers, processes or threads, on one machine or split over ranks.
"""

from __future__ import annotations

import inspect
import traceback
from typing import NamedTuple

from mxnet.gluon.data import DataLoader
from mxnet.gluon.data.dataloader import default_batchify_fn, default_mp_batchify_fn

from ..core.draws import sample_generator
from ..core.settings import whole_number
from .order import LAST_BATCH, Batches, GivenBatches, Place, Places

__all__ = ["SeededLoader", "seeded_loader"]


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
        A ``DataLoader`` with the attribute ``epoch``; its length is that of the next epoch.

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
        batches = Batches(len(dataset), batch_size, seed, shuffle, sampler, last_batch)
    elif batch_size is not None or shuffle or sampler is not None or last_batch != "keep":
        raise ValueError(
            "batch_sampler excludes batch_size, shuffle, sampler and last_batch; some were given"
        )
    else:
        batches = GivenBatches(batch_sampler, seed)
    if kwargs.get("auto_reload"):
        raise ValueError("auto_reload must be False: it begins an epoch before it is asked for")
    if batchify_fn is None:
        batchify_fn = default_mp_batchify_fn if kwargs.get("num_workers") else default_batchify_fn
    return SeededLoader(
        _SeededDataset(dataset, transform, seed),
        batch_sampler=Places(batches, epoch, rank, num_ranks),
        batchify_fn=_Batchify(batchify_fn),
        **kwargs,
    )


class SeededLoader(DataLoader):
    """What `seeded_loader` returns."""

    def __iter__(self):
        for batch, failure in super().__iter__():
            if failure is not None:
                failure.reraise()
            yield batch

    @property
    def epoch(self) -> int:
        """Number of the epoch the next iteration will be; may be set."""
        return self._batch_sampler.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._batch_sampler.epoch = whole_number("epoch", epoch, 0, 2**63)


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
    """A batchify function that returns a batch and None, or None and a failure.

    Always two things: of a batch of length 1, the workers of MXNet 1.6 return only what is in it.
    """

    def __init__(self, batchify_fn):
        self._batchify_fn = batchify_fn

    def __call__(self, samples):
        for sample in samples:
            if isinstance(sample, _Failure):
                return None, sample
        try:
            return self._batchify_fn([sample.value for sample in samples]), None
        except Exception as error:
            indices = ", ".join(str(sample.place.index) for sample in samples)
            epoch = samples[0].place.epoch
            return None, _Failure(error, f"batch of samples {indices} of epoch {epoch}")


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


def _accepts_rng(transform) -> bool:
    try:
        parameters = inspect.signature(transform).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "rng" or p.kind is p.VAR_KEYWORD for p in parameters)
