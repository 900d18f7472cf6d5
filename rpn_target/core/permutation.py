"""The tail of a permutation, as ``RandomState.permutation`` draws it, in less time.

GluonCV permutes all negative anchors to keep a few hundred of them: the tail of the permutation.
Parity needs that tail, and the random state afterwards. This module finds both without permuting.

NumPy shuffles from the back. For ``last`` from ``count - 1`` down to 1, it draws a number in
[0, last], then swaps the entries at ``last`` and at that number. To draw, it takes random *words*
of 32 bits, clears the bits above the highest of ``last``, and *accepts* the first word that is at
most ``last``.

The tail is known after the first swaps. Of all others, only the count of their words matters. One
word is accepted per swap. So whether a word is accepted depends on how many were before it:

* Words whose ``last`` has the same highest bit form a *band*. Bands are counted one by one.
* Within a band, ``last`` keeps close to a curve: its mean after so many words.
* Words well below the curve are accepted, words well above it are not. NumPy compares them all at
  once. Only the words near the curve are judged one by one, in Python.
* Afterwards it is checked that ``last`` was near the curve all the time. If it was not, the state
  is set back, and NumPy permutes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["permutation_tail"]

WORTHWHILE = 100_000  # swaps outside the tail; with fewer, permuting is about as fast
REMAINDER = 1 << 14  # swaps left to NumPy at the end, a power of two: small bands do not pay
BLOCK = 128  # words compared with the same bounds: a multiple of 8, below 256
FEWEST_BLOCKS = 8  # with fewer, words are judged without a curve
SHORT = 2048  # words judged together without a curve
NEAR = 5.0  # how far ``last`` may be from the curve, in standard deviations

EIGHT_ONES = np.uint64(0x0101010101010101)  # times this, the top byte is the sum of all eight


class _WrongGuess(Exception):
    """``last`` has not kept to the curve, or the words do not end where they should."""


def permutation_tail(state: Any, count: int, size: int) -> np.ndarray:
    """Return ``state.permutation(count)[count - size:]``, and leave the state as that does.

    Parameters
    ----------
    state : np.random.RandomState, or the module np.random
    count : int
        Length of the permutation.
    size : int
        Length of the tail, at most ``count``.
    """
    if count - size >= WORTHWHILE:
        before = state.get_state(legacy=False)
        try:
            return _tail(state, count, size)
        except _WrongGuess:
            state.set_state(before)
    return state.permutation(count)[count - size :]


def _tail(state: Any, count: int, size: int) -> np.ndarray:
    last = count - 1
    words = state.randint(0, 1 << 32, _mean_words(last), np.uint32)
    entries: dict[int, int] = {}  # by position, where it is not the position itself
    tail: list[int] = []
    while len(tail) < size:
        drawn, words = _draw(words, last, size - len(tail))
        for number in drawn.tolist():
            tail.append(entries.get(number, number))
            entries[number] = entries.get(last, last)
            last -= 1
    while len(words):
        words, last = _skip(words, last)
    state.permutation(last + 1)  # some `REMAINDER` swaps
    return np.array(tail[::-1], np.int64)


def _mean_words(last: int) -> int:
    """Return how many words all swaps but the last `REMAINDER` use on average."""
    words = 0.0
    while last > REMAINDER:
        power = _highest_power(last)
        words += 2 * power * math.log((last + 1) / power)
        last = power - 1
    return int(words)


def _highest_power(last: int) -> int:
    """Return the highest power of two that is at most ``last``: where its band ends."""
    if not last:
        raise _WrongGuess  # words are left after the last swap
    return 1 << (last.bit_length() - 1)


def _draw(words: np.ndarray, last: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the numbers of some swaps of one band, at most ``most``.

    Returns
    -------
    drawn, rest : np.ndarray
        The numbers, and the words that are left.
    """
    if not len(words):
        raise _WrongGuess  # swaps of the tail are left after the last word
    power = _highest_power(last)
    part = words[:SHORT] & np.uint32(2 * power - 1)
    lowest = max(last - len(part), power)
    accepted = np.flatnonzero(_accepted(part, last, np.array([lowest]), np.array([last])))
    most = min(most, last - power + 1)
    if len(accepted) < most:
        return part[accepted], words[len(part) :]
    accepted = accepted[:most]
    return part[accepted], words[accepted[-1] + 1 :]


def _skip(words: np.ndarray, last: int) -> tuple[np.ndarray, int]:
    """Pass over swaps of one band, many or few; return the words that are left, and ``last``."""
    power = _highest_power(last)
    span = 2 * power  # a word is one of so many numbers
    # A word lowers `last` with probability last / span, so that it falls exponentially. A band's
    # variance is span / 13 at its end. The curve stops where `last` cannot have left the band yet.
    margin = NEAR * math.sqrt(span / 12)
    mean_words = span * math.log(max(1, last / (power + margin)))
    blocks = int(min(len(words), mean_words)) // BLOCK
    if blocks < FEWEST_BLOCKS:
        drawn, words = _draw(words, last, len(words))
        return words, last - len(drawn)
    used = np.arange(blocks + 1) * BLOCK
    curve = last * np.exp(used / -span)
    variance = curve - curve * curve * (1 / last + used / span**2)
    near = NEAR * np.sqrt(np.maximum(variance, 0)) + 1  # for rounding
    lowest, highest = (curve - near).astype(np.int64)[1:], (curve + near).astype(np.int64)[:-1]
    part = words[: blocks * BLOCK]
    part &= np.uint32(span - 1)
    accepted = _accepted(part, last, lowest, highest)
    per_block = _byte_sums(accepted.view(np.uint64).reshape(blocks, -1).sum(axis=1))
    ends = last - np.cumsum(per_block)
    if (ends < lowest).any() or (ends + per_block > highest).any():
        raise _WrongGuess
    return words[len(part) :], int(ends[-1])


def _accepted(words: np.ndarray, last: int, lowest: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Tell which words of a band are accepted, provided that ``last`` keeps within bounds.

    Parameters
    ----------
    words : np.ndarray of shape (blocks * length,), uint32
        Without the bits above the band's highest.
    last : int
        Before the first word.
    lowest, highest : np.ndarray of shape (blocks,), int64
        Bounds of ``last`` in each block of words.
    """
    blocks = words.reshape(len(lowest), -1)
    accepted = np.less_equal(blocks, lowest.astype(np.uint32)[:, None]).reshape(-1)
    undecided = np.less_equal(blocks, highest.astype(np.uint32)[:, None]).reshape(-1)
    flags = undecided.view(np.uint8)
    flags -= accepted.view(np.uint8)  # NumPy's ^ of booleans takes several times as long
    near = np.flatnonzero(undecided)
    # Were no other word near the curve accepted, `last` would be above a word by its room.
    room = last - _true_before(accepted, near) - words[near]
    before, judged = 0, bytearray()
    for space in room.tolist():
        is_accepted = space >= before
        judged.append(is_accepted)
        before += is_accepted
    accepted[near] = np.frombuffer(judged, bool)
    return accepted


def _true_before(mask: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return how many entries of a mask are true before each position."""
    if len(mask) % 8:
        return (np.cumsum(mask) - mask)[position]
    eights = mask.view(np.uint64)  # the first of eight entries is the lowest byte
    sums = _byte_sums(eights)
    through = np.cumsum(sums)
    eight = position >> 3
    behind = (8 * (7 - (position & 7))).astype(np.uint64)
    within = _byte_sums((eights[eight] << behind) << np.uint64(8))
    return through[eight] - sums[eight] + within


def _byte_sums(eights: np.ndarray) -> np.ndarray:
    """Return the sum of the eight bytes of each entry, which is below 256, as int64."""
    sums = eights * EIGHT_ONES
    sums >>= np.uint64(56)
    return sums.view(np.int64)
