"""`RPNTargetSampler`: any matrix of IoUs, against GluonCV, plain loops and rows worked by hand."""

import helpers
import mxnet as mx
import naive
import numpy as np
import pytest
from gluoncv.model_zoo.rcnn.rpn.rpn_target import RPNTargetSampler as GluonCVSampler
from hypothesis import given, settings
from hypothesis import strategies as st

from rpn_target import RPNTargetSampler

DEFAULT = (256, 0.7, 0.3, 0.5)
THRESHOLDS = ((0.7, 0.3), (0.5, 0.5), (0.7, 0.0), (0.0, 0.0), (1.0, 0.3), (0.9, 0.1), (0.7, 1e-5),
              (1.0, 1.0), (0.7, 1e-50), (0.25, 2.0**-23))  # fmt: skip
QUOTAS = ((256, 0.5), (0, 0.5), (1, 0.5), (3, 0.5), (5, 0.5), (64, 0.25), (512, 0.5), (7, 0.0),
          (7, 1.0))  # fmt: skip

# Anchors (rows) and boxes (columns); the comment says what each becomes at 0.7 and 0.3.
BY_HAND = np.array(
    [
        [0.8, 0.2, 0.0],  # positive by threshold, match 0
        [0.7, 0.7, 0.0],  # exactly at the threshold: positive; tie of two boxes: match 0
        [0.2, 0.6, 0.0],  # ignore
        [0.0, 0.5, 0.4],  # best of box 2, but overlaps box 1 more: positive with match 1
        [0.3, 0.1, 0.0],  # exactly at the lower threshold: ignore
        [0.29, 0.1, 0.0],  # negative
        [0.0, 0.0, 0.0],  # negative
        [-1, -1, -1],  # outside of the image: ignore
        [0.9, 0.71, 0.1],  # best of boxes 0 and 1: positive, match 0
    ],
    np.float32,
)
BY_HAND_SAMPLES = [1, 1, 0, 1, 0, -1, -1, 0, 1]
BY_HAND_MATCHES = [0, 0, 1, 1, 0, 0, 0, 0, 0]


def near_ties(count, boxes, dtype, thresholds, seed):
    """Return a matrix of few distinct values, each moved by up to 3 ulps."""
    rng = np.random.RandomState(seed)
    values = [-1, -1, -0.5, 0, 0, 1e-8, 2.0**-23, 0.1, 0.29, 0.5, 0.7, 1, *thresholds]
    matrix = rng.choice(values[: rng.randint(3, len(values) + 1)], (count, boxes)).astype(dtype)
    if rng.rand() < 0.3:
        matrix = np.where(matrix < 0, matrix, rng.choice(values[-2:])).astype(dtype)
    for _ in range(rng.randint(0, 4)):
        towards = rng.choice([-np.inf, np.nan, np.inf], matrix.shape)
        moved = np.nextafter(matrix, towards.astype(dtype))
        matrix = np.where(np.isnan(towards) | (matrix == -1), matrix, moved)
    if rng.rand() < 0.5:
        matrix[rng.rand(count) < 0.3] = -1
    return matrix


matrices = st.builds(
    near_ties,
    count=st.one_of(st.just(1), st.integers(1, 12), st.integers(1, 200)),
    boxes=st.one_of(st.just(1), st.integers(1, 4), st.integers(1, 30)),
    dtype=st.sampled_from([np.float32, np.float64]),
    thresholds=st.sampled_from(THRESHOLDS),
    seed=st.integers(0, 2**32 - 1),
)
parameters = st.builds(
    lambda thresholds, quota: (quota[0], *thresholds, quota[1]),
    st.sampled_from(THRESHOLDS),
    st.sampled_from(QUOTAS),
)


class TestEmpty:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_no_boxes(self, dtype):
        """GluonCV crashes; without ground truth every anchor is background."""
        with helpers.strict():
            samples, matches = RPNTargetSampler(*DEFAULT)(np.zeros((5, 0), dtype))
        np.testing.assert_array_equal(samples, [-1] * 5)
        np.testing.assert_array_equal(matches, [0] * 5)
        assert samples.dtype == np.float32
        assert matches.dtype == np.int64

    def test_no_boxes_and_a_quota(self):
        samples, _ = RPNTargetSampler(3, 0.7, 0.3, 0.5)(np.zeros((5, 0)))
        assert sorted(samples) == [-1, -1, -1, 0, 0]

    @pytest.mark.parametrize("boxes", [0, 3])
    def test_no_anchors(self, boxes):
        state = helpers.random_states()
        samples, matches = RPNTargetSampler(*DEFAULT)(np.zeros((0, boxes), np.float32))
        assert samples.shape == matches.shape == (0,)
        assert state == helpers.random_states()


class TestByHand:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_rows(self, dtype):
        # In float64, float32's 0.7 and 0.3 would not be at the thresholds.
        matrix = BY_HAND.astype(dtype).round(2) if dtype == np.float64 else BY_HAND
        state = helpers.random_states()
        samples, matches = RPNTargetSampler(*DEFAULT)(matrix)
        np.testing.assert_array_equal(samples, BY_HAND_SAMPLES)
        np.testing.assert_array_equal(matches, BY_HAND_MATCHES)
        assert state == helpers.random_states()  # no surplus, no draw

    def test_best_anchor_below_the_negative_threshold(self):
        samples, _ = RPNTargetSampler(*DEFAULT)(np.array([[0.25], [0.1]], np.float32))
        np.testing.assert_array_equal(samples, [-1, -1])

    def test_box_no_anchor_overlaps(self):
        """With a best of 0, every valid anchor ties: those in between turn positive."""
        matrix = np.array([[0.5, 0], [0.4, 0], [0.2, 0], [-1, -1]], np.float32)
        samples, matches = RPNTargetSampler(*DEFAULT)(matrix)
        np.testing.assert_array_equal(samples, [1, 1, -1, 0])
        np.testing.assert_array_equal(matches, [0, 0, 0, 0])

    def test_all_anchors_outside(self):
        """Then all of them tie with the best, -1, and are positive."""
        samples, matches = RPNTargetSampler(*DEFAULT)(np.full((4, 2), -1, np.float32))
        np.testing.assert_array_equal(samples, [1] * 4)
        np.testing.assert_array_equal(matches, [0] * 4)

    def test_near_ties_within_epsilon(self):
        """Epsilon is two float32 steps at 0.6: one step below the best ties, two do not ..."""
        best = np.float32(0.6)
        steps = [best]
        for _ in range(3):
            steps.append(np.nextafter(steps[-1], np.float32(0)))
        samples, _ = RPNTargetSampler(*DEFAULT)(np.array(steps)[:, None])
        np.testing.assert_array_equal(samples, [1, 1, 0, 0])

    def test_near_ties_below_one_half(self):
        """... and four steps at 0.4, where three below the best still tie."""
        steps = [np.float32(0.4)]
        for _ in range(5):
            steps.append(np.nextafter(steps[-1], np.float32(0)))
        samples, _ = RPNTargetSampler(*DEFAULT)(np.array(steps)[:, None])
        np.testing.assert_array_equal(samples, [1, 1, 1, 1, 0, 0])

    @pytest.mark.parametrize(
        "num_sample, pos_ratio, positives, negatives",
        [(0, 0.5, 0, 0), (1, 0.5, 0, 1), (3, 0.5, 2, 1), (5, 0.5, 2, 2), (4, 1, 4, 0), (4, 0, 0, 2),
         (6, 0.5, 3, 2), (100, 0.5, 4, 2)],
    )  # fmt: skip
    def test_quota(self, num_sample, pos_ratio, positives, negatives):
        """Kept anchors are of the right number, and from the right places."""
        samples, _ = RPNTargetSampler(num_sample, 0.7, 0.3, pos_ratio)(BY_HAND)
        assert (samples == 1).sum() == positives
        assert (samples == -1).sum() == negatives
        np.testing.assert_array_equal(
            samples[samples != 0], np.array(BY_HAND_SAMPLES)[samples != 0]
        )


class TestJudges:
    @settings(max_examples=600)
    @given(matrix=matrices, parameters=parameters, seed=st.integers(0, 1000))
    def test_gluoncv(self, matrix, parameters, seed):
        before = matrix.copy()
        ours, theirs = RPNTargetSampler(*parameters), GluonCVSampler(*parameters)
        samples, matches = helpers.run_both(lambda: ours(matrix), lambda: theirs(matrix), seed)
        assert samples.dtype == np.float32
        assert matches.dtype == np.int64
        np.testing.assert_array_equal(matrix, before)

    @settings(max_examples=200)
    @given(matrix=matrices, parameters=parameters, seed=st.integers(0, 1000))
    def test_plain_loops(self, matrix, parameters, seed):
        matrix = matrix[:40, :6]
        ours = RPNTargetSampler(*parameters)
        helpers.run_both(
            lambda: ours(matrix),
            lambda: [np.array(part) for part in naive.sampler(list(matrix), *parameters)],
            seed,
        )

    @settings(max_examples=100)
    @given(
        seed=st.integers(0, 2**32 - 1),
        shape=st.tuples(st.integers(1, 3000), st.integers(1, 100)),
        parameters=parameters,
    )
    def test_uniform_matrix(self, seed, shape, parameters):
        rng = np.random.RandomState(seed)
        matrix = rng.uniform(-0.2, 1, shape).astype(np.float32) ** rng.choice([1, 3, 9])
        matrix[rng.rand(len(matrix)) < 0.4] = -1
        ours, theirs = RPNTargetSampler(*parameters), GluonCVSampler(*parameters)
        helpers.run_both(lambda: ours(matrix), lambda: theirs(matrix), seed % 1000)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.int8])
    def test_other_dtypes_and_layouts(self, dtype):
        matrix = np.random.RandomState(1).uniform(-1.4, 1.4, (300, 14)).astype(dtype)
        for view in (matrix, matrix.copy(order="F"), matrix[::-2, 1::3]):
            ours, theirs = RPNTargetSampler(20, 0.7, 0.3, 0.5), GluonCVSampler(20, 0.7, 0.3, 0.5)
            helpers.run_both(lambda: ours(view), lambda: theirs(view))  # noqa: B023

    def test_infinite_values(self):
        matrix = np.array([[np.inf, -np.inf], [1, -np.inf], [0.5, -np.inf]], np.float32)
        ours, theirs = RPNTargetSampler(*DEFAULT), GluonCVSampler(*DEFAULT)
        helpers.run_both(lambda: ours(matrix), lambda: theirs(matrix))

    def test_read_only(self):
        matrix = BY_HAND.copy()
        matrix.setflags(write=False)
        samples, _ = RPNTargetSampler(*DEFAULT)(matrix)
        np.testing.assert_array_equal(samples, BY_HAND_SAMPLES)


class TestBlock:
    def test_empty_ndarray(self):
        sampler = RPNTargetSampler(*DEFAULT)
        with mx.util.np_shape(True):
            samples, matches = sampler(mx.nd.zeros((4, 0)))
        np.testing.assert_array_equal(samples.asnumpy(), [-1] * 4)
        np.testing.assert_array_equal(matches.asnumpy(), [0] * 4)

    @pytest.mark.parametrize("ctx", [mx.cpu(0), mx.cpu(1), mx.Context("cpu_shared", 0)])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_ndarray(self, ctx, dtype):
        rng = np.random.RandomState(2)
        matrix = mx.nd.array(rng.uniform(-0.5, 1, (500, 4)), ctx=ctx, dtype=dtype)
        expected = matrix.asnumpy()
        sampler = RPNTargetSampler(16, 0.7, 0.3, 0.5)
        helpers.seed_all(5)
        from_numpy = sampler(expected)
        helpers.seed_all(5)
        with helpers.strict():
            from_ndarray = sampler(matrix)
        for one, other in zip(from_ndarray, from_numpy):
            assert isinstance(one, mx.nd.NDArray)
            assert one.dtype == np.float32
            assert one.context == ctx
            np.testing.assert_array_equal(one.asnumpy(), other)
        np.testing.assert_array_equal(matrix.asnumpy(), expected)

    def test_called_by_keyword(self):
        """As can be GluonCV's from 0.5 on, which is no Block."""
        samples, matches = RPNTargetSampler(*DEFAULT)(ious=BY_HAND)
        np.testing.assert_array_equal(samples, BY_HAND_SAMPLES)
        np.testing.assert_array_equal(matches, BY_HAND_MATCHES)

    @pytest.mark.parametrize("wrap", [np.asarray, mx.nd.array])
    def test_inside_another_block(self, wrap):
        class Outer(mx.gluon.Block):
            def __init__(self):
                super().__init__()
                with self.name_scope():
                    self.sampler = RPNTargetSampler(*DEFAULT)

            def forward(self, ious):
                return self.sampler(ious)

        outer = Outer()
        outer.initialize()
        with mx.autograd.record():
            samples, matches = outer(wrap(BY_HAND))
        np.testing.assert_array_equal(helpers.to_numpy(samples), BY_HAND_SAMPLES)
        np.testing.assert_array_equal(helpers.to_numpy(matches), BY_HAND_MATCHES)
