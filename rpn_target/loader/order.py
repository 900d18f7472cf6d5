"""Batch order: which samples make up the batches of an epoch, and which rank gets them.

An order depends on the seed and the epoch alone, so that any process can tell it, of any epoch,
without having seen the ones before. Ranks share one order and take turns in it.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np

from ..core.draws import sample_generator

__all__ = ["LAST_BATCH", "Batches", "GivenBatches", "Place", "Places"]

LAST_BATCH = ("keep", "discard", "rollover")

ORDER = 2**64 - 1  # stands for the index where the order of an epoch is drawn


class Place(NamedTuple):
    """One sample of one epoch."""

    epoch: int
    index: int


class Places:
    """A batch sampler: the batches of one rank, as lists of `Place`, a new epoch each time.

    Parameters
    ----------
    batches : Batches or GivenBatches
    epoch : int
        Number of the first epoch.
    rank, num_ranks : int

    Attributes
    ----------
    epoch : int
        Number of the epoch that comes next; may be set.
    """

    def __init__(self, batches, epoch: int, rank: int, num_ranks: int):
        self.epoch = epoch
        self._batches = batches
        self._rank = rank
        self._num_ranks = num_ranks

    def __len__(self) -> int:
        """Return the number of batches of the epoch that comes next."""
        return self._batches.count(self.epoch, self._rank, self._num_ranks)

    def __iter__(self):
        # Not a generator: the epoch counts when the loader asks, not when it reads.
        epoch, self.epoch = self.epoch, self.epoch + 1
        return iter(self._batches.of_rank(epoch, self._rank, self._num_ranks))


class Batches:
    """Batches of consecutive samples of a drawn or given order.

    Parameters
    ----------
    size : int
        Number of samples; that of the sampler where one is given.
    batch_size : int
    seed : int
    shuffle : bool
        Draw a new order for every epoch.
    sampler : gluon Sampler, optional
        Gives the order instead.
    last_batch : str
        One of `LAST_BATCH`; see `rpn_target.seeded_loader`.
    """

    def __init__(self, size, batch_size: int, seed: int, shuffle=False, sampler=None,
                 last_batch="keep"):  # fmt: skip
        self._size = size if sampler is None else len(sampler)
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._sampler = sampler
        self._last_batch = last_batch

    def count(self, epoch: int, rank: int, num_ranks: int) -> int:
        """Return the number of batches of a rank in an epoch."""
        together = self._batch_size * num_ranks
        if self._last_batch == "rollover":
            start, stop = self._whole_rounds(epoch, together)
            return (stop - start) // together
        full, rest = divmod(self._size, together)
        return full + (self._last_batch == "keep" and rest > rank)

    def of_rank(self, epoch: int, rank: int, num_ranks: int) -> list[list[Place]]:
        """Return the batches of a rank in an epoch."""
        together = self._batch_size * num_ranks
        places = self._places(epoch, together)
        full = len(places) // together * together
        first = self._batch_size * rank
        batches = [
            places[start + first : start + first + self._batch_size]
            for start in range(0, full, together)
        ]
        rest = np.array_split(np.arange(full, len(places)), num_ranks)[rank]  # evenly
        if self._last_batch == "keep" and len(rest):
            batches.append([places[number] for number in rest])
        return batches

    def _places(self, epoch: int, together: int) -> list[Place]:
        """Return what all ranks read in an epoch, in order."""
        if self._last_batch != "rollover":
            return self._order(epoch)
        start, stop = self._whole_rounds(epoch, together)
        first = start // self._size if stop > start else epoch  # some samples may be older
        places = [place for each in range(first, epoch + 1) for place in self._order(each)]
        return places[start - first * self._size : stop - first * self._size]

    def _whole_rounds(self, epoch: int, together: int) -> tuple[int, int]:
        """Return which samples an epoch reads, counted over all epochs, if none is left out.

        They are the rounds (a batch on every rank) that the samples of the epoch complete.
        """
        ends = epoch * self._size, (epoch + 1) * self._size
        return tuple(end // together * together for end in ends)

    def _order(self, epoch: int) -> list[Place]:
        draws = sample_generator(self._seed, epoch, ORDER)
        if self._sampler is not None:
            order = _with_seeded_globals(draws, lambda: list(self._sampler))
            if self._last_batch == "rollover" and len(order) != self._size:
                raise ValueError(
                    "with last_batch='rollover' a sampler must give as many indices in every "
                    f"epoch as its length says, but of {self._size} it gave {len(order)}"
                )
        else:
            order = draws.permutation(self._size) if self._shuffle else range(self._size)
        return [Place(epoch, int(index)) for index in order]


class GivenBatches:
    """Batches of somebody else's batch sampler; ranks take turns."""

    def __init__(self, batch_sampler, seed: int):
        self._batch_sampler = batch_sampler
        self._seed = seed

    def count(self, epoch: int, rank: int, num_ranks: int) -> int:
        """Return the number of batches of a rank, in any epoch."""
        return len(range(rank, len(self._batch_sampler), num_ranks))

    def of_rank(self, epoch: int, rank: int, num_ranks: int) -> list[list[Place]]:
        """Return the batches of a rank in an epoch."""
        draws = sample_generator(self._seed, epoch, ORDER)
        batches = _with_seeded_globals(draws, lambda: list(self._batch_sampler))
        return [[Place(epoch, int(i)) for i in batch] for batch in batches[rank::num_ranks]]


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
