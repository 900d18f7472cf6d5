"""The tail of a permutation against NumPy's: its entries, and the random state afterwards."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpn_target.core import permutation
from rpn_target.core.permutation import permutation_tail

SEED = st.integers(0, 2**32 - 1)


@pytest.fixture
def wrong_guesses(monkeypatch):
    """Return a list that gets an entry whenever NumPy has to permute after all."""
    found = []

    class Found(permutation._WrongGuess):
        def __init__(self):
            found.append(self)

    monkeypatch.setattr(permutation, "_WrongGuess", Found)
    return found


@contextlib.contextmanager
def tiny_bands(near):
    """Make everything so small that a few hundred swaps have several bands with a curve."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("WORTHWHILE", 1), ("REMAINDER", 16), ("BLOCK", 8), ("FEWEST_BLOCKS", 2), ("SHORT", 16),
            ("NEAR", near),
        ):  # fmt: skip
            patch.setattr(permutation, name, value)
        yield


def assert_same(count, size, seed, state=np.random.RandomState):
    """Compare the tail, all of the state afterwards, and what is drawn from it next."""
    theirs, ours = state(seed), state(seed)
    theirs.standard_normal(), ours.standard_normal()  # one more is kept for the next call
    expected = theirs.permutation(count)[count - size :]
    tail = permutation_tail(ours, count, size)
    assert tail.dtype == expected.dtype
    np.testing.assert_array_equal(tail, expected)
    assert str(ours.get_state(legacy=False)) == str(theirs.get_state(legacy=False))
    for draw in ("standard_normal", "random_sample"):
        np.testing.assert_array_equal(getattr(ours, draw)(700), getattr(theirs, draw)(700))


class TestSameAsNumPy:
    @pytest.mark.parametrize(
        "count", [99_000, 100_256, 131_071, 131_072, 131_073, 217_000, 262_144, 262_145, 600_000]
    )
    def test_real_sizes(self, count, wrong_guesses):
        for seed in range(5):
            assert_same(count, 256, seed)
        assert not wrong_guesses

    @pytest.mark.parametrize("size", [0, 1, 2, 127, 5000, 99_999, 100_000, 150_000, 200_000])
    def test_sizes_of_the_tail(self, size):
        assert_same(200_000, size, 7)

    @pytest.mark.parametrize("count, size", [(0, 0), (1, 0), (1, 1), (2, 1), (300, 300)])
    def test_small(self, count, size):
        assert_same(count, size, 3)

    @settings(max_examples=400)
    @given(
        count=st.integers(1, 3000), share=st.floats(0, 1), seed=SEED,
        near=st.sampled_from([0.3, 1, 2, 5]),
    )  # fmt: skip
    def test_tiny_bands(self, count, share, seed, near):
        """Whether the guess is right, often or seldom, makes no difference."""
        with tiny_bands(near):
            assert_same(count, int(share * count), seed)

    def test_the_global_state(self):
        np.random.seed(5)
        expected = np.random.permutation(150_000)[-300:], np.random.random_sample()
        np.random.seed(5)
        tail = permutation_tail(np.random, 150_000, 300)
        np.testing.assert_array_equal(tail, expected[0])
        assert np.random.random_sample() == expected[1]

    def test_another_bit_generator(self, monkeypatch):
        """NumPy's RandomState can be made around any."""
        for near in (permutation.NEAR, 0.1):
            monkeypatch.setattr(permutation, "NEAR", near)
            assert_same(120_000, 100, 3, lambda seed: np.random.RandomState(np.random.PCG64(seed)))


class TestWrongGuesses:
    def test_last_left_the_curve(self, monkeypatch, wrong_guesses):
        monkeypatch.setattr(permutation, "NEAR", 0.1)
        assert_same(217_000, 256, 0)
        assert wrong_guesses

    @pytest.mark.parametrize("word", [0, 2**32 - 1])
    def test_all_or_no_words_accepted(self, word):
        with pytest.raises(permutation._WrongGuess):
            permutation._skip(np.full(50_000, word, np.uint32), 200_000)

    @pytest.mark.parametrize("words", [0, 1, 100, 20_000, 310_000, 400_000])
    def test_too_few_or_too_many_words(self, words, monkeypatch, wrong_guesses):
        """Too few are made up for by NumPy at the end, unless they are too few for the tail."""
        monkeypatch.setattr(permutation, "_mean_words", lambda last: words)
        assert_same(217_000, 256, 0)
        assert bool(wrong_guesses) == (words in (0, 1, 100, 400_000))
