"""`FasterRCNNTrainTransform` against GluonCV's: bare, pickled, and on what it refuses to change."""

import pickle
from types import SimpleNamespace

import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data.transforms.presets.rcnn import (
    FasterRCNNDefaultTrainTransform as GluonCVTransform,
)
from gluoncv.model_zoo.rcnn.rpn.anchor import RPNAnchorGenerator
from helpers import make_sample
from hypothesis import given, settings
from hypothesis import strategies as st

from rpn_target import FasterRCNNTrainTransform, RPNTargetGenerator
from rpn_target.core.lattice import AnchorLattice

SMALL = dict(short=100, max_size=200)
NETS = pytest.mark.parametrize("name", ["c4_net", "fpn_net"])


@pytest.fixture(scope="module")
def networks(c4_net, fpn_net):
    return {"c4_net": c4_net, "fpn_net": fpn_net}


@pytest.fixture(scope="module")
def transforms(networks):
    """Return a function that makes both transforms, GluonCV's only once per set of options."""
    made = {}

    def make(name, **options):
        key = name, repr(sorted(options.items()))
        if key not in made:
            net = networks.get(name)
            stage = {} if net is None else dict(ashape=net.ashape, multi_stage=name == "fpn_net")
            options = {**SMALL, **options}
            made[key] = [
                kind(options["short"], options["max_size"], net, **stage,
                     **{name: options[name] for name in options if name not in SMALL})
                for kind in (FasterRCNNTrainTransform, GluonCVTransform)
            ]  # fmt: skip
        return made[key]

    return make


def judge(pair, sample, seed=0):
    ours, theirs = pair
    return helpers.run_both(lambda: ours(*sample), lambda: theirs(*sample), seed)


class TestEmpty:
    @NETS
    @pytest.mark.parametrize(
        "label, shape",
        [(np.zeros((0, 4)), (0, 4)), (np.zeros((0, 6), np.float32), (0, 6)), ([], (0, 4)),
         (np.zeros(0), (0, 4))],
    )  # fmt: skip
    def test_no_boxes(self, transforms, name, label, shape):
        """GluonCV crashes. All that is drawn is background, the image is as ever."""
        ours, theirs = transforms(name, flip_p=1, num_sample=64)
        image, other = make_sample(123, 150)
        with helpers.strict():
            img, bbox, cls, box, mask = ours(image, label)
        np.testing.assert_array_equal(img.asnumpy(), theirs(image, other)[0].asnumpy())
        assert bbox.shape == shape
        assert bbox.dtype == np.float32
        assert sum((level == 0).sum() for level in cls) == 64
        assert sum((level == 1).sum() for level in cls) == 0
        assert not any(level.any() for level in box + mask)
        _, _, *expected = theirs(image, other)
        for actual, levels in zip((cls, box, mask), expected):
            assert [part.shape for part in actual] == [part.shape for part in levels]

    def test_no_boxes_without_network(self, transforms):
        """Here GluonCV does not crash."""
        image, _ = make_sample(50, 60)
        for label in (np.zeros((0, 4)), np.zeros((0, 6))):
            judge(transforms(None), (image, label))


class TestGluonCV:
    @NETS
    @pytest.mark.parametrize("flip_p", [0, 0.5, 1])
    @pytest.mark.parametrize("height, width", [(90, 120), (131, 97), (16, 16), (300, 160)])
    def test_sizes_and_flips(self, transforms, name, flip_p, height, width):
        """Resized up and down; draws differ from seed to seed."""
        pair = transforms(name, flip_p=flip_p)
        for seed in range(4):
            results = judge(pair, make_sample(height, width, seed=seed), seed)
            assert results[0].context == mx.cpu()
            assert results[0].dtype == results[1].dtype == np.float32
            assert all(level.dtype == np.float32 for part in results[2:] for level in part)

    @NETS
    @pytest.mark.parametrize("short", [(64, 110), [70, 71], (100, 100)])
    def test_random_short(self, transforms, name, short):
        pair = transforms(name, short=short)
        drawn = {judge(pair, make_sample(80, 101), seed)[0].shape[1] for seed in range(8)}
        assert drawn <= set(range(short[0], short[1] + 1))
        assert len(drawn) >= min(3, 1 + short[1] - short[0])

    @NETS
    def test_max_size_binds(self, transforms, name):
        for size in ((40, 200), (200, 40), (40, 81)):
            img = judge(transforms(name), make_sample(*size))[0]
            assert max(img.shape[1:]) <= 200

    @NETS
    def test_no_max_size(self, transforms, name):
        img = judge(transforms(name, max_size=float("inf")), make_sample(40, 120))[0]
        assert img.shape[1:] == (100, 300)

    @pytest.mark.parametrize("flip_p", [True, False, np.bool_(True), np.float32(0.5)])
    def test_kinds_of_flip_probability(self, flip_p):
        pair = [kind(100, flip_p=flip_p) for kind in (FasterRCNNTrainTransform, GluonCVTransform)]
        for seed in range(4):
            judge(pair, make_sample(90, 77), seed)

    @NETS
    @pytest.mark.parametrize(
        "options",
        [
            dict(num_sample=16),
            dict(num_sample=0),
            dict(num_sample=10**9, pos_iou_thresh=0.5, neg_iou_thresh=0.5),
            dict(pos_iou_thresh=0.4, neg_iou_thresh=0.1, pos_ratio=0.25),
            dict(box_norm=(0.1, 0.1, 0.2, 0.2)),
            dict(box_norm=np.array([0.1, 0.3, 0.7, 1 / 3])),
            dict(allowed_border=0),
        ],
        ids=str,
    )
    def test_options(self, transforms, name, options):
        pair = transforms(name, **options)
        for seed in range(3):
            judge(pair, make_sample(110, 190, count=20, seed=seed), seed)

    @pytest.mark.parametrize(
        "mean, std",
        [((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0, 0, 0), (1, 1, 1)),
         ((0.1, 0.2, 0.3), (3, 1 / 3, 0.07)), ([0.5, 0.5, 0.5], [0.25, 0.25, 0.25]),
         ((1 / 3,), (0.1,)), (-1.5, 0.3)],
    )  # fmt: skip
    @pytest.mark.parametrize("flip_p", [0, 1])
    def test_mean_and_std(self, transforms, mean, std, flip_p):
        judge(transforms(None, mean=mean, std=std, flip_p=flip_p), make_sample(120, 77))

    @pytest.mark.parametrize("value", [0, 1, 127, 128, 254, 255])
    def test_every_pixel_value(self, transforms, value):
        image = mx.nd.full((40, 50, 3), value, dtype="uint8")
        judge(transforms(None), (image, np.zeros((1, 4))))

    @pytest.mark.parametrize("name", [None, "c4_net", "fpn_net"])
    def test_float_image(self, transforms, name):
        judge(transforms(name), make_sample(70, 99, dtype="float32"))

    @pytest.mark.parametrize("name", [None, "c4_net", "fpn_net"])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
    @pytest.mark.parametrize("columns", [4, 5, 7])
    def test_labels(self, transforms, name, dtype, columns):
        image, label = make_sample(88, 92, columns=columns)
        judge(transforms(name), (image, label.astype(dtype)))

    def test_image_that_fits_already(self, transforms):
        judge(transforms("fpn_net", flip_p=0), make_sample(100, 160))
        judge(transforms("fpn_net", flip_p=1), make_sample(100, 160))

    @pytest.mark.filterwarnings("ignore:a box lies far outside its image")
    @NETS
    def test_boxes_on_and_off_the_border(self, transforms, name):
        image, _ = make_sample(100, 150)
        label = np.array(
            [[0, 0, 150, 100], [-20, 10, 40, 60], [140, 90, 170, 130], [0, 0, 0, 0],
             [30, 30, 30, 80], [500, 500, 600, 600], [149, 99, 150, 100]], float,
        )  # fmt: skip
        judge(transforms(name), (image, label))
        for row in label:
            judge(transforms(name), (image, row[None]))

    @pytest.mark.filterwarnings("ignore:no anchor lies inside an image")
    @settings(max_examples=120)
    @given(
        name=st.sampled_from([None, "c4_net", "fpn_net"]),
        height=st.integers(16, 400),
        width=st.integers(16, 400),
        count=st.integers(1, 30),
        short=st.sampled_from([16, 57, 100, (60, 130)]),
        seed=st.integers(0, 2**31),
    )
    def test_anything(self, transforms, name, height, width, count, short, seed):
        sample = make_sample(height, width, count, seed)
        judge(transforms(name, short=short, max_size=211), sample, seed % 1000)

    @pytest.mark.parametrize(
        "fixture, multi_stage", [("c4_resnet50", False), ("fpn_resnet50", True)]
    )
    def test_published_networks(self, request, fixture, multi_stage):
        """As the official scripts build the transform."""
        net = request.getfixturevalue(fixture)
        pair = [
            kind(net.short, net.max_size, net, ashape=net.ashape, multi_stage=multi_stage)
            for kind in (FasterRCNNTrainTransform, GluonCVTransform)
        ]
        for size in ((375, 500), (512, 333)):
            judge(pair, make_sample(*size, count=12))


class TestBeyondGluonCV:
    @NETS
    def test_image_larger_than_the_anchors_of_gluoncv(self, networks, name):
        """GluonCV cuts the targets at ``ashape`` cells; here they cover the image."""
        net = networks[name]
        options = dict(multi_stage=name == "fpn_net", ashape=net.ashape, flip_p=0)
        transform = FasterRCNNTrainTransform(500, 900, net, **options)
        image, label = make_sample(250, 450, count=9)
        helpers.seed_all(1)
        with pytest.warns(UserWarning, match="an image of 900 x 500 has a feature map of .* cells"):
            img, bbox, *targets = transform(image, label)
        assert img.shape == (3, 500, 900)
        strides = (4, 8, 16, 32, 64) if name == "fpn_net" else (16,)
        shapes = tuple((-(-500 // stride), -(-900 // stride)) for stride in strides)
        depth = 3 if name == "fpn_net" else 9
        assert tuple(part.shape for part in targets[0]) == tuple((*s, depth) for s in shapes)
        lattice = AnchorLattice(transform._levels, shapes)
        helpers.seed_all(1)
        np.random.random_sample(2)  # the flips
        expected = RPNTargetGenerator()(bbox[:, :4], lattice, 900, 500)
        helpers.assert_same(targets, [lattice.split(part) for part in expected])
        cut = GluonCVTransform(500, 900, net, **options)(image, label)[2][0]
        assert cut.shape[0] < shapes[0][0] or cut.shape[1] < shapes[0][1]

    def test_same_targets_within_a_larger_lattice(self, c4_net):
        """``ashape`` changes nothing."""
        image, label = make_sample(90, 130)
        results = []
        for ashape in (1, 8, 128, 1000):
            helpers.seed_all(2)
            results.append(FasterRCNNTrainTransform(100, 200, c4_net, ashape=ashape)(image, label))
        for other in results[1:]:
            helpers.assert_same(other, results[0])

    def test_allowed_border(self, fpn_net):
        """With a border, anchors that stick out of the image are used."""
        image, _ = make_sample(100, 150)
        counts = []
        for border in (0, 10, 1000):
            transform = FasterRCNNTrainTransform(
                100, 200, fpn_net, multi_stage=True, num_sample=10**9, allowed_border=border
            )
            counts.append(sum((level == 0).sum() for level in transform(image, [])[2]))
        cells = [-(-100 // stride) * -(-150 // stride) for stride in (4, 8, 16, 32, 64)]
        assert counts[0] < counts[1] < counts[2] == 3 * sum(cells)


class TestAsAnObject:
    @NETS
    def test_inputs_stay(self, transforms, name):
        image, label = make_sample(100, 150)
        pixels, values = image.asnumpy(), label.copy()
        label.setflags(write=False)
        transforms(name, flip_p=1)[0](image, label)
        np.testing.assert_array_equal(image.asnumpy(), pixels)
        np.testing.assert_array_equal(label, values)

    def test_results_do_not_share_memory(self, transforms):
        """An image that is already of the right size is copied, targets are the caller's own."""
        ours, _ = transforms("c4_net", flip_p=0)
        image, label = make_sample(100, 150, dtype="float32")
        first = ours(image, label.astype(np.float32))
        kept = [helpers.to_numpy(first[0]).copy(), first[1].copy(), first[2][0].copy()]
        first[0][:] = 0
        first[1][:] = 0
        first[2][0][:] = 5
        helpers.seed_all(0)
        again = ours(image, label)
        helpers.seed_all(0)
        once_more = ours(image, label)
        helpers.assert_same(again, once_more)
        np.testing.assert_array_equal(again[0].asnumpy(), kept[0])
        np.testing.assert_array_equal(again[1], kept[1])

    @pytest.mark.parametrize("name", [None, "c4_net", "fpn_net"])
    def test_pickle(self, transforms, name):
        ours, _ = transforms(name)
        sample = make_sample(97, 130)
        before = pickle.loads(pickle.dumps(ours))
        helpers.seed_all(3)
        expected = ours(*sample)
        for copy in (before, pickle.loads(pickle.dumps(ours))):
            assert type(copy) is FasterRCNNTrainTransform
            helpers.seed_all(3)
            helpers.assert_same(copy(*sample), expected)

    def test_is_a_gluoncv_transform(self, transforms):
        for name in (None, "c4_net", "fpn_net"):
            assert isinstance(transforms(name)[0], GluonCVTransform)

    def test_networks_without_initialization(self, networks):
        """GluonCV wants the anchors initialized; here the network need not even be."""
        generator = RPNAnchorGenerator(16, 8, (0.5, 1, 2), (2, 4, 8), (24, 24))
        net = SimpleNamespace(
            features=networks["c4_net"].features, rpn=SimpleNamespace(anchor_generator=generator)
        )
        sample = make_sample(97, 130)
        ours = FasterRCNNTrainTransform(100, 200, net)
        theirs = GluonCVTransform(100, 200, networks["c4_net"], ashape=24)
        judge((ours, theirs), sample)

    def test_network_stays(self, networks):
        """Neither is the network changed nor kept."""
        for name, net in networks.items():
            parameters = net.rpn.anchor_generator.collect_params()
            before = {key: value.data().asnumpy() for key, value in parameters.items()}
            transform = FasterRCNNTrainTransform(100, 200, net, multi_stage=name == "fpn_net")
            transform(*make_sample(90, 90))
            for key, value in parameters.items():
                assert value.list_ctx() == [mx.cpu()]
                np.testing.assert_array_equal(value.data().asnumpy(), before[key])
            held = vars(transform).values()
            assert not any(isinstance(value, (mx.gluon.Block, mx.sym.Symbol)) for value in held)
