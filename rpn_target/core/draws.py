"""Randomness: where flips, sizes and samples are drawn from.

By default that is numpy's global state and Python's ``random``: the numbers that GluonCV draws, in
its order, so that results are equal. Anything else is a *stream* of its own:

============================ =====================================================================
``rng``                      draws
============================ =====================================================================
``None``                     as GluonCV, from ``np.random`` and ``random``
``np.random.RandomState``    as GluonCV, all from that state
``np.random.Generator``      from that generator, the kept anchors directly (fast)
``int``                      likewise, from a stream of its own in every process: workers never
                             repeat each other or their parent, and every run of a program draws
                             the same, also where it loads the object from a pickle
============================ =====================================================================

A RandomState or Generator is copied into forked workers as it is, so that they do repeat each
other; give an ``int``, or use `rpn_target.seeded_loader`.
"""

from __future__ import annotations

import multiprocessing
import numbers
import os
import random
from types import ModuleType
from typing import Any, Union

import numpy as np

from .permutation import permutation_tail

__all__ = ["Draws", "GlobalDraws", "as_draws", "sample_generator"]

# Made anew by every program that imports this module; processes that it forks have the same.
_PROGRAM = os.urandom(16)


def as_draws(rng: Any) -> Draws:
    """Return the object to draw from: one with ``kept``, ``flip`` and ``integer``.

    Raises
    ------
    TypeError
        If ``rng`` is none of the kinds above.
    ValueError
        If it is a negative number.
    """
    if rng is None:
        return GlobalDraws()
    if isinstance(rng, np.random.RandomState):
        return _StateDraws(rng)
    if isinstance(rng, np.random.Generator):
        return _GeneratorDraws(rng)
    if isinstance(rng, numbers.Integral) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"rng must be at least 0 where it is a number, but got {rng}")
        return _ProcessDraws(int(rng))
    raise TypeError(
        "rng must be None, a whole number, np.random.RandomState or np.random.Generator, but got "
        f"{rng!r}"
    )


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of one sample of one epoch, the same wherever it is made.

    Philox is counter-based: seed, epoch and index go straight into its key and counter, so that
    no two of them share a draw.
    """
    # As uint64 from the start: a list with both small and large numbers would become float64.
    counter = np.array([0, 0, epoch, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


class _StateDraws:
    """Draws from a RandomState, in GluonCV's order."""

    def __init__(self, state: np.random.RandomState | ModuleType):
        self._state = state

    def kept(self, count: int, quota: int) -> np.ndarray:
        """Draw at most ``quota`` of ``count`` ranks, without replacement."""
        if count <= quota:
            return np.arange(count)
        # GluonCV draws the surplus with `choice(..., size=count - quota, replace=False)`, which
        # takes the head of a permutation. The kept ones are its tail.
        return permutation_tail(self._state, count, quota)

    def flip(self, probability: float) -> bool:
        """Draw whether to flip horizontally."""
        self._state.random_sample()  # GluonCV first draws for a vertical flip of probability 0
        return bool(self._state.choice([False, True], p=[1 - probability, probability]))

    def integer(self, low: int, high: int) -> int:
        """Draw a whole number in [low, high]."""
        return int(self._state.randint(low, high + 1))


class GlobalDraws(_StateDraws):
    """Draws from numpy's global state and Python's ``random``, as GluonCV does."""

    def __init__(self) -> None:
        super().__init__(np.random)

    def integer(self, low: int, high: int) -> int:
        """Draw a whole number in [low, high]."""
        return random.randint(low, high)

    def __reduce__(self) -> tuple[type[GlobalDraws], tuple[()]]:
        return GlobalDraws, ()  # the state is a module, which does not pickle


class _GeneratorDraws:
    """Draws from a Generator."""

    def __init__(self, generator: np.random.Generator):
        self._generator = generator

    def kept(self, count: int, quota: int) -> np.ndarray:
        """Draw at most ``quota`` of ``count`` ranks, without replacement."""
        if count <= quota:
            return np.arange(count)
        return self._generator.choice(count, quota, replace=False, shuffle=False)

    def flip(self, probability: float) -> bool:
        """Draw whether to flip horizontally."""
        return bool(self._generator.random() < probability)

    def integer(self, low: int, high: int) -> int:
        """Draw a whole number in [low, high]."""
        return int(self._generator.integers(low, high, endpoint=True))


class _ProcessDraws:
    """Draws from a Generator that every process makes for itself."""

    def __init__(self, seed: int):
        self._seed = seed
        self._home = _process()
        self._made: dict[Any, _GeneratorDraws] = {}  # by process: a fork leaves its parent's alone

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}, "_program": _PROGRAM}

    def __setstate__(self, state: dict[str, Any]) -> None:
        program = state.pop("_program")
        self.__dict__.update(state)
        if program != _PROGRAM:
            # The number of the process that made this means nothing in another program.
            self._home = os.getpid(), self._home[1]

    def _here(self) -> _GeneratorDraws:
        process = _process()
        draws = self._made.get(process)
        if draws is None:
            sequence = np.random.SeedSequence(self._seed, spawn_key=self._key(process))
            draws = _GeneratorDraws(np.random.default_rng(sequence))
            # Atomic: of threads that come here at once, all get the one that was first.
            draws = self._made.setdefault(process, draws)
        return draws

    def _key(self, process: tuple[int, tuple[int, ...]]) -> tuple[int, ...]:
        number, position = process
        # The position in the tree of processes is the same in every run, unlike the number, which
        # is needed only where a process was forked without multiprocessing.
        if position == self._home[1] and number != self._home[0]:
            return (2, number)
        return (1, *position) if position else ()

    def kept(self, count: int, quota: int) -> np.ndarray:
        """Draw at most ``quota`` of ``count`` ranks, without replacement."""
        return self._here().kept(count, quota)

    def flip(self, probability: float) -> bool:
        """Draw whether to flip horizontally."""
        return self._here().flip(probability)

    def integer(self, low: int, high: int) -> int:
        """Draw a whole number in [low, high]."""
        return self._here().integer(low, high)


Draws = Union[_StateDraws, _GeneratorDraws, _ProcessDraws]


def _process() -> tuple[int, tuple[int, ...]]:
    """Return this process's number, and its position in the tree of multiprocessing's processes."""
    identity = multiprocessing.current_process()._identity  # type: ignore[attr-defined]
    return os.getpid(), tuple(identity)
