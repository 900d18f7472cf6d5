"""Everything with everything: constructors and calls on generated input, good and bad.

Whatever comes in, only the documented errors come out; no output holds a NaN; quotas hold; inputs
stay as they were; and where GluonCV takes the input, its outcome and its random states are ours.

The environment variable ``RPN_TARGET_FUZZ_EXAMPLES`` sets the number of examples, over all tests
(some thousands without it). The examples are the same on every run, and a longer run begins with
other ones than a shorter; ``RPN_TARGET_FUZZ_SEED`` asks for others still.
"""

import collections
import functools
import gc
import itertools
import os
import warnings

import helpers
import mxnet as mx
import naive_options
import numpy as np
import pytest
from gluoncv.data.batchify import FasterRCNNTrainBatchify as GluonCVBatchify
from gluoncv.data.transforms.presets.rcnn import (
    FasterRCNNDefaultTrainTransform as GluonCVTransform,
)
from gluoncv.data.transforms.presets.rcnn import (
    MaskRCNNDefaultTrainTransform as GluonCVMaskTransform,
)
from gluoncv.model_zoo.rcnn.rpn.rpn_target import RPNTargetGenerator as GluonCVGenerator
from gluoncv.model_zoo.rcnn.rpn.rpn_target import RPNTargetSampler as GluonCVSampler
from helpers import MAKERS, make_boxes, seed_all
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from naive import NEGATIVE, POSITIVE

from rpn_target import (
    FasterRCNNTrainBatchify,
    FasterRCNNTrainTransform,
    MaskRCNNTrainBatchify,
    MaskRCNNTrainTransform,
    RPNTargetGenerator,
    RPNTargetSampler,
    seeded_loader,
)
from rpn_target.core.anchor_array import AnchorArray
from rpn_target.core.draws import as_draws
from rpn_target.core.lattice import AnchorLattice, Level, base_boxes
from rpn_target.core.settings import LOW_QUALITY_MATCHES, TargetSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::rpn_target.RPNTargetWarning"),  # odd input may warn
]

EXAMPLES = int(os.environ.get("RPN_TARGET_FUZZ_EXAMPLES", 5000))
SEED = os.environ.get("RPN_TARGET_FUZZ_SEED")
NAN, INF = float("nan"), float("inf")

counts = collections.Counter()


def fuzz(percent, **strategies):
    """Make a test of a share of the examples, and count them."""

    def decorate(test):
        @functools.wraps(test)
        def counted(*args, **kwargs):
            counts[test.__name__] += 1
            return test(*args, **kwargs)

        examples = max(1, EXAMPLES * percent // 100)
        fuzzed = settings(max_examples=examples, derandomize=SEED is None)(
            given(**strategies)(counted)
        )
        return fuzzed if SEED is None else seed(int(SEED))(fuzzed)

    return decorate


@pytest.fixture(scope="module", autouse=True)
def report(request):
    """Say how many examples there were."""
    yield
    parts = ", ".join(f"{name} {count}" for name, count in counts.items())
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{sum(counts.values())} examples: {parts}")


# --- options ------------------------------------------------------------------------------------

SHARE = st.one_of(st.sampled_from([0, 1e-50, 1e-6, 0.05, 0.3, 0.5, 0.7, 1]), st.floats(0, 1))
PAIR = st.one_of(
    st.sampled_from([(0.7, 0.3), (0.7, 0.3), (0.5, 0.5)]),
    st.tuples(SHARE, SHARE).map(lambda pair: (max(pair), min(pair))),
)
SIZE = st.integers(1, 40)
RANDOM = st.integers(0, 2**20)
RNG = st.sampled_from([None, None, np.random.RandomState, np.random.default_rng, int])


def combinations(**values):
    """Draw one value of each: a single choice, since Hypothesis takes its time for every one."""
    return st.sampled_from(
        [dict(zip(values, each)) for each in itertools.product(*values.values())]
    )


SAMPLING = combinations(
    num_sample=[0, 1, 2, 3, 5, 16, 256, 10**9],
    pos_ratio=[0, 0.2, 0.25, 0.5, 0.5, 1],
    low_quality_matches=LOW_QUALITY_MATCHES,
)
TARGETS = combinations(
    stds=[(1, 1, 1, 1), (1, 1, 1, 1), (0.1, 0.1, 0.2, 0.2)],
    allowed_border=[0, 0, 0, 0.1, 3, 16, 10**9, INF],
    ignore_iof_thresh=[1e-6, 0.3, 0.5, 1],
)


def make_rng(kind, number):
    return None if kind is None else kind(number)


def draws_as_gluoncv(rng):
    return rng is None or isinstance(rng, np.random.RandomState)


class Unchanged:
    """Checks that arrays are as they were, and the random states if they should be."""

    def __init__(self, *arrays, rng=None):
        self._arrays = [array for array in arrays if isinstance(array, np.ndarray)]
        self._before = [array.copy() for array in self._arrays]
        self._states = None if rng is None else helpers.random_states()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for array, before in zip(self._arrays, self._before):
            np.testing.assert_array_equal(array, before)
        if self._states is not None:
            assert helpers.random_states() == self._states


def assert_sampled(positive, negative, codes, num_sample, pos_ratio):
    """Assert that the kept anchors are among those of their code, and as many as they may be."""
    codes = np.asarray(codes)
    assert not (positive & negative).any()
    assert (codes[positive] == POSITIVE).all() and (codes[negative] == NEGATIVE).all()
    wanted = min((codes == POSITIVE).sum(), int(round(num_sample * pos_ratio)))
    assert positive.sum() == wanted
    assert negative.sum() == min((codes == NEGATIVE).sum(), num_sample - wanted)


# --- the sampler --------------------------------------------------------------------------------

TICK = 2.0**-24
SPECIAL_IOUS = [
    0, -1, 0.2, 0.3, 0.3 - TICK, 0.3 + TICK, 0.5, 0.7, 0.7 + 2 * TICK, 1,
    TICK, 2 * TICK, 1e-40, -TICK, -0.5, 0.29999, 2, INF, -INF,
]  # fmt: skip
IOUS = np.array(
    SPECIAL_IOUS + SPECIAL_IOUS[:10] * 6 + np.random.RandomState(0).uniform(0, 1, 177).tolist()
)


@st.composite
def matrices(draw):
    """IoUs (N, M) with ties, near-ties, anchors that are not valid, and nonsense."""
    rows, columns = draw(st.integers(0, 10)), draw(st.integers(0, 4))
    matrix = from_table(IOUS, draw(st.binary(min_size=50, max_size=50)), rows, columns)
    for row in draw(st.binary(max_size=3)):
        matrix[row % 16 : row % 16 + 1] = -1
    return matrix.astype(draw(st.sampled_from([np.float32, np.float32, np.float64])))


def from_table(table, places, rows, columns):
    """Return numbers (rows, columns) of a table, where they are looked up by bytes."""
    return table[np.frombuffer(places, np.uint8)[: rows * columns]].reshape(rows, columns)


@fuzz(25, ious=matrices(), pair=PAIR, options=SAMPLING, kind=RNG, number=RANDOM)
def test_sampler(ious, pair, options, kind, number):
    rng = make_rng(kind, number)
    quota = options["num_sample"], options["pos_ratio"]
    block = RPNTargetSampler(
        quota[0], *pair, quota[1], options["low_quality_matches"], rng=rng
    )  # fmt: skip
    seed_all(number)
    with helpers.strict(), Unchanged(ious, rng=rng):
        samples, matches = block(ious)
    state = helpers.random_states()
    assert samples.dtype == np.float32 and matches.dtype == np.int64
    if ious.size:
        codes, expected_matches = naive_options.label(
            [list(row) for row in ious], *pair, options["low_quality_matches"]
        )
    else:
        codes, expected_matches = [NEGATIVE] * len(ious), [0] * len(ious)
    np.testing.assert_array_equal(matches, expected_matches)
    assert_sampled(samples == 1, samples == -1, codes, *quota)
    assert np.isin(samples, (-1, 0, 1)).all()
    if draws_as_gluoncv(rng):
        seed_all(number)
        np.testing.assert_array_equal(samples, naive_options.draw(codes, *quota))
    if rng is None:
        assert helpers.random_states() == state
    if rng is None and ious.size and options["low_quality_matches"] == "gluoncv":
        seed_all(number)
        helpers.assert_same(
            [samples, matches], list(GluonCVSampler(quota[0], *pair, quota[1])(ious))
        )
        assert helpers.random_states() == state
    if ious.size and ious.dtype == np.float32 and number % 8 == 0:  # as in GluonCV 0.3 and 0.4
        again = RPNTargetSampler(
            quota[0], *pair, quota[1], options["low_quality_matches"],
            rng=make_rng(kind, number),
        )  # fmt: skip
        seed_all(number)
        helpers.assert_same(
            list(again(mx.nd.array(ious))), [mx.nd.array(samples), mx.nd.array(matches)]
        )


# --- the generator ------------------------------------------------------------------------------

NEAR = np.concatenate(
    [
        np.arange(-6, 46),
        np.arange(0, 40),
        np.arange(-1, 30, 0.5),
        np.random.RandomState(0).uniform(-20, 60, 102),
    ]
)
FAR = NEAR.copy()
FAR[[3, 60, 100, 140, 180, 200, 240]] = -1e9, -1e4, 1e4, 1e9, 1e17, -1e17, 1e-30
assert len(IOUS) == len(NEAR) == 256


@st.composite
def corner_boxes(draw, low, high, least=0.0, table=FAR):
    """Boxes (M, 4), float32, whose sides are at least of a length."""
    count = draw(st.integers(low, high))
    corners = from_table(table, draw(st.binary(min_size=4 * high, max_size=4 * high)), count, 4)
    corners = corners.astype(np.float32).reshape(count, 2, 2)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    if least:
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + np.float32(least))
    return boxes


def judge(boxes, forms, array, width, height, ignore, pair, options, kind, number):
    """Assert that the generator does the same on all forms of anchors, and the right thing."""
    options = dict(options, pos_iou_thresh=pair[0], neg_iou_thresh=pair[1])
    with np.errstate(all="ignore"):
        codes, matches = naive_options.assign(array, boxes, width, height, ignore, **options)
    results = []
    for form in forms:
        rng = make_rng(kind, number)
        block = RPNTargetGenerator(**options, rng=rng)
        seed_all(number)
        with helpers.strict(), Unchanged(boxes, array, ignore, rng=rng):
            targets = block.forward(boxes, form, width, height, ignore)
        results.append((tuple(targets), helpers.random_states()))
    for targets, state in results:
        helpers.assert_same(targets, results[0][0])
        assert state == results[0][1]
        assert all(target.dtype == np.float32 for target in targets)
    cls_target, box_target, box_mask = results[0][0]
    positive = cls_target == 1
    assert np.isin(cls_target, (-1, 0, 1)).all()
    assert_sampled(positive, cls_target == 0, codes, options["num_sample"], options["pos_ratio"])
    assert not np.isnan(box_target).any()
    assert (box_mask == positive[:, None]).all() and not box_target[~positive].any()
    kept = np.where(positive, POSITIVE, 0)
    with np.errstate(all="ignore"):
        _, expected, _ = naive_options.fill(array, boxes, kept, matches, options["stds"])
    np.testing.assert_array_equal(box_target, expected)
    if draws_as_gluoncv(rng):
        seed_all(number)
        drawn = naive_options.draw(codes, options["num_sample"], options["pos_ratio"])
        np.testing.assert_array_equal(positive, np.equal(drawn, POSITIVE))
        np.testing.assert_array_equal(cls_target == 0, np.equal(drawn, NEGATIVE))
    promised = (
        rng is None
        and len(boxes)
        and len(array)
        and not len(ignore)
        and options["low_quality_matches"] == "gluoncv"
        and options["allowed_border"] == 0
    )
    if promised:
        theirs = GluonCVGenerator(
            options["num_sample"], *pair, options["pos_ratio"], options["stds"]
        )
        seed_all(number)
        with np.errstate(all="ignore"):
            expected = theirs(mx.nd.array(boxes), mx.nd.array(array), width, height)
        helpers.assert_same(results[0][0], tuple(expected))
        assert helpers.random_states() == results[0][1]


@fuzz(
    25, array=corner_boxes(0, 10, 0.25, NEAR), boxes=corner_boxes(0, 4),
    ignore=st.one_of(corner_boxes(0, 0), corner_boxes(0, 2)), width=SIZE, height=SIZE, pair=PAIR,
    sampling=SAMPLING, targets=TARGETS, kind=RNG, number=RANDOM, more=st.booleans(),
)  # fmt: skip
def test_array(array, boxes, ignore, width, height, pair, sampling, targets, kind, number, more):
    if more and len(array):  # enough for several blocks
        shifts = np.arange(13)[:, None, None] * np.array([3, 1, 3, 1], np.float32)
        array = (array + shifts).reshape(-1, 4)
    judge(
        boxes, [array, AnchorArray(array)], array, width, height, ignore, pair,
        {**sampling, **targets}, kind, number,
    )  # fmt: skip


@st.composite
def levels(draw):
    """One or two levels of anchors, as networks have them or of any boxes."""
    found = []
    for _ in range(draw(st.integers(1, 2))):
        stride = draw(st.sampled_from([8, 16, 5, 13, 7.5]))
        if draw(st.booleans()):
            ratios = draw(st.sampled_from([(1,), (0.5, 2), (0.33, 1, 3)]))
            scales = draw(st.sampled_from([(1,), (0.5, 2), (1.26,)]))
            base = base_boxes(stride, draw(st.sampled_from([8, 16])), ratios, scales)
        else:
            base = draw(corner_boxes(1, 3, 0.5, NEAR)).astype(np.float64)
        shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
        found.append((base, stride, shape))
    return found


@fuzz(
    20, levels=levels(), width=SIZE, height=SIZE, maker=st.sampled_from(sorted(MAKERS)),
    count=st.integers(0, 3), drawn=corner_boxes(0, 3), ignored=st.booleans(), pair=PAIR,
    sampling=SAMPLING, targets=TARGETS, kind=RNG, number=RANDOM,
)  # fmt: skip
def test_lattice(
    levels, width, height, maker, count, drawn, ignored, pair, sampling, targets, kind, number
):
    parts = []
    for base, stride, (rows, columns) in levels:
        x, y = stride * np.arange(columns), stride * np.arange(rows)[:, None]
        shifts = np.stack(np.broadcast_arrays(x, y, x, y), axis=-1)
        parts.append((base + shifts[:, :, None]).reshape(-1, 4).astype(np.float32))
    array = np.concatenate(parts)
    lattice = AnchorLattice(
        [Level(base, stride) for base, stride, _ in levels], [shape for *_, shape in levels]
    )
    np.testing.assert_array_equal(lattice.corners(np.arange(len(lattice))), array)
    made = make_boxes(maker, count, height, width, array, number) if count else drawn[:0]
    boxes, ignore = (made, drawn) if ignored else (np.concatenate([made, drawn]), drawn[:0])
    options = {**sampling, **targets}
    judge(
        boxes, [lattice, array, AnchorArray(array)], array, width, height, ignore, pair,
        options, kind, number,
    )  # fmt: skip


# --- the transforms -----------------------------------------------------------------------------

# Nonsense looks like a mistake, mostly; what is said about it has tests of its own.
NETS = ("c4_net", "fpn_net")
BAD_ROW = st.sampled_from(
    [(9, 1, 2, 5), (1, NAN, 2, 5), (1, 1, INF, 5), (-3e20, -3e20, 3e20, 3e20)]
)


@pytest.fixture(scope="module")
def nets(request):
    """Both small networks, by name."""
    return {name: request.getfixturevalue(name) for name in NETS}


@pytest.fixture(scope="module")
def transforms(nets):
    """Makers of transforms; each is made once."""

    @functools.lru_cache(maxsize=None)
    def make(kind, name, *options):
        net = nets.get(name)
        ashape = {"c4_net": 24, "fpn_net": 96}.get(name, 128)
        return kind(net=net, ashape=ashape, multi_stage=name == "fpn_net", **dict(options))

    return make


@st.composite
def labels(draw, bad=True):
    """Make a label (M, 4+), and tell which of its rows are bad."""
    boxes = draw(corner_boxes(0, 4, table=NEAR)).astype(np.float64)
    columns = draw(st.integers(0, 2))
    extra = from_table(np.arange(256) % 5 // 3, draw(st.binary(min_size=8, max_size=8)), 4, 2)
    label = np.concatenate([boxes, extra[: len(boxes), :columns]], axis=1)
    rows = draw(st.sets(st.integers(0, 3), max_size=2)) if bad and draw(st.booleans()) else ()
    rows = sorted(row for row in rows if row < len(label))
    for row in rows:
        label[row, :4] = draw(BAD_ROW)
    return label.astype(draw(st.sampled_from([np.float64, np.float32]))), rows


SHORT = st.sampled_from([(20, 40), (1, 3), (30, 30), ((10, 24), 30), (33, 64)])
PARITY = st.sampled_from(
    [
        (),
        (("num_sample", 8),),
        (("num_sample", 10**9), ("pos_iou_thresh", 0.5)),
        (("num_sample", 8), ("neg_iou_thresh", 0), ("box_norm", (0.1, 0.1, 0.2, 0.2))),
    ]
)
OPTIONS = st.sampled_from(
    [
        (),
        (("low_quality_matches", "keep"), ("num_sample", 8)),
        (("low_quality_matches", "drop"), ("allowed_border", 30)),
        (("ignore_column", 4), ("ignore_iof_thresh", 0.2)),
        (("on_bad_box", "drop"),),
        (("on_bad_box", "drop"), ("ignore_column", 4)),
    ]
)
SAMPLE = dict(
    name=st.sampled_from((*NETS, None)), width=SIZE, height=SIZE, short=SHORT, given=labels(),
    parity=PARITY, options=OPTIONS, kind=RNG, number=RANDOM,
    dtype=st.sampled_from(["uint8", "uint8", "float32"]),
)  # fmt: skip


def run(make, kinds, segm, name, width, height, short, given, parity, options, kind, number, dtype):
    """Call a transform and judge what comes out."""
    label, bad = given
    pixels = np.random.RandomState(number).randint(0, 256, (height, width, 3))
    image = mx.nd.array(pixels, dtype=dtype)
    extra = () if segm is None else (segm[: len(label)],)
    sizes = (("short", short[0]), ("max_size", short[1]))
    ours = make(kinds[0], name, *sizes, *parity, *options)
    options = dict(options)
    rng = make_rng(kind, number)
    column = options.get("ignore_column", 0)
    short_of_columns = bool(len(label)) and column >= label.shape[1]
    thin = np.round(min(width, height) * (short[1] / max(width, height))) < 1
    seed_all(number)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dropped", UserWarning)
        if short_of_columns or thin or (bad and "on_bad_box" not in options):
            with Unchanged(label, rng=1), pytest.raises(ValueError, match=f"{width} x {height}"):
                ours(image, label, *extra, rng=rng)
            return None
        with helpers.strict(), Unchanged(label, rng=rng):
            result = ours(image, label, *extra, rng=rng)
    state = helpers.random_states()
    np.testing.assert_array_equal(image.asnumpy(), pixels)
    kept = [row for row in range(len(label)) if row not in bad]
    img, bbox, *targets = result
    assert not np.isnan(img.asnumpy()).any() and not np.isnan(bbox[:, :4]).any()
    assert len(bbox) == len(kept)
    np.testing.assert_array_equal(bbox[:, 4:], label[kept, 4:])
    if segm is not None:
        assert targets.pop().shape == (len(kept), *img.shape[1:])
    if targets:
        cls_target, box_target, box_mask = (
            np.concatenate([level.ravel() for level in part]) for part in targets
        )
        most = dict(parity).get("num_sample", 8 if "keep" in options.values() else 256)
        assert (cls_target >= 0).sum() <= most
        assert (cls_target == 1).sum() <= round(most / 2)
        assert not np.isnan(box_target).any()
        np.testing.assert_array_equal(box_mask.reshape(-1, 4).any(axis=1), cls_target == 1)
    if bad:  # as if they had not been there
        again = make_rng(kind, number)
        segm = () if segm is None else ([segm[row] for row in kept],)
        seed_all(number)
        helpers.assert_same(list(ours(image, label[kept], *segm, rng=again)), list(result))
    elif rng is None and len(label) and not set(options) - {"on_bad_box"}:
        theirs = make(kinds[1], name, *sizes, *parity)
        seed_all(number)
        with np.errstate(all="ignore"):
            expected = theirs(image, label, *extra)
        helpers.assert_same(list(result), list(expected))
        assert helpers.random_states() == state
    return result


@fuzz(5, **SAMPLE)
def test_transform(transforms, **sample):
    run(transforms, (FasterRCNNTrainTransform, GluonCVTransform), None, **sample)


POLYGON = st.tuples(st.binary(min_size=12, max_size=12), st.integers(3, 6)).map(
    lambda pair: from_table(NEAR, pair[0], pair[1], 2)
)


@fuzz(
    3, segm=st.lists(st.lists(POLYGON, min_size=1, max_size=2), min_size=4, max_size=4), **SAMPLE
)  # fmt: skip
def test_mask_transform(transforms, segm, **sample):
    run(transforms, (MaskRCNNTrainTransform, GluonCVMaskTransform), segm, **sample)


@pytest.fixture(scope="module")
def batchifies(nets):
    """Our batchify classes and GluonCV's, for both networks and both numbers of shards."""
    return {
        (name, shards): (
            FasterRCNNTrainBatchify(nets[name], shards),
            MaskRCNNTrainBatchify(nets[name], shards),
            GluonCVBatchify(nets[name], shards),
        )
        for name in NETS
        for shards in (1, 2)
    }


@fuzz(
    2, name=st.sampled_from(NETS), shards=st.integers(1, 2),
    samples=st.lists(st.tuples(SIZE, SIZE, st.integers(0, 3), RANDOM), min_size=1, max_size=3),
    segm=st.booleans(), quota=st.sampled_from([0, 8, 256]),
)  # fmt: skip
def test_batchify(transforms, batchifies, name, shards, samples, segm, quota):
    kind = MaskRCNNTrainTransform if segm else FasterRCNNTrainTransform
    transform = transforms(kind, name, ("short", 30), ("max_size", 60), ("num_sample", quota))
    data, known = [], True
    for width, height, count, number in samples:
        if np.round(min(width, height) * (60 / max(width, height))) < 1:
            continue
        image, label = helpers.make_sample(height, width, count, number)
        polygons = [[np.array([[1.0, 1], [width, 1], [width, height]])]] * count
        data.append(transform(image, label, *([polygons] if segm else []), rng=number))
        known &= bool(count)
    ours, masked, theirs = batchifies[name, shards]
    ours = masked if segm else ours
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no anchor was sampled", UserWarning)
        warnings.filterwarnings("ignore", "a batch of .* is split unevenly", UserWarning)
        if len(data) < shards:
            with pytest.raises(ValueError, match="shards need as many samples"):
                ours(data)
            return
        batch = ours(data)
    for part in flatten(batch):
        assert not np.isnan(part).any()
    cls = np.concatenate([shard.asnumpy() for shard in batch[-3]], axis=None)
    assert (cls >= 0).sum() == sum((level >= 0).sum() for sample in data for level in sample[2])
    if known and not segm:
        with np.errstate(all="ignore"):
            helpers.assert_same(list(batch), list(theirs(data)))


def flatten(nested):
    if isinstance(nested, (list, tuple)):
        return [array for part in nested for array in flatten(part)]
    return [nested.asnumpy()]


# --- nonsense -----------------------------------------------------------------------------------

THING = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.integers(), st.floats(), st.text(max_size=3),
    st.sampled_from(
        [(), [], {}, (1, 2), (2, 1), (1, 1, 1, 1), "keep", "drop", "raise", 0.5, 5, len, b"x", 1j]
    ),
    st.sampled_from([np.float32(0.5), np.int64(7), np.zeros(4), np.ones(4), np.array(3), np.nan]),
)  # fmt: skip
ARRAY = st.one_of(
    THING,
    st.tuples(
        st.lists(st.integers(0, 5), max_size=3),
        st.sampled_from(
            [float, np.float32, np.float16, int, np.uint8, bool, complex, object, "U2"]
        ),
    ).map(lambda pair: np.ones(*pair)),
    corner_boxes(0, 3),
    st.lists(
        st.lists(st.one_of(st.floats(), st.integers(-6, 46)), min_size=4, max_size=4), max_size=3
    ),
    st.lists(st.lists(st.integers(-6, 46), max_size=5), max_size=3),
)
REFUSALS = (TypeError, ValueError)
SETTING = st.sampled_from(
    ["num_sample", "pos_iou_thresh", "neg_iou_thresh", "pos_ratio", "stds", "allowed_border",
     "low_quality_matches", "ignore_iof_thresh"]
)  # fmt: skip


def refused(function, *args, errors=REFUSALS, **kwargs):
    """Call a function; return whether it raised one of the documented errors, with a message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(*args, **kwargs)
        except errors as error:
            assert str(error)
            return True
    return False


@fuzz(5, options=st.dictionaries(SETTING, THING, max_size=3))
def test_settings(options):
    """Refused everywhere or nowhere, and what is not refused is usable."""
    no = refused(TargetSettings, **options)
    for kind in (RPNTargetGenerator, FasterRCNNTrainTransform, MaskRCNNTrainTransform):
        renamed = dict(options)
        if kind is not RPNTargetGenerator and "stds" in renamed:
            renamed["box_norm"] = renamed.pop("stds")
        assert refused(kind, **renamed) == no
    if no:
        return
    anchors = np.array([[0, 0, 8, 8], [4, 4, 12, 12], [2, 2, 30, 30]], np.float32)
    targets = RPNTargetGenerator(**options)([[1, 1, 9, 9]], anchors, 20, 20)
    assert not any(np.isnan(target).any() for target in targets)


@fuzz(
    5, boxes=ARRAY, anchors=ARRAY, ignore=ARRAY, width=st.one_of(SIZE, THING),
    height=st.one_of(SIZE, THING),
)  # fmt: skip
def test_nonsense_for_the_generator(boxes, anchors, ignore, width, height):
    block = RPNTargetGenerator(4, rng=1)
    with Unchanged(boxes, anchors, ignore):
        refused(block, boxes, anchors, width, height, ignore)
        refused(RPNTargetSampler(4, 0.7, 0.3, 0.5), boxes)


@fuzz(
    5, image=st.one_of(THING, st.lists(st.integers(1, 5), min_size=1, max_size=4)), label=ARRAY,
    segm=st.one_of(THING, st.lists(st.lists(st.one_of(POLYGON, ARRAY), max_size=2), max_size=3)),
    dtype=st.sampled_from(["uint8", "float32", "float64", "int8", "int32", "int64", "float16"]),
    options=st.fixed_dictionaries(
        {},
        optional=dict(
            short=THING, max_size=THING, mean=THING, std=THING, rng=THING, ignore_column=THING,
            on_bad_box=THING, multi_stage=THING,
        ),
    ),
    junk=st.booleans(),
)  # fmt: skip
def test_nonsense_for_the_transforms(image, label, segm, dtype, options, junk):
    if isinstance(image, list) and image:  # otherwise it is no shape
        image = mx.nd.ones((*image[:-1], 3) if len(image) == 3 else image, dtype=dtype)
    for kind, extra in ((FasterRCNNTrainTransform, ()), (MaskRCNNTrainTransform, (segm,))):
        with Unchanged(label):
            if junk:
                options = {**options, "short": as_short(options.get("short", 20))}
                options["max_size"] = as_short(options.get("max_size", 40))
                if refused(kind, **options):
                    continue
                transform = kind(**options)
            else:
                transform = kind(20, 40)
            refused(transform, image, label, *extra)


def as_short(value):
    """Return a side that does not take all memory to resize to."""
    return value if not isinstance(value, (int, float)) or not value > 50 else 50


@fuzz(
    3, seed=st.one_of(st.integers(0, 2**64 - 1), THING), epoch=st.one_of(st.integers(0, 9), THING),
    size=st.integers(0, 6),
    options=st.fixed_dictionaries(
        dict(batch_size=st.one_of(st.integers(1, 4), THING)),
        optional=dict(
            shuffle=st.booleans(), sampler=THING, last_batch=THING, batch_sampler=THING,
            rank=THING, num_ranks=THING,
        ),
    ),
)  # fmt: skip
def test_nonsense_for_the_loader(quick_loaders, seed, epoch, size, options):
    def call():
        loader = seeded_loader(list(range(size)), draw, seed, epoch, batchify_fn=list, **options)
        loader = iter(loader)
        for _ in range(3):
            next(loader, None)

    # A sampler may give indices that are none: then the data set raises, and the sample is named.
    refused(call, errors=(*REFUSALS, RuntimeError))


@pytest.fixture(scope="module")
def quick_loaders():
    """Skip the garbage collection of MXNet's loader, which takes most of the time here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *generation: 0)
        yield


def draw(index, rng):
    return index, int(rng.integers(2**62))


@fuzz(
    2, size=st.integers(0, 30), batch_size=st.integers(1, 7), num_ranks=st.integers(1, 5),
    shuffle=st.booleans(), last_batch=st.sampled_from(["keep", "discard"]),
    start=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1)),
)  # fmt: skip
def test_ranks(quick_loaders, size, batch_size, num_ranks, shuffle, last_batch, start):
    def load(rank, num_ranks, **options):
        loader = seeded_loader(
            list(range(size)), draw, *start, batch_size=batch_size, shuffle=shuffle,
            batchify_fn=list, rank=rank, num_ranks=num_ranks, **options,
        )  # fmt: skip
        batches = list(loader)
        assert len(batches) == len(loader)
        return batches

    single = sum(load(0, 1), [])
    assert sorted(index for index, _ in single) == list(range(size))
    assert len({value for _, value in single}) == size
    parts = [load(rank, num_ranks, last_batch=last_batch) for rank in range(num_ranks)]
    samples = [sample for batches in parts for batch in batches for sample in batch]
    assert len(set(samples)) == len(samples) and set(samples) <= set(single)
    if last_batch == "keep":
        assert len(samples) == size
    else:
        assert {len(batches) for batches in parts} == {size // (batch_size * num_ranks)}
        assert all(len(batch) == batch_size for batches in parts for batch in batches)


@fuzz(2, thing=THING, count=st.integers(0, 30), quota=st.integers(0, 30))
def test_nonsense_for_draws(thing, count, quota):
    if refused(as_draws, thing):
        return
    kept = as_draws(thing).kept(count, quota)
    assert len(set(kept.tolist())) == len(kept) == min(count, quota)
    assert ((kept >= 0) & (kept < count)).all()
