"""What is refused, and what the messages say: the contract, and what came."""

import helpers
import mxnet as mx
import numpy as np
import pytest

from rpn_target import FasterRCNNTrainTransform, RPNTargetGenerator, RPNTargetSampler
from rpn_target.core.settings import TargetSettings

DEFAULT = dict(num_sample=256, pos_iou_thresh=0.7, neg_iou_thresh=0.3, pos_ratio=0.5)
NAN, INF = float("nan"), float("inf")

ANCHORS = np.array([[0, 0, 8, 8], [8, 8, 16, 16], [0, 8, 8, 16]], np.float32)
IMAGE = mx.nd.zeros((30, 40, 3), dtype="uint8")

# Parameters, what is raised and what the message holds.
SETTINGS = [
    (dict(num_sample=-1), ValueError, "num_sample must be at least 0, but got -1"),
    (dict(num_sample=2.5), TypeError, "num_sample must be a whole number, but got 2.5"),
    (dict(num_sample=True), TypeError, "num_sample must be a whole number, but got True"),
    (dict(num_sample="9"), TypeError, "num_sample must be a whole number, but got '9'"),
    (dict(num_sample=None), TypeError, "num_sample must be a whole number, but got None"),
    (dict(pos_iou_thresh=1.5), ValueError, r"pos_iou_thresh must be in \[0, 1\], but got 1.5"),
    (dict(pos_iou_thresh=NAN), ValueError, r"pos_iou_thresh must be in \[0, 1\], but got nan"),
    (dict(pos_iou_thresh="1"), TypeError, "pos_iou_thresh must be a real number, but got '1'"),
    (dict(neg_iou_thresh=-0.1), ValueError, r"neg_iou_thresh must be in \[0, 1\], but got -0.1"),
    (dict(neg_iou_thresh=None), TypeError, "neg_iou_thresh must be a real number, but got None"),
    (dict(neg_iou_thresh=0.8), ValueError, "must not exceed pos_iou_thresh, but got 0.8 > 0.7"),
    (dict(pos_ratio=1.01), ValueError, r"pos_ratio must be in \[0, 1\], but got 1.01"),
    (dict(pos_ratio=[0.5]), TypeError, r"pos_ratio must be a real number, but got \[0.5\]"),
]
STDS = [
    ((1, 1, 1), ValueError, r"stds must be 4 finite numbers above 0, but got \(1, 1, 1\)"),
    ((1, 1, 1, 1, 1), ValueError, "stds must be 4 finite numbers"),
    ((1, 0, 1, 1), ValueError, r"stds must be 4 .* above 0, but got \(1, 0, 1, 1\)"),
    ((1, -1, 1, 1), ValueError, "stds must be 4 finite numbers above 0"),
    ((1, INF, 1, 1), ValueError, "stds must be 4 finite numbers"),
    ((1, NAN, 1, 1), ValueError, "stds must be 4 finite numbers"),
    (("a", "b", "c", "d"), TypeError, "stds must be a real number, but got 'a'"),
    (None, (TypeError, ValueError), "stds must be"),
]
BORDER = [
    (-1, ValueError, "allowed_border must be at least 0, but got -1"),
    (NAN, ValueError, "allowed_border must be at least 0, but got nan"),
    ("3", TypeError, "allowed_border must be a real number, but got '3'"),
]

# Boxes, what is raised and what the message holds about them.
BOXES = [
    ([[5, 2, 4, 9]], ValueError, r"xmin <= xmax and ymin <= ymax, but row 0 is \[5.0, 2.0, 4.0"),
    ([[1, 2, 3, 4], [1, 9, 3, 8]], ValueError, r"row 1 is \[1.0, 9.0, 3.0, 8.0\]"),
    ([[1, 2, 3, 4], [1, NAN, 3, 8], [2, 1, 1, 1]], ValueError, r"row 1 is \[1.0, nan, 3.0, 8.0\]"),
    ([[1, 2, INF, 4]], ValueError, r"row 0 is \[1.0, 2.0, inf, 4.0\]"),
    ([[1, -INF, 3, 4]], ValueError, r"row 0 is \[1.0, -inf, 3.0, 4.0\]"),
    ([[-1e30, -1e30, 1e30, 1e30]], ValueError, "row 0 is"),  # its area is infinite in float32
    ([[0, 0, 1e300, 1]], ValueError, "row 0 is"),
    ([["a", "b", "c", "d"]], TypeError, "hold real numbers, but its dtype is <U1"),
    (np.zeros((2, 4), complex), TypeError, "hold real numbers, but its dtype is complex128"),
    (np.array([[1, 2, 3, None]]), TypeError, "hold real numbers, but its dtype is object"),
]
SHAPES = [(4,), (2, 3), (2, 5), (1, 2, 4), (0, 5), ()]


class TestSettings:
    def test_nothing_refused(self):
        """The extremes of every range are allowed, numpy's numbers too."""
        TargetSettings(0, 0, 0, 0, (1e-9, 1, 1, 1e9), 0)
        TargetSettings(1, 1, 1, 1, np.ones(4, np.float32), 10**9)
        TargetSettings(np.int64(3), np.float32(0.5), np.float64(0.5), 1, [1, 2, 3, 4], np.int32(1))

    @pytest.mark.parametrize("options, error, message", SETTINGS)
    def test_sampling(self, options, error, message):
        options = {**DEFAULT, **options}
        for kind in (TargetSettings, RPNTargetSampler, RPNTargetGenerator):
            with pytest.raises(error, match=message):
                kind(**options)

    @pytest.mark.parametrize("options, error, message", SETTINGS)
    def test_transform(self, options, error, message):
        with pytest.raises(error, match=message):
            FasterRCNNTrainTransform(**options)

    @pytest.mark.parametrize("stds, error, message", STDS)
    def test_stds(self, stds, error, message):
        with pytest.raises(error, match=message):
            RPNTargetGenerator(stds=stds)
        with pytest.raises(error, match=message.replace("stds", "box_norm")):
            FasterRCNNTrainTransform(box_norm=stds)

    @pytest.mark.parametrize("border, error, message", BORDER)
    def test_allowed_border(self, border, error, message):
        with pytest.raises(error, match=message):
            RPNTargetGenerator(allowed_border=border)
        with pytest.raises(error, match=message):
            FasterRCNNTrainTransform(allowed_border=border)

    def test_unknown_parameter(self):
        with pytest.raises(TypeError, match="must be given its own .* an unknown one, unknown$"):
            FasterRCNNTrainTransform(unknown=1)


class TestSampler:
    @pytest.mark.parametrize("ious", [np.zeros(3), np.zeros((2, 2, 2)), 0.5, []])
    def test_shape(self, ious):
        with pytest.raises(ValueError, match=r"ious must have shape \(N, M\), but its shape is"):
            RPNTargetSampler(**DEFAULT)(ious)

    @pytest.mark.parametrize("dtype", [complex, object, "U3"])
    def test_dtype(self, dtype):
        with pytest.raises(TypeError, match="ious must hold real numbers, but its dtype is"):
            RPNTargetSampler(**DEFAULT)(np.zeros((2, 2), dtype))

    @pytest.mark.parametrize("row", [0, 1, 2])
    @pytest.mark.parametrize("column", [0, 1])
    @pytest.mark.parametrize("wrap", [np.asarray, mx.nd.array])
    def test_nan(self, row, column, wrap):
        ious = np.full((3, 2), 0.5)
        ious[row, column] = NAN
        with pytest.raises(ValueError, match=f"ious must not hold NaN, but row {row} is .*nan"):
            RPNTargetSampler(**DEFAULT)(wrap(ious))

    def test_nothing_is_drawn_before_a_refusal(self):
        state = helpers.random_states()
        with pytest.raises(ValueError):
            RPNTargetSampler(1, 0.7, 0.3, 0.5)(np.full((5, 5), NAN))
        assert state == helpers.random_states()


class TestGenerator:
    @pytest.mark.parametrize("boxes, error, message", BOXES)
    def test_boxes(self, boxes, error, message):
        generator = RPNTargetGenerator()
        with helpers.strict(), pytest.raises(error, match=f"^bbox must .*{message}") as caught:
            generator(boxes, ANCHORS, 40, 30)
        assert str(caught.value).endswith("(image of 40 x 30)")

    @pytest.mark.parametrize("shape", SHAPES)
    def test_shape_of_boxes(self, shape):
        with pytest.raises(ValueError, match=r"^bbox must have shape \(M, 4\), but") as caught:
            RPNTargetGenerator()(np.zeros(shape), ANCHORS, 40, 30)
        assert str(caught.value).endswith(f"but its shape is {shape} (image of 40 x 30)")

    @pytest.mark.parametrize("boxes, error, message", BOXES)
    def test_anchors(self, boxes, error, message):
        with helpers.strict(), pytest.raises(error, match=f"^anchor must .*{message}") as caught:
            RPNTargetGenerator()([[1, 2, 3, 4]], boxes, 40, 30)
        assert str(caught.value).endswith("(image of 40 x 30)")

    @pytest.mark.parametrize("shape", SHAPES)
    def test_shape_of_anchors(self, shape):
        with pytest.raises(ValueError, match=r"^anchor must have shape \(N, 4\), but") as caught:
            RPNTargetGenerator()([[1, 2, 3, 4]], np.zeros(shape), 40, 30)
        assert str(caught.value).endswith(f"but its shape is {shape} (image of 40 x 30)")

    def test_ndarrays(self):
        with pytest.raises(ValueError, match=r"^bbox must .* row 1 is \[5.0, 0.0, 4.0, 0.0\]"):
            RPNTargetGenerator()(
                mx.nd.array([[0, 0, 1, 1], [5, 0, 4, 0]]), mx.nd.array(ANCHORS), 40, 30
            )


class TestTransform:
    @pytest.mark.parametrize("columns", [4, 6])
    @pytest.mark.parametrize("boxes, error, message", BOXES)
    def test_boxes(self, c4_net, boxes, error, message, columns):
        """The row as it came, before any resizing, and the size of the image as it came."""
        boxes = np.asarray(boxes)
        label = np.concatenate([boxes, boxes[:, : columns - 4]], axis=1)
        for net in (None, c4_net):
            transform = FasterRCNNTrainTransform(60, 100, net)
            with helpers.strict(), pytest.raises(error, match=f"^label.* must .*{message}") as got:
                transform(IMAGE, label)
            assert str(got.value).endswith("(image of 40 x 30)")

    @pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 2, 4), ()])
    def test_shape_of_label(self, shape):
        transform = FasterRCNNTrainTransform(60, 100)
        with pytest.raises(ValueError, match=r"^label must have shape \(M, 4\+\), but") as caught:
            transform(IMAGE, np.zeros(shape))
        assert str(caught.value).endswith(f"but its shape is {shape} (image of 40 x 30)")

    @pytest.mark.parametrize("image", [IMAGE.asnumpy(), [[1, 2, 3]], None, "photo.jpg"])
    def test_kind_of_image(self, image):
        with pytest.raises(
            TypeError, match=r"src must be an NDArray of shape \(H, W, 3\), but got"
        ):
            FasterRCNNTrainTransform(60, 100)(image, np.zeros((1, 4)))

    @pytest.mark.parametrize("shape", [(30, 40), (30, 40, 4), (3, 30, 40), (1, 30, 40, 3)])
    def test_shape_of_image(self, shape):
        with pytest.raises(ValueError, match=r"src must be an image of shape \(H, W, 3\), but its"):
            FasterRCNNTrainTransform(60, 100)(mx.nd.zeros(shape), np.zeros((1, 4)))

    def test_nothing_is_drawn_before_a_refusal(self):
        state = helpers.random_states()
        with pytest.raises(ValueError):
            FasterRCNNTrainTransform((60, 80), 100)(IMAGE, np.array([[5, 0, 4, 0]]))
        assert state == helpers.random_states()

    def test_network(self, c4_net, fpn_net):
        with pytest.raises(ValueError, match="multi_stage must be False .* but got True"):
            FasterRCNNTrainTransform(60, 100, c4_net, multi_stage=True)
        with pytest.raises(ValueError, match="multi_stage must be True .* but got False"):
            FasterRCNNTrainTransform(60, 100, fpn_net)

    @pytest.mark.parametrize("short", [(200.5, 300), [200, 300.5]])
    def test_range_of_parts_of_a_pixel(self, short):
        with pytest.raises(ValueError, match="range of short must be of whole numbers, but got"):
            FasterRCNNTrainTransform(short)

    def test_network_in_the_wrong_place(self, c4_net):
        with pytest.raises(ValueError, match="short must be a number of pixels") as caught:
            FasterRCNNTrainTransform(c4_net)
        assert len(str(caught.value)) < 350

    def test_numpy_image(self):
        with pytest.raises(TypeError, match=r"numpy.ndarray: make one with mx.nd.array\(src\)"):
            FasterRCNNTrainTransform(60, 100)(IMAGE.asnumpy(), np.zeros((1, 4)))

    @pytest.mark.parametrize("flip_p", [-0.1, 1.1, NAN])
    def test_flip_probability(self, flip_p):
        """Numpy refuses it, as in GluonCV, when the first image is flipped."""
        with pytest.raises(ValueError):
            FasterRCNNTrainTransform(60, 100, flip_p=flip_p)(IMAGE, np.zeros((1, 4)))
