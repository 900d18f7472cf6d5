"""What is refused beyond `test_refusals`: images, polygons, columns, batches; and dropped boxes."""

import warnings

import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data.transforms.presets.rcnn import (
    FasterRCNNDefaultTrainTransform as GluonCVTransform,
)
from gluoncv.data.transforms.presets.rcnn import (
    MaskRCNNDefaultTrainTransform as GluonCVMaskTransform,
)
from helpers import make_sample

from rpn_target import (
    FasterRCNNTrainBatchify,
    FasterRCNNTrainTransform,
    MaskRCNNTrainBatchify,
    MaskRCNNTrainTransform,
    RPNTargetGenerator,
)
from rpn_target.gluon.checks import FARTHEST

NAN, INF = float("nan"), float("inf")
IMAGE = mx.nd.array(np.random.RandomState(0).randint(0, 120, (30, 40, 3)), dtype="uint8")
LABEL = np.array([[1, 2, 11, 12, 0.0], [5, 5, 30, 25, 1], [2, 2, 39, 29, 2], [8, 1, 20, 9, 3]])
TRIANGLE = np.array([[1.0, 2], [11, 2], [11, 12]])

# Rows that are no boxes, in a label that is one otherwise.
BAD_ROWS = {
    "inverted in x": [20, 1, 10, 9],
    "inverted in y": [8, 9, 20, 1],
    "nan": [8, NAN, 20, 9],
    "inf": [8, 1, INF, 9],
    "-inf": [-INF, 1, 20, 9],
    "area overflows": [-3e20, -3e20, 3e20, 3e20],
    "float32 overflows": [0, 0, 1e300, 1],
}
each_bad_row = pytest.mark.parametrize("row", BAD_ROWS.values(), ids=BAD_ROWS)


def polygons(count):
    """Return polygons for some boxes, all different."""
    return [[TRIANGLE + shift, TRIANGLE * 2] for shift in range(count)]


def both(net=None, **options):
    """Return calls of both transforms on an image and its label."""
    faster = FasterRCNNTrainTransform(30, 100, net, **options)
    mask = MaskRCNNTrainTransform(30, 100, net, **options)
    return [
        faster,
        lambda image, label, **rest: mask(image, label, polygons(len(label)), **rest),
    ]


def flat(result):
    if isinstance(result, (list, tuple)):
        return [array for part in result for array in flat(part)]
    return [helpers.to_numpy(result)]


class TestImages:
    @pytest.mark.parametrize("dtype", ["int32", "int64", "float16"])
    def test_dtypes_that_mxnet_cannot_resize(self, dtype):
        """GluonCV raises an error of OpenCV, or reads the memory as something else."""
        image = IMAGE.astype(dtype)
        for transform in both():
            with pytest.raises(TypeError, match=f"its dtype is {dtype}.* .image of 40 x 30.$"):
                transform(image, LABEL)

    @pytest.mark.parametrize("flip_p", [0, 1])
    @pytest.mark.parametrize("dtype", ["uint8", "int8", "float32", "float64"])
    def test_dtypes_of_gluoncv(self, dtype, flip_p):
        ours, theirs = (
            kind(45, 100, flip_p=flip_p) for kind in (FasterRCNNTrainTransform, GluonCVTransform)
        )
        image = IMAGE.astype(dtype)
        if dtype.startswith("float"):
            image = image * 0.99 + 0.1
        helpers.run_both(lambda: ours(image, LABEL), lambda: theirs(image, LABEL))

    @pytest.mark.parametrize(
        "shape", [(30, 40), (30, 40, 1), (30, 40, 4), (3, 30, 40), (1, 30, 40, 3), (3,)]
    )
    def test_shapes(self, shape):
        for transform in both():
            with pytest.raises(ValueError, match=r"src must be an image of shape \(H, W, 3\)"):
                transform(mx.nd.zeros(shape, dtype="uint8"), LABEL)

    @pytest.mark.parametrize("image", [None, "photo.jpg", 3, IMAGE.asnumpy(), [IMAGE]])
    def test_kinds(self, image):
        for transform in both():
            with pytest.raises(TypeError, match="src must be an NDArray of shape"):
                transform(image, LABEL)

    def test_is_not_changed(self):
        for transform in both():
            before, label = IMAGE.asnumpy().copy(), LABEL.copy()
            transform(IMAGE, label)
            np.testing.assert_array_equal(IMAGE.asnumpy(), before)
            np.testing.assert_array_equal(label, LABEL)


class TestLabels:
    @pytest.mark.parametrize(
        "label, error, message",
        [
            (None, TypeError, "label must hold real numbers, but its dtype is object"),
            ("box", TypeError, "label must hold real numbers"),
            ([["a", "b", "c", "d"]], TypeError, "label must hold real numbers"),
            (
                np.ones((2, 5), bool),
                TypeError,
                "label must hold real numbers, but its dtype is bool",
            ),
            (np.ones((2, 5), complex), TypeError, "label must hold real numbers"),
            (np.ones((2, 5), object), TypeError, "label must hold real numbers"),
            (7, ValueError, r"label must have shape \(M, 4\+\), but its shape is \(\)"),
            ([1, 2, 3, 4], ValueError, r"label must have .* but its shape is \(4,\)"),
            (np.ones((2, 3)), ValueError, r"label must have .* but its shape is \(2, 3\)"),
            (np.ones((1, 2, 4)), ValueError, r"label must have .* but its shape is \(1, 2, 4\)"),
            ([[]], ValueError, r"label must have .* but its shape is \(1, 0\)"),
            (np.ones((0, 3)), ValueError, r"label must have .* but its shape is \(0, 3\)"),
        ],
    )
    @pytest.mark.parametrize("on_bad_box", ["raise", "drop"])
    def test_refused(self, label, error, message, on_bad_box):
        """With the size of the image; by the Mask transform, too, before it asks for polygons."""
        options = dict(on_bad_box=on_bad_box)
        faster = FasterRCNNTrainTransform(30, 100, **options)
        mask = MaskRCNNTrainTransform(30, 100, **options)
        for call in (lambda: faster(IMAGE, label), lambda: mask(IMAGE, label, [])):
            with pytest.raises(error, match=message) as caught:
                call()
            assert "(image of 40 x 30)" in str(caught.value)

    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, np.float16])
    def test_dtypes(self, dtype):
        ours, theirs = (kind(45, 100) for kind in (FasterRCNNTrainTransform, GluonCVTransform))
        label = LABEL.astype(dtype)
        helpers.run_both(lambda: ours(IMAGE, label), lambda: theirs(IMAGE, label))

    @each_bad_row
    @pytest.mark.parametrize("position", [0, 2, 4])
    @pytest.mark.parametrize("wrap", [np.asarray, np.ndarray.tolist, mx.nd.array])
    def test_bad_row(self, row, position, wrap):
        label = np.insert(LABEL, position, [*row, 9], axis=0)
        for transform in both():
            with helpers.strict(), pytest.raises(ValueError, match="finite corner boxes") as caught:
                transform(IMAGE, wrap(label))
            message = str(caught.value)
            assert f"row {position} is [" in message and message.endswith("(image of 40 x 30)")
            if wrap is np.asarray and np.abs(row).max() < 100:
                assert str([float(value) for value in row]) in message

    def test_other_columns_may_hold_anything(self):
        label = LABEL.copy()
        label[:, 4] = NAN, INF, -INF, -3
        for transform in both():
            bbox = transform(IMAGE, label)[1]
            np.testing.assert_array_equal(bbox[:, 4], label[:, 4].astype(np.float32))


class TestEnlarged:
    """Boxes that are finite in the image as it is, but not in the one the network sees."""

    IMAGE = mx.nd.array(IMAGE.asnumpy()[:10, :12], dtype="uint8")
    # The largest int64, as a NaN becomes if it is taken for a whole number; and a long line.
    ROWS = ([-(2**63), -(2**63), 2**63 - 1, 2**63 - 1], [0, 1, 1e38, 1 + 1e-3])

    @pytest.mark.parametrize("row", ROWS, ids=str)
    @pytest.mark.parametrize("short", [200, (5, 200)])
    def test_refused(self, row, short):
        label = np.array([[1, 2, 11, 9], row]) * 0.7
        for kind, extra in (
            (FasterRCNNTrainTransform, ()),
            (MaskRCNNTrainTransform, (polygons(2),)),
        ):
            state = helpers.random_states()
            with helpers.strict(), pytest.raises(ValueError, match=r"row 1 is .*image of 12 x 10"):
                kind(short, 1000)(self.IMAGE, label, *extra)
            assert state == helpers.random_states()
            with helpers.strict(), pytest.warns(UserWarning, match="dropped 1 of 2 boxes"):
                result = kind(short, 1000, on_bad_box="drop")(self.IMAGE, label, *extra)
            assert len(result[1]) == 1

    @pytest.mark.filterwarnings("ignore:a box lies far outside its image")
    @pytest.mark.parametrize("row", ROWS, ids=str)
    def test_allowed_where_it_stays_finite(self, row):
        label = np.array([row]) * 0.7
        helpers.run_both(
            lambda: FasterRCNNTrainTransform(8, 1000)(self.IMAGE, label),
            lambda: GluonCVTransform(8, 1000)(self.IMAGE, label),
        )


class TestDrop:
    """``on_bad_box="drop"``: as if the bad rows had not been there, but for a warning."""

    @each_bad_row
    @pytest.mark.parametrize("position", [0, 2, 4])
    @pytest.mark.parametrize("wrap", [np.asarray, np.ndarray.tolist, mx.nd.array])
    @pytest.mark.parametrize("ignore_column", [None, 5])
    def test_row(self, c4_net, row, position, wrap, ignore_column):
        whole = np.c_[LABEL, [0, 1, 0, 1]]
        label = np.insert(whole, position, [*row, 9, 9], axis=0)
        kept = [index for index in range(5) if index != position]
        options = dict(net=c4_net, num_sample=16, ignore_column=ignore_column)
        for name, transform in zip(("faster", "mask"), both(on_bad_box="drop", **options)):
            segm = polygons(5)
            wrapped = wrap(label)
            with pytest.warns(
                UserWarning, match="dropped 1 of 5 boxes"
            ) as caught, helpers.strict():
                result = transform(IMAGE, wrapped, rng=5)
            assert len(caught) == 1
            message = str(caught[0].message)
            assert f"in row {position}: [" in message and message.endswith("(image of 40 x 30)")
            if name == "faster":
                expected = both(**options)[0](IMAGE, wrap(whole), rng=5)
            else:
                expected = MaskRCNNTrainTransform(30, 100, **options)(
                    IMAGE, wrap(whole), [segm[index] for index in kept], rng=5
                )
            helpers.assert_same(list(flat(result)), list(flat(expected)))

    def test_several_and_all(self, c4_net):
        for bad in ([0, 3], [1, 2, 3], [0, 1, 2, 3]):
            label = LABEL.copy()
            label[bad, 2] = -100
            for transform in both(c4_net, on_bad_box="drop", num_sample=16):
                with pytest.warns(
                    UserWarning, match=rf"dropped {len(bad)} of 4 boxes .* in row {bad[0]}: \["
                ):
                    _, bbox, (cls_target,), *_ = transform(IMAGE, label, rng=5)
                assert bbox[:, 4].tolist() == [k for k in range(4) if k not in bad]
                assert (cls_target == 0).any()

    def test_polygons_of_dropped_rows_may_be_anything(self, c4_net):
        label = LABEL.copy()
        label[1, 0] = NAN
        segm = polygons(4)
        segm[1] = None
        transform = MaskRCNNTrainTransform(30, 100, c4_net, on_bad_box="drop")
        with pytest.warns(UserWarning, match="dropped 1 of 4"):
            *_, masks = transform(IMAGE, label, segm)
        assert masks.shape == (3, 30, 40)

    def test_nothing_to_drop(self, c4_net):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            for transform, other in zip(both(c4_net, on_bad_box="drop"), both(c4_net)):
                helpers.assert_same(
                    list(flat(transform(IMAGE, LABEL, rng=5))),
                    list(flat(other(IMAGE, LABEL, rng=5))),
                )
                transform(IMAGE, np.zeros((0, 5)))

    def test_label_is_not_changed(self):
        label = np.insert(LABEL, 1, [20, 1, 10, 9, 9], axis=0)
        before = label.copy()
        for transform in both(on_bad_box="drop"):
            with pytest.warns(UserWarning):
                transform(IMAGE, label)
            np.testing.assert_array_equal(label, before)

    @pytest.mark.parametrize("value", ["", "Drop", None, True, ["drop"]])
    def test_other_values(self, value):
        for kind in (FasterRCNNTrainTransform, MaskRCNNTrainTransform):
            with pytest.raises(ValueError, match="on_bad_box must be one of raise, drop, but got"):
                kind(on_bad_box=value)


class TestPolygons:
    """GluonCV hands them to pycocotools, which never returns from some."""

    def refuse(self, segm, error, message, row=1):
        given = polygons(4)
        given[row] = segm
        transform = MaskRCNNTrainTransform(30, 100)
        with pytest.raises(error, match=message) as caught:
            transform(IMAGE, LABEL, given)
        assert str(caught.value).startswith(f"segm[{row}] must ")
        assert str(caught.value).endswith("(image of 40 x 30)")

    @pytest.mark.parametrize("value", [NAN, INF, -INF, 1e9, -1e9])
    def test_points_far_out(self, value):
        """Not finite, or so far away that an outline takes all memory."""
        for point, axis in ((0, 0), (2, 1)):
            polygon = TRIANGLE.copy()
            polygon[point, axis] = value
            self.refuse([TRIANGLE, polygon], ValueError, f"point {point} of a polygon is")

    @pytest.mark.parametrize("shape", [(0, 2), (1, 2), (2, 2), (3, 3), (6,), (1, 3, 2), ()])
    def test_shapes(self, shape):
        self.refuse([np.ones(shape)], ValueError, "shape of one is")

    @pytest.mark.parametrize(
        "polygon", [[1, 2, 3, 4, 5, 6], [[1, 2], [3, 4], [5, 6]], None, "polygon", {}]
    )
    def test_kinds(self, polygon):
        self.refuse([polygon], TypeError, "hold arrays of real numbers")

    @pytest.mark.parametrize("dtype", [complex, object, "U3", bool])
    def test_dtypes(self, dtype):
        self.refuse([TRIANGLE.astype(dtype)], TypeError, "hold arrays of real numbers")

    @pytest.mark.parametrize("polygons", [[], (), None, 3, {"counts": "x", "size": [30, 40]}])
    def test_none(self, polygons):
        """Such as the run-lengths of a crowd, which GluonCV's data set leaves out."""
        for row in range(4):
            self.refuse(polygons, ValueError, "a list of polygons, at least one", row)

    @pytest.mark.parametrize("count", [0, 3, 5])
    def test_count(self, count):
        transform = MaskRCNNTrainTransform(30, 100)
        with pytest.raises(
            ValueError, match=rf"segm must hold the polygons of 4 boxes, but its length is {count}"
        ):
            transform(IMAGE, LABEL, polygons(count))

    @pytest.mark.parametrize("segm", [None, 3, "polygons", {}])
    def test_no_list(self, segm):
        for label in (LABEL, []):
            with pytest.raises(TypeError, match=r"segm must be a list .* \(image of 40 x 30\)$"):
                MaskRCNNTrainTransform(30, 100)(IMAGE, label, segm)

    @pytest.mark.parametrize("scale", [1, 1.37, 100])
    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
    def test_allowed(self, dtype, scale):
        """Beyond the image, too, as GluonCV."""
        segm = [
            [(part * scale - 20).astype(dtype) for part in polygons] for polygons in polygons(4)
        ]
        before = [[part.copy() for part in polygons] for polygons in segm]
        ours, theirs = (kind(45, 100) for kind in (MaskRCNNTrainTransform, GluonCVMaskTransform))
        for seed in range(3):
            helpers.seed_all(seed)
            actual = ours(IMAGE, LABEL, segm)
            helpers.seed_all(seed)
            expected = theirs(IMAGE, LABEL, segm)
            helpers.assert_same(list(flat(actual)), list(flat(expected)))
        helpers.assert_same(segm, before)

    def test_farthest(self):
        corner = FARTHEST * 0.99
        square = np.array([[-corner, -corner], [corner, -corner], [corner, corner]])
        *_, masks = MaskRCNNTrainTransform(30, 100)(IMAGE, LABEL[:1], [[square]])
        assert masks.shape == (1, 30, 40)

    def test_nothing_is_drawn_before_a_refusal(self):
        state = helpers.random_states()
        with pytest.raises(ValueError):
            MaskRCNNTrainTransform((30, 50), 100)(IMAGE, LABEL, polygons(3))
        assert state == helpers.random_states()


class TestConstructors:
    @pytest.mark.parametrize("net", [3, "faster_rcnn", object()])
    def test_no_network(self, net):
        for make in (
            lambda: FasterRCNNTrainTransform(30, 100, net),
            lambda: MaskRCNNTrainTransform(30, 100, net),
            lambda: FasterRCNNTrainBatchify(net),
            lambda: MaskRCNNTrainBatchify(net),
        ):
            with pytest.raises(
                ValueError, match="net must be a Faster R-CNN network, but .*`features`"
            ):
                make()

    def test_network_without_proposals(self, c4_net):
        """A classifier has features, too."""

        class Classifier:
            features = c4_net.features

        for kind in (FasterRCNNTrainTransform, MaskRCNNTrainTransform):
            with pytest.raises(
                ValueError, match="net must be a Faster R-CNN network, but .* no `rpn`"
            ):
                kind(30, 100, Classifier())

    @pytest.mark.parametrize(
        "short", [0, -5, (60, 40), (0, 5), (60,), (1, 2, 3), (), "60", None, NAN]
    )
    def test_short(self, short):
        """GluonCV fails at the first image, or at the first unlucky draw."""
        for kind in (FasterRCNNTrainTransform, MaskRCNNTrainTransform):
            with pytest.raises(
                ValueError, match="short must be a number of pixels above 0, or a range"
            ):
                kind(short, 100)

    @pytest.mark.parametrize("max_size", [0, -5, "60", None, NAN])
    def test_max_size(self, max_size):
        for kind in (FasterRCNNTrainTransform, MaskRCNNTrainTransform):
            with pytest.raises(
                ValueError, match="max_size must be a number of pixels above 0, but"
            ):
                kind(30, max_size)

    @pytest.mark.parametrize("name", ["mean", "std"])
    @pytest.mark.parametrize("value", [None, (1, 2), (1, 2, 3, 4), "a", (NAN, 1, 1), (1, INF, 1)])
    def test_mean_and_std(self, name, value):
        for kind in (FasterRCNNTrainTransform, MaskRCNNTrainTransform):
            with pytest.raises(ValueError, match=f"{name} must be 3 finite numbers, or 1 for all"):
                kind(**{name: value})

    @pytest.mark.parametrize("std", [0, (0,), (1, 0, 1)])
    def test_std_of_nothing(self, std):
        with pytest.raises(ValueError, match="std must be numbers other than 0, but got"):
            FasterRCNNTrainTransform(std=std)

    @pytest.mark.parametrize("ashape, error, message", [
        (0, ValueError, "ashape must be at least 1, but got 0"),
        (-1, ValueError, "ashape must be at least 1, but got -1"),
        (1.5, TypeError, "ashape must be a whole number, but got 1.5"),
        (None, TypeError, "ashape must be a whole number, but got None"),
        ("a", TypeError, "ashape must be a whole number, but got 'a'"),
    ])  # fmt: skip
    def test_ashape(self, c4_net, ashape, error, message):
        with pytest.raises(error, match=message):
            FasterRCNNTrainTransform(60, 100, c4_net, ashape=ashape)

    @pytest.mark.parametrize("flip_p, error, message", [
        (-0.1, ValueError, r"flip_p must be in \[0, 1\], but got -0.1"),
        (1.1, ValueError, r"flip_p must be in \[0, 1\], but got 1.1"),
        (NAN, ValueError, r"flip_p must be in \[0, 1\], but got nan"),
        (None, TypeError, "flip_p must be a real number, but got None"),
        ("a", TypeError, "flip_p must be a real number, but got 'a'"),
    ])  # fmt: skip
    def test_flip(self, flip_p, error, message):
        with pytest.raises(error, match=message):
            FasterRCNNTrainTransform(60, flip_p=flip_p)

    @pytest.mark.parametrize("options", [
        dict(mean=0.5), dict(mean=(0.5,)), dict(std=0.5), dict(std=(0.5,)), dict(flip_p=True),
        dict(multi_stage=1), dict(multi_stage=None), dict(multi_stage="yes"), dict(num_sample=0),
        dict(max_size=200.5), dict(short=100.5), dict(short=[60, 70]), dict(short=(60, 60)),
    ], ids=str)  # fmt: skip
    @pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
    def test_what_gluoncv_takes_is_taken(self, request, name, options):
        """However it is written; what images cannot be made with is refused at once (above)."""
        net = request.getfixturevalue(name)
        arguments = dict(short=100, max_size=200, ashape=net.ashape, multi_stage=net.num_stages > 1)
        if "multi_stage" in options and bool(options["multi_stage"]) != arguments["multi_stage"]:
            return  # of the other network
        arguments.update(options)
        sample = make_sample(90, 130)
        helpers.run_both(
            lambda: FasterRCNNTrainTransform(net=net, **arguments)(*sample),
            lambda: GluonCVTransform(net=net, **arguments)(*sample),
        )

    @pytest.mark.parametrize("shards", [0, -1])
    def test_shards(self, c4_net, shards):
        with pytest.raises(ValueError, match="num_shards must be at least 1, but got"):
            FasterRCNNTrainBatchify(c4_net, shards)

    @pytest.mark.parametrize("shards", [1.5, 2.0, "2", None, True])
    def test_kind_of_shards(self, c4_net, shards):
        for kind in (FasterRCNNTrainBatchify, MaskRCNNTrainBatchify):
            with pytest.raises(TypeError, match="num_shards must be a whole number, but got"):
                kind(c4_net, shards)


class TestGeneratorSizes:
    @pytest.mark.parametrize("width, height", [(NAN, 30), (40, NAN), ("40", 30), (40, None)])
    def test_no_numbers(self, width, height):
        """With a NaN every comparison is false: every anchor valid, or none."""
        with pytest.raises(TypeError, match="width and height must be numbers, but got"):
            RPNTargetGenerator()([[1, 2, 3, 4]], [[0, 0, 8, 8]], width, height)


class TestBatches:
    def samples(self, net, columns=(5, 5), kind=FasterRCNNTrainTransform):
        transform = kind(30, 100, net)
        found = []
        for count in columns:
            image, label = make_sample(30, 40, 2, columns=count)
            extra = (polygons(2),) if kind is MaskRCNNTrainTransform else ()
            found.append(transform(image, label, *extra))
        return found

    def test_columns(self, c4_net):
        with pytest.raises(ValueError, match=r"equally many columns, but got .*\(2, 5\), \(2, 6\)"):
            FasterRCNNTrainBatchify(c4_net)(self.samples(c4_net, (5, 6)))

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_too_few_for_the_shards(self, c4_net, count):
        with pytest.raises(ValueError, match=f"3 shards need as many samples, but got {count}"):
            FasterRCNNTrainBatchify(c4_net, 3)(self.samples(c4_net)[:count])

    def test_parts(self, c4_net):
        """Samples without targets, or of the other kind of network."""
        faster, mask = self.samples(c4_net), self.samples(c4_net, kind=MaskRCNNTrainTransform)
        for batchify, batch in (
            (FasterRCNNTrainBatchify(c4_net), [faster[0], faster[1][:2]]),
            (FasterRCNNTrainBatchify(c4_net), [faster[0], mask[1]]),
            (MaskRCNNTrainBatchify(c4_net), [mask[0], faster[1]]),
        ):
            with pytest.raises(ValueError, match="every sample must hold .* but sample 1 of the"):
                batchify(batch)

    @pytest.mark.parametrize("label", [np.zeros(5), np.zeros((1, 2, 5)), 3])
    def test_shape_of_labels(self, c4_net, label):
        (image, _, *targets), other = self.samples(c4_net)
        with pytest.raises(ValueError, match=r"labels .* must have shape \(M, 4\+\), but got"):
            FasterRCNNTrainBatchify(c4_net)([other, (image, label, *targets)])

    @pytest.mark.parametrize("change", ["swap", "depth", "boxes", "rank"])
    def test_shape_of_targets(self, c4_net, change):
        """Some of these could be written somehow, and would be garbage."""
        first, (image, label, (cls,), (box,), (mask,)) = self.samples(c4_net)
        cls, box, mask = {
            "swap": (cls, cls, mask),
            "depth": (cls[:, :, 1:], box[:, :, 4:], mask[:, :, 4:]),
            "boxes": (cls, box[1:], mask),
            "rank": (cls.ravel(), box, mask),
        }[change]
        with pytest.raises(
            ValueError, match=r"must have shapes \(rows, columns, 9\) and .* but have"
        ):
            FasterRCNNTrainBatchify(c4_net)([first, (image, label, [cls], [box], [mask])])

    def test_targets_of_another_network(self, c4_net, fpn_net):
        fpn = FasterRCNNTrainTransform(30, 100, fpn_net, multi_stage=True)(IMAGE, LABEL)
        message = "every sample must have targets for the network's {} feature maps, but one has"
        with pytest.raises(ValueError, match=message.format(1)):
            FasterRCNNTrainBatchify(c4_net)([fpn])
        with pytest.raises(ValueError, match=message.format(5)):
            FasterRCNNTrainBatchify(fpn_net)(self.samples(c4_net))
