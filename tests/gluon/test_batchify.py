"""`FasterRCNNTrainBatchify` and `MaskRCNNTrainBatchify` against GluonCV's."""

from __future__ import annotations

import gc
import pickle
import warnings

import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data import batchify as gluoncv_batchify
from gluoncv.data.transforms.presets import rcnn
from helpers import make_sample
from mxnet.gluon.data import DataLoader, SimpleDataset

import rpn_target
from rpn_target.gluon.recycled_memory import Batch

SHARED = mx.Context("cpu_shared", 0)
SIZES = ((90, 120), (131, 97), (64, 200), (100, 150), (150, 100), (77, 77), (100, 100))
KINDS = {
    "Faster": (rpn_target.FasterRCNNTrainBatchify, gluoncv_batchify.FasterRCNNTrainBatchify),
    "Mask": (rpn_target.MaskRCNNTrainBatchify, gluoncv_batchify.MaskRCNNTrainBatchify),
}
TRANSFORMS = {
    "ours": rpn_target.FasterRCNNTrainTransform,
    "GluonCV's": rcnn.FasterRCNNDefaultTrainTransform,
}
NETS = pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
SHARDS = pytest.mark.parametrize("num_shards", [1, 2, 3])


@pytest.fixture(scope="module")
def networks(c4_net, fpn_net):
    return {"c4_net": c4_net, "fpn_net": fpn_net}


@pytest.fixture(scope="module")
def pairs(networks):
    """Return a function that makes our batchify and GluonCV's."""
    made = {}

    def make(kind, name, num_shards=1):
        key = kind, name, num_shards
        if key not in made:
            made[key] = [batchify(networks[name], num_shards) for batchify in KINDS[kind]]
        return made[key]

    return make


@pytest.fixture(scope="module")
def samples(networks):
    """Return a function that makes samples of a transform, each once; the arrays are shared."""
    made = {}

    def make(kind, name, count, whose="ours", sizes=SIZES):
        for index in range(count):
            key = name, whose, sizes, index
            if key not in made:
                net = networks[name]
                transform = TRANSFORMS[whose](
                    100, 200, net, ashape=net.ashape, multi_stage=name == "fpn_net", num_sample=64
                )
                helpers.seed_all(index)
                size = sizes[index % len(sizes)]
                made[key] = transform(*make_sample(*size, count=1 + index % 4, seed=index))
        parts = [made[name, whose, sizes, index] for index in range(count)]
        if kind == "Faster":
            return parts
        return [(*part, make_masks(part, index)) for index, part in enumerate(parts)]

    return make


def make_masks(sample, seed):
    """Return masks (M, h, w) for the labels of a sample."""
    rng = np.random.RandomState(seed)
    masks = rng.randint(0, 2, (len(sample[1]), *sample[0].shape[1:]))
    return mx.nd.array(masks, dtype=np.float32)


def arrays_in(batch):
    """Return all arrays of a batch."""
    if isinstance(batch, (list, tuple)):
        return [array for part in batch for array in arrays_in(part)]
    return [batch]


def judge(pair, data):
    """Batch by both; assert that all is equal, with types, contexts and random state; return it."""
    ours, theirs = pair
    state = helpers.random_states()
    with helpers.strict():
        actual = ours(data)
    assert helpers.random_states() == state
    expected = theirs(data)
    assert type(actual) is Batch and isinstance(actual, tuple)
    assert [type(part) for part in actual] == [type(part) for part in expected]
    helpers.assert_same(actual, expected)
    for one, other in zip(arrays_in(actual), arrays_in(expected)):
        assert one.dtype == other.dtype
        assert one.context == mx.cpu(0)
        assert other.context == SHARED
    return actual


pytestmark = pytest.mark.filterwarnings("ignore:a batch of .* is split unevenly")


@pytest.mark.filterwarnings("ignore:no image of a batch:rpn_target.RPNTargetWarning")
class TestEmpty:
    """Labels without a row: GluonCV cannot batch them where none has one."""

    def without_boxes(self, networks, kind, name, rows):
        """Return samples of our transform, with so many boxes each."""
        net = networks[name]
        transform = rpn_target.FasterRCNNTrainTransform(
            100, 200, net, multi_stage=name == "fpn_net", num_sample=64
        )
        made = []
        for index, count in enumerate(rows):
            image, label = make_sample(*SIZES[index], count=count, seed=index)
            made.append(transform(image, label))
            if kind == "Mask":
                masks = np.ones((count, *made[-1][0].shape[1:]), np.float32)
                made[-1] += (mx.nd.array(masks) if count else masks,)
        return made

    @NETS
    @EACH_KIND
    @SHARDS
    def test_no_boxes_at_all(self, networks, pairs, kind, name, num_shards):
        data = self.without_boxes(networks, kind, name, [0] * 3)
        ours, _ = pairs(kind, name, num_shards)
        batch = ours(data)
        for label in arrays_in(batch[1]):
            assert label.shape[1:] == (1, 6)
            assert (label.asnumpy() == -1).all()
        assert sum(map(len, arrays_in(batch[1]))) == 3
        if kind == "Mask":
            for masks in arrays_in(batch[2]):
                assert masks.shape[1] == 1
                assert not masks.asnumpy().any()
        assert not any(array.asnumpy().any() for array in arrays_in(batch[-2:]))
        drawn = sum((array.asnumpy() == 0).sum() for array in batch[-3])
        assert drawn == 3 * 64

    @NETS
    @EACH_KIND
    def test_some_without_boxes(self, networks, pairs, kind, name):
        """A row without boxes is all padding; the others are as without it."""
        rows = [0, 2, 0, 3]
        data = self.without_boxes(networks, kind, name, rows)
        ours, _ = pairs(kind, name)
        _, labels, *rest = ours(data)
        assert labels.shape == (4, 3, 6)
        for label, sample, count in zip(labels.asnumpy(), data, rows):
            np.testing.assert_array_equal(label[:count], sample[1])
            assert (label[count:] == -1).all()
        if kind == "Mask":
            for mask, sample, count in zip(rest[0].asnumpy(), data, rows):
                height, width = sample[0].shape[1:]
                assert mask[:count, :height, :width].all()
                assert mask.sum() == count * height * width

    def test_label_of_no_columns(self, networks, pairs):
        """An empty list as label is 4 columns; beside labels of more it makes no difference."""
        net = networks["c4_net"]
        transform = rpn_target.FasterRCNNTrainTransform(100, 200, net, num_sample=64)
        data = [transform(make_sample(90, 120)[0], []), transform(*make_sample(90, 120))]
        ours, _ = pairs("Faster", "c4_net")
        assert ours(data)[1].shape == (2, 5, 6)
        assert ours(data[:1])[1].shape == (1, 1, 5)

    @pytest.mark.parametrize("empty", [(0,), (2,), (0, 1, 2)])
    @pytest.mark.parametrize("num_shards", [1, 3])
    def test_warning_where_the_mask_loss_divides_by_zero(self, networks, pairs, num_shards, empty):
        data = self.without_boxes(
            networks, "Mask", "c4_net", [0 if k in empty else 2 for k in range(3)]
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pairs("Mask", "c4_net", num_shards)[0](data)
        told = [entry.category for entry in caught if "has an object" in str(entry.message)]
        wanted = len(empty) if num_shards == 3 else len(empty) == 3
        assert told == [rpn_target.RPNTargetWarning] * wanted

    @NETS
    @EACH_KIND
    @pytest.mark.parametrize("columns", [5, 6, 7])
    @pytest.mark.parametrize("nothing", ["(0,)", "(0, 4)", "(0, 5)"])
    @pytest.mark.parametrize("empty", [(0,), (1,), (0, 1), (0, 1, 2)])
    def test_columns_of_shards_without_boxes(self, networks, pairs, kind, name, columns, nothing,
                                             empty):  # fmt: skip
        """As many as in the other shards, and at least 5: scripts read box and class."""
        label = np.zeros(eval(nothing))
        data = self.without_boxes(networks, kind, name, [0 if k in empty else 2 for k in range(3)])
        for index, sample in enumerate(data):
            label_of = label if index in empty else sample[1][:, [0, 1, 2, 3] + [4] * (columns - 4)]
            data[index] = (sample[0], label_of, *sample[2:])
        for num_shards in (1, 3):
            labels = arrays_in(pairs(kind, name, num_shards)[0](data)[1])
            expected = columns if len(empty) < 3 else 5
            assert [part.shape[2] for part in labels] == [expected] * num_shards
            for part, sample in zip(labels, data) if num_shards == 3 else ():
                part = part.asnumpy()[0]
                if len(sample[1]):
                    np.testing.assert_array_equal(part, sample[1])
                else:
                    assert part.shape[0] == 1 and (part == -1).all()


class TestGluonCV:
    @NETS
    @EACH_KIND
    @SHARDS
    @pytest.mark.parametrize("per_shard", [1, 2])
    def test_shards(self, samples, pairs, kind, name, num_shards, per_shard):
        """Images of mixed sizes, labels of different length."""
        data = samples(kind, name, num_shards * per_shard)
        batch = judge(pairs(kind, name, num_shards), data)
        assert len(batch) == (5 if kind == "Faster" else 6)
        assert [len(part) for part in batch[-3:]] == [num_shards] * 3
        if num_shards > 1:
            assert [len(image) for image in batch[0]] == [per_shard] * num_shards

    @NETS
    @EACH_KIND
    @pytest.mark.parametrize("sizes", [((100, 150),), ((90, 120), (120, 90)), SIZES])
    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_sizes(self, samples, pairs, kind, name, sizes, count):
        """Equal, portrait with landscape, all sorts."""
        judge(pairs(kind, name), samples(kind, name, count, sizes=sizes))

    @NETS
    @SHARDS
    def test_samples_of_gluoncv(self, samples, pairs, name, num_shards):
        """GluonCV's samples through our batchify; its masks are float64."""
        data = samples("Faster", name, 2 * num_shards, "GluonCV's")
        assert data[0][4][0].dtype == np.float64
        batch = judge(pairs("Faster", name, num_shards), data)
        ours = samples("Faster", name, 2 * num_shards)
        helpers.assert_same(pairs("Faster", name, num_shards)[0](ours), batch)

    def test_odd_number_of_samples(self, samples, pairs):
        """GluonCV warns, too, and batches 5 as 3 and 2."""
        data = samples("Mask", "fpn_net", 5)
        split = "a batch of 5 samples is split unevenly over 2 shards"
        with pytest.warns(rpn_target.RPNTargetWarning, match=split):
            pairs("Mask", "fpn_net", 2)[0](data)
        images = judge(pairs("Mask", "fpn_net", 2), data)[0]
        assert [len(image) for image in images] == [3, 2]

    @pytest.mark.parametrize("count, lengths", [(4, [2, 1, 1]), (7, [3, 2, 2])])
    def test_where_gluoncv_cannot_split(self, samples, pairs, count, lengths):
        """Each shard is what GluonCV makes of its samples alone."""
        data = samples("Mask", "c4_net", count)
        ours, theirs = pairs("Mask", "c4_net", 3)
        with pytest.raises(Exception):  # noqa: B017  of several kinds
            theirs(data)
        batch = ours(data)
        assert [len(image) for image in batch[0]] == lengths
        begin = 0
        for shard, length in enumerate(lengths):
            alone = pairs("Mask", "c4_net")[1](data[begin : begin + length])
            begin += length
            expected = [part[0] if isinstance(part, tuple) else part for part in alone]
            helpers.assert_same([part[shard] for part in batch], expected)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
    @pytest.mark.parametrize("label_type", ["numpy", "NDArray", "list"])
    def test_labels(self, samples, pairs, dtype, label_type):
        """Of any signed type: the batch takes that of the first."""
        make = {
            "numpy": lambda label: label.astype(dtype),
            "NDArray": lambda label: mx.nd.array(label, dtype=dtype),
            "list": lambda label: label.astype(dtype).tolist(),
        }[label_type]
        data = [(part[0], make(part[1]), *part[2:]) for part in samples("Faster", "c4_net", 3)]
        batch = judge(pairs("Faster", "c4_net"), data)
        assert batch[1].dtype == (np.asarray(data[0][1]).dtype if label_type == "list" else dtype)

    @pytest.mark.parametrize("image_type", ["numpy", "NDArray", "shared NDArray"])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8])
    def test_images(self, samples, pairs, image_type, dtype):
        make = {
            "numpy": lambda image: image.asnumpy().astype(dtype),
            "NDArray": lambda image: image.astype(dtype),
            "shared NDArray": lambda image: image.astype(dtype).copyto(SHARED),
        }[image_type]
        data = [(make(part[0].abs()), *part[1:]) for part in samples("Faster", "c4_net", 3)]
        assert judge(pairs("Faster", "c4_net"), data)[0].dtype == dtype

    @NETS
    def test_targets_of_any_type(self, samples, pairs, name):
        """Lists or tuples of levels, numpy arrays, NDArrays, not contiguous ones."""
        data = samples("Faster", name, 2)
        for make in (
            mx.nd.array,
            np.asfortranarray,
            lambda level: level.astype(np.float64),
            lambda level: level.astype(np.float16),
            lambda level: np.repeat(level, 2, axis=0)[::2],
        ):
            changed = [
                (*part[:2], *[tuple(make(level) for level in levels) for levels in part[2:]])
                for part in data
            ]
            judge(pairs("Faster", name), changed)

    @EACH_KIND
    def test_values_that_look_like_padding(self, samples, pairs, kind):
        """Zeros of either sign, infinities: what is not written must be zero, what is zero may."""
        image, label, cls, box, mask, *rest = samples(kind, "c4_net", 1)[0]
        values = np.array([0.0, -0.0, np.inf, -np.inf, 1e-45, -1, 1], np.float32)
        rng = np.random.RandomState(0)
        cls, box, mask = ([rng.choice(values, level.shape) for level in part]
                          for part in (cls, box, mask))  # fmt: skip
        batch = judge(pairs(kind, "c4_net"), [(image, label, cls, box, mask, *rest)])
        expected = box[0].reshape(-1, 4)
        kept = batch[-2][0].asnumpy()[0]
        np.testing.assert_array_equal(kept, expected)
        np.testing.assert_array_equal(np.signbit(kept), np.signbit(expected))

    @NETS
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
    @pytest.mark.parametrize("values", [(-0.0,), (np.nan, -np.nan), (1, -0.0, np.inf, np.nan)])
    @pytest.mark.parametrize("times", [1, 2])
    def test_entries_of_anchors_that_are_not_sampled(self, samples, pairs, name, dtype, values,
                                                     times):  # fmt: skip
        """A transform makes none, but somebody may: no bit of them is lost, sampled or not."""
        rng = np.random.RandomState(len(values))
        data = []
        for image, label, cls, *pair in samples("Faster", name, 3):
            pair = [[level.astype(dtype) for level in levels] for levels in pair]
            for level in pair[0][:1] + pair[1][-1:]:
                places = rng.randint(0, level.size, 40)
                level.reshape(-1)[places] = rng.choice(np.array(values, dtype), 40)
            data.append((image, label, cls, *pair))
        ours, theirs = pairs("Faster", name)
        expected = theirs(data)
        for _ in range(times):  # in used memory, too
            actual = ours(data)
            for one, other in zip(arrays_in(actual[3:]), arrays_in(expected[3:])):
                bits = one.asnumpy().view(np.uint32), other.asnumpy().view(np.uint32)
                np.testing.assert_array_equal(*bits)

    def test_published_networks(self, c4_resnet50, fpn_resnet50):
        """At full size, two images."""
        for net, multi_stage in ((c4_resnet50, False), (fpn_resnet50, True)):
            transform = rpn_target.FasterRCNNTrainTransform(
                net.short, net.max_size, net, ashape=net.ashape, multi_stage=multi_stage
            )
            data = [transform(*make_sample(*size)) for size in ((375, 500), (500, 353))]
            judge([kind(net) for kind in KINDS["Faster"]], data)


class TestMemory:
    @pytest.mark.slow
    def test_padding_is_zero_in_used_memory(self, samples, pairs):
        """What is padding was data in batches whose memory has been freed."""
        small, large = samples("Mask", "fpn_net", 3)[:2], samples("Mask", "fpn_net", 7)[2:4]
        ours, theirs = pairs("Mask", "fpn_net")
        expected = theirs(small)
        for _ in range(20):
            full = ours(large)
            for array in arrays_in(full):
                array[:] = 7
            mx.nd.waitall()
            del full, array
            gc.collect()
            helpers.assert_same(ours(small), expected)

    def test_batches_do_not_share_memory(self, samples, pairs):
        data = samples("Mask", "c4_net", 2)
        ours, _ = pairs("Mask", "c4_net")
        first = ours(data)
        kept = [array.asnumpy() for array in arrays_in(first)]
        second = ours(data)
        for array in arrays_in(second):
            array[:] = 9
        mx.nd.waitall()
        helpers.assert_same([array.asnumpy() for array in arrays_in(first)], kept)

    def test_samples_stay(self, samples, pairs):
        data = samples("Mask", "fpn_net", 2)
        before = [helpers.to_numpy(array).copy() for array in arrays_in(data)]
        for array in arrays_in(data):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
        batch = pairs("Mask", "fpn_net", 2)[0](data)
        for array in arrays_in(batch):
            array[:] = 5
        mx.nd.waitall()
        helpers.assert_same([helpers.to_numpy(array) for array in arrays_in(data)], before)


class TestAsAnObject:
    @NETS
    @EACH_KIND
    def test_pickle(self, samples, pairs, kind, name):
        """It travels with every batch of a DataLoader."""
        ours, _ = pairs(kind, name, 2)
        pickled = pickle.dumps(ours)
        assert len(pickled) < 10_000
        copied = pickle.loads(pickled)
        assert type(copied) is type(ours)
        data = samples(kind, name, 4)
        helpers.assert_same(copied(data), ours(data))

    @NETS
    @EACH_KIND
    def test_neither_network_nor_symbols_are_kept(self, pairs, kind, name):
        held = vars(pairs(kind, name)[0]).values()
        assert not any(isinstance(value, (mx.gluon.Block, mx.sym.Symbol)) for value in held)

    @NETS
    @EACH_KIND
    @pytest.mark.parametrize("num_shards", [1, 2])
    def test_attributes_of_gluoncv(self, samples, pairs, kind, name, num_shards):
        """GluonCV's own method, bound to ours, finds all it reads; none of it is pickled."""
        ours, theirs = pairs(kind, name, num_shards)
        ours = pickle.loads(pickle.dumps(ours))
        before = pickle.dumps(ours)
        data = samples(kind, name, 2)
        batch = type(theirs).__call__(ours, data)
        helpers.assert_same(batch, theirs(data))
        assert ours.NUM_ELEMENTS == theirs.NUM_ELEMENTS
        assert set(vars(theirs)) <= set(dir(ours))
        assert len(pickle.dumps(ours)) < len(before) + 200
        helpers.assert_same(pickle.loads(pickle.dumps(ours))(data), batch)

    def test_refusals_name_what_came(self, samples, pairs, networks):
        ours, _ = pairs("Faster", "c4_net", 3)
        with pytest.raises(ValueError, match="3 shards need as many samples, but got 2"):
            ours(samples("Faster", "c4_net", 2))
        with pytest.raises(ValueError, match="sample 0 of the batch has 6 parts"):
            ours(samples("Mask", "c4_net", 3))
        with pytest.raises(ValueError, match="num_shards must be at least 1, but got 0"):
            rpn_target.MaskRCNNTrainBatchify(networks["c4_net"], 0)

    def test_no_sampled_anchor(self, samples, pairs):
        """GluonCV's loss divides by zero; the batch itself is the same."""
        image, label, cls, box, mask = samples("Faster", "c4_net", 1)[0]
        data = [(image, label, [level * 0 - 1 for level in cls], box, mask)]
        with pytest.warns(UserWarning, match="no anchor was sampled in a batch of 1 images"):
            actual = pairs("Faster", "c4_net")[0](data)
        helpers.assert_same(actual, pairs("Faster", "c4_net")[1](data))


class TestLoader:
    """In a DataLoader, where samples are made by whoever makes the batch."""

    class Samples:
        """A dataset of ready samples; a class, so that it pickles."""

        def __init__(self, data):
            self._data = data

        def __len__(self):
            return len(self._data)

        def __getitem__(self, index):
            return self._data[index]

    @NETS
    @EACH_KIND
    @pytest.mark.parametrize("num_shards", [1, 2])
    @pytest.mark.parametrize(
        "workers",
        [dict(num_workers=0), dict(num_workers=2), dict(num_workers=2, thread_pool=True)],
        ids=["in process", "processes", "threads"],
    )
    def test_loader(self, samples, pairs, kind, name, num_shards, workers):
        data = samples(kind, name, 6)
        ours, theirs = pairs(kind, name, num_shards)
        loader = DataLoader(self.Samples(data), 2, last_batch="keep", batchify_fn=ours, **workers)
        for _ in range(2):  # epochs
            batches = list(loader)
            helpers.assert_same(batches, [theirs(data[begin : begin + 2]) for begin in (0, 2, 4)])

    @pytest.mark.parametrize("thread_pool", [False, True])
    def test_many_batches(self, samples, pairs, thread_pool):
        """More than are in flight, sizes in turns, dropped as they come: memory is used again."""
        data = samples("Faster", "fpn_net", 7)
        ours, theirs = pairs("Faster", "fpn_net")
        expected = [theirs([sample]) for sample in data]
        loader = DataLoader(
            SimpleDataset(data * 6), 1, batchify_fn=ours, num_workers=2, thread_pool=thread_pool
        )
        for number, batch in enumerate(loader):
            helpers.assert_same(batch, expected[number % len(data)])
            for array in arrays_in(batch):
                array[:] = 7
        assert number == 6 * len(data) - 1
