"""The order of samples: which of them make up the batches of an epoch, and of a rank.

An order depends on the seed and the epoch alone, so that any process knows it without having seen
the epochs before. All ranks share one order and take turns in it: a *round* is one batch on every
rank.
"""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Sequence, TypeVar

import numpy as np

from ..core.draws import sample_generator

__all__ = ["LAST_BATCH", "BatchSampler", "GivenBatches", "Order", "Position", "SampleId"]

LAST_BATCH = ("keep", "discard", "rollover")

ORDER = 2**64 - 1  # stands for the index where the order of an epoch is drawn

MOST_DIVISORS_OF = 10**6  # a message lists the divisors of a number up to this one

Result = TypeVar("Result")


class SampleId(NamedTuple):
    """One sample of one epoch."""

    epoch: int
    index: int  # type: ignore[assignment]  # hides a method of tuples


class Position(NamedTuple):
    """How far all ranks together have read: so many samples of the order of an epoch."""

    epoch: int
    samples: int


class Batch(NamedTuple):
    """The samples of a batch, and where it leaves off."""

    samples: list[SampleId]
    end: Position


class BatchSampler:
    """The batches of one rank, as lists of `SampleId`, a new epoch each time.

    Parameters
    ----------
    order : Order or GivenBatches
    epoch : int
        Number of the first epoch.
    rank, num_ranks : int

    Attributes
    ----------
    epoch : int
        Number of the epoch that comes next.
    rounds : int
        How many rounds of that epoch have been read already.
    """

    def __init__(self, order: Order | GivenBatches, epoch: int, rank: int, num_ranks: int):
        self.epoch = epoch
        self.rounds = 0
        self._order = order
        self._rank = rank
        self._num_ranks = num_ranks

    def __len__(self) -> int:
        """Return the number of batches that the next iteration gives."""
        count = self._order.count(self.epoch, self._rank, self._num_ranks)
        return max(0, count - self.rounds)

    def __iter__(self) -> Iterator[list[SampleId]]:
        return (batch.samples for batch in self.begin())

    def begin(self) -> Iterator[Batch]:
        """Begin the next epoch, and return an iterator over its batches."""
        epoch, rounds = self.epoch, self.rounds
        self.epoch, self.rounds = epoch + 1, 0
        return self._order.batches(epoch, self._rank, self._num_ranks, rounds)

    def position(self) -> Position:
        """Return where the next iteration begins."""
        return self._order.position(self.epoch, self.rounds, self._num_ranks)

    def go_to(self, position: Position) -> None:
        """Begin the next iteration at a position.

        Raises
        ------
        ValueError
            If no batch begins there.
        """
        self.epoch, self.rounds = self._order.find(position, self._num_ranks)


class Order:
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

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        shuffle: bool = False,
        sampler: Any = None,
        last_batch: str = "keep",
    ):
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
            return self._round_of(epoch + 1, together) - self._round_of(epoch, together)
        full, rest = divmod(self._size, together)
        return full + (self._last_batch == "keep" and rest > rank)

    def batches(self, epoch: int, rank: int, num_ranks: int, rounds: int = 0) -> Iterator[Batch]:
        """Return an iterator over the batches of a rank in an epoch, without its first rounds."""
        together = self._batch_size * num_ranks
        pieces = self._pieces(epoch, together)  # now, and not with the first batch
        return self._cut(pieces, epoch, rank, num_ranks, rounds)

    def _cut(
        self,
        pieces: list[tuple[int, np.ndarray]],
        epoch: int,
        rank: int,
        num_ranks: int,
        rounds: int,
    ) -> Iterator[Batch]:
        together = self._batch_size * num_ranks
        full, rest = divmod(sum(len(indices) for _, indices in pieces), together)
        for number in range(rounds, full):
            start = number * together + self._batch_size * rank
            yield Batch(
                _samples(pieces, start, start + self._batch_size),
                self.position(epoch, number + 1, num_ranks),
            )
        if self._last_batch == "keep" and rest > rank and rounds <= full:
            each, more = divmod(rest, num_ranks)  # evenly, the first ranks one more
            start = full * together + each * rank + min(rank, more)
            yield Batch(
                _samples(pieces, start, start + each + (rank < more)), Position(epoch + 1, 0)
            )

    def position(self, epoch: int, rounds: int, num_ranks: int) -> Position:
        """Return the position after so many rounds of an epoch.

        The end of an epoch is the beginning of the next one.
        """
        together = self._batch_size * num_ranks
        if self._last_batch == "rollover":
            read = (self._round_of(epoch, together) + rounds) * together
            return Position(*divmod(read, self._size)) if self._size else Position(epoch, 0)
        last = self._size if self._last_batch == "keep" else self._size // together * together
        read = rounds * together
        return Position(epoch + 1, 0) if read >= last and rounds else Position(epoch, read)

    def find(self, position: Position, num_ranks: int) -> tuple[int, int]:
        """Return the epoch in which a position is, and the number of rounds before it.

        Raises
        ------
        ValueError
            If no round begins there.
        """
        epoch, samples = position
        if samples > self._size:
            raise ValueError(f"an epoch has {self._size} samples, but {samples} have been read")
        together = self._batch_size * num_ranks
        rolls_over = self._last_batch == "rollover"
        read = epoch * self._size + samples if rolls_over else samples
        rounds, surplus = divmod(read, together)
        if surplus:
            counted = "in all epochs" if rolls_over else f"in epoch {epoch}"
            fitting = ", ".join(map(str, _divisors(read, num_ranks))) or "none"
            raise ValueError(
                f"the {read} samples read {counted} must be whole batches on every rank, but a "
                f"batch_size of {self._batch_size} with num_ranks {num_ranks} does not divide "
                f"them; with this num_ranks, these batch sizes do: {fitting}"
            )
        if not rolls_over or not self._size:
            return epoch, rounds
        # The first epoch that has a round after these; those before have no more.
        epoch = -(-(rounds + 1) * together // self._size) - 1
        return epoch, rounds - self._round_of(epoch, together)

    def _round_of(self, epoch: int, together: int) -> int:
        """Return how many rounds the samples of all earlier epochs fill, if none is left out."""
        return epoch * self._size // together

    def _pieces(self, epoch: int, together: int) -> list[tuple[int, np.ndarray]]:
        """Return what all ranks read in an epoch: the samples of an epoch each, in order."""
        if self._last_batch != "rollover":
            return [(epoch, self._indices(epoch))]
        start, stop = (self._round_of(each, together) * together for each in (epoch, epoch + 1))
        pieces = []
        for each in range(start // self._size, epoch + 1) if stop > start else ():
            # Some samples may be older. A copy, where it is small: the rest need not be kept.
            first = max(0, start - each * self._size)
            indices = self._indices(each)[first : stop - each * self._size]
            pieces.append((each, indices if each == epoch else indices.copy()))
        return pieces

    def _indices(self, epoch: int) -> np.ndarray:
        """Return the order of an epoch (size,)."""
        draws = sample_generator(self._seed, epoch, ORDER)
        if self._sampler is None:
            return draws.permutation(self._size) if self._shuffle else np.arange(self._size)
        order = _with_seeded_globals(draws, lambda: _whole_numbers(self._sampler))
        if self._last_batch == "rollover" and len(order) != self._size:
            raise ValueError(
                "with last_batch='rollover' a sampler must give as many indices in every "
                f"epoch as its length says, but of {self._size} it gave {len(order)}"
            )
        return order


class GivenBatches:
    """Batches of somebody else's batch sampler; ranks take turns."""

    def __init__(self, batch_sampler: Any, seed: int):
        self._batch_sampler = batch_sampler
        self._seed = seed

    def count(self, epoch: int, rank: int, num_ranks: int) -> int:
        """Return the number of batches of a rank, in any epoch."""
        return len(range(rank, len(self._batch_sampler), num_ranks))

    def batches(self, epoch: int, rank: int, num_ranks: int, rounds: int = 0) -> Iterator[Batch]:
        """Return an iterator over the batches of a rank in an epoch, without its first rounds."""
        batches = self._draw(epoch)
        ends = list(accumulate(map(len, batches)))

        def end(number: int) -> Position:
            last = number // num_ranks * num_ranks + num_ranks - 1  # of its round
            return Position(epoch, ends[last]) if last + 1 < len(ends) else Position(epoch + 1, 0)

        return (
            Batch([SampleId(epoch, int(index)) for index in batches[number]], end(number))
            for number in range(rank + rounds * num_ranks, len(batches), num_ranks)
        )

    def position(self, epoch: int, rounds: int, num_ranks: int) -> Position:
        """Return the position after so many rounds of an epoch."""
        if not rounds:
            return Position(epoch, 0)
        return Position(epoch, sum(map(len, self._draw(epoch)[: rounds * num_ranks])))

    def find(self, position: Position, num_ranks: int) -> tuple[int, int]:
        """Return the epoch in which a position is, and the number of rounds before it.

        Raises
        ------
        ValueError
            If no round begins there.
        """
        if not position.samples:
            return position.epoch, 0
        ends = [0, *accumulate(map(len, self._draw(position.epoch)))]
        if position.samples not in ends[::num_ranks]:
            number = ends.index(position.samples) if position.samples in ends else "not"
            raise ValueError(
                f"the {position.samples} samples read in epoch {position.epoch} must be whole "
                f"batches of the batch_sampler, and num_ranks {num_ranks} must divide their "
                f"number, but they are {number}"
            )
        return position.epoch, ends[::num_ranks].index(position.samples)

    def _draw(self, epoch: int) -> list[Sequence[Any]]:
        draws = sample_generator(self._seed, epoch, ORDER)
        return _with_seeded_globals(draws, lambda: list(self._batch_sampler))


def _samples(pieces: list[tuple[int, np.ndarray]], start: int, stop: int) -> list[SampleId]:
    """Return the samples number start to stop of pieces that follow each other."""
    samples: list[SampleId] = []
    for epoch, indices in pieces:
        part = indices[max(0, start) : max(0, stop)]
        samples.extend(SampleId(epoch, index) for index in part.tolist())
        start, stop = start - len(indices), stop - len(indices)
    return samples


def _whole_numbers(values: Iterable[Any]) -> np.ndarray:
    try:
        return np.fromiter((int(value) for value in values), np.int64)
    except OverflowError:
        raise ValueError("a sampler must give indices below 2**63") from None


def _divisors(number: int, num_ranks: int) -> list[int]:
    """Return the batch sizes that divide a number of samples on so many ranks."""
    each, surplus = divmod(number, num_ranks)
    if surplus:
        return []
    return [size for size in range(1, min(each, MOST_DIVISORS_OF) + 1) if each % size == 0]


def _with_seeded_globals(draws: np.random.Generator, function: Callable[[], Result]) -> Result:
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
