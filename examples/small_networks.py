"""Small Faster and Mask R-CNN networks on a ResNet-18: C4 (one feature map) and FPN (five).

The anchors are half as large as in GluonCV's published models, for images half as large, and few
proposals are kept, so that a network trains on a CPU.
"""

from __future__ import annotations

import warnings

import mxnet as mx
from command_line import UsageError
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultValTransform
from gluoncv.model_zoo.rcnn.faster_rcnn.faster_rcnn import FasterRCNN, custom_faster_rcnn_fpn
from gluoncv.model_zoo.rcnn.mask_rcnn.mask_rcnn import custom_mask_rcnn_fpn
from gluoncv.model_zoo.resnetv1b import resnet18_v1b
from gluoncv.utils import bbox_iou
from mxnet import nd
from mxnet.gluon import nn

NETWORKS = ("c4", "fpn", "mask_fpn")
STRIDES = {"c4": 16, "fpn": (4, 8, 16, 32, 64)}

# Every anchor is a square of base_size * scale pixels, or a 1:2 or 2:1 box of the same area.
COMMON = dict(
    base_size=16,
    scales=(1, 2, 4, 8, 16),
    ratios=(0.5, 1, 2),
    clip=4.42,  # bounds a predicted log size, as in GluonCV's FPN models
    rpn_channel=128,
    rpn_train_pre_nms=1000,
    rpn_train_post_nms=200,
    rpn_test_pre_nms=1000,
    rpn_test_post_nms=100,
    rpn_min_size=4,
    num_sample=32,
    max_num_gt=300,
)
PYRAMID = dict(
    pretrained_base=False,
    num_fpn_filters=64,
    num_box_head_conv=0,
    num_box_head_dense_filters=128,
    min_stage=2,
    max_stage=6,
    roi_size=(7, 7),
    roi_mode="pool",  # 'align' reads uninitialized memory in FPN models on a CPU
)
MASK_HEAD = dict(mask_channels=64, target_roi_scale=2, num_fcn_convs=2)


class TrainedBatchNorm(nn.BatchNorm):
    """Batch normalization by the statistics of the batch.

    GluonCV freezes `nn.BatchNorm` itself, which suits a backbone with pretrained weights; with
    random weights the statistics have to be learned, and a subclass escapes the freezing.
    """


def build_network(name, classes, short, max_size, batch_size):
    """Build a network with uninitialized parameters.

    Parameters
    ----------
    name : {'c4', 'fpn', 'mask_fpn'}
        Faster R-CNN on one feature map of stride 16 or on five of strides 4 to 64, or Mask R-CNN.
    classes : sequence of str
        Names of the foreground classes.
    short, max_size : int
        Short side of the images after resizing, and upper bound of the long side.
    batch_size : int
        Images per device in training.

    Returns
    -------
    gluoncv.model_zoo.rcnn.faster_rcnn.FasterRCNN
    """
    options = dict(COMMON, short=short, max_size=max_size, per_device_batch_size=batch_size)
    if name == "c4":
        return _build_c4(classes, max_size, options)
    if name not in NETWORKS:
        raise ValueError(f"name must be one of {NETWORKS}, but got {name!r}")
    build = custom_faster_rcnn_fpn
    if name == "mask_fpn":
        build = custom_mask_rcnn_fpn
        options.update(MASK_HEAD)
    # The number of cells halves from level to level, so the first must be divisible by all.
    cells = 16 * -(-max_size // STRIDES["fpn"][-1])
    with warnings.catch_warnings():
        # MXNet's type inference sees the pyramid before it knows the type of the image.
        warnings.filterwarnings("ignore", message="Cannot decide type")
        return build(
            classes, strides=STRIDES["fpn"], alloc_size=(cells, cells),
            norm_layer=TrainedBatchNorm, **PYRAMID, **options,
        )  # fmt: skip


def _build_c4(classes, max_size, options):
    """Build the RPN on stage 4 of the backbone; the last stage is the head of each proposal."""
    backbone = resnet18_v1b(norm_layer=TrainedBatchNorm)
    features = nn.HybridSequential()
    features.add(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
    features.add(backbone.layer1, backbone.layer2, backbone.layer3)
    top_features = nn.HybridSequential()
    top_features.add(backbone.layer4)
    cells = -(-max_size // STRIDES["c4"]) + 1
    return FasterRCNN(
        features, top_features, classes, strides=STRIDES["c4"], alloc_size=(cells, cells),
        roi_size=(4, 4), **options,
    )  # fmt: skip


def initialize(net, contexts, weights=None):
    """Give the network random parameters, or those of a file.

    Raises
    ------
    UsageError
        If the file does not fit the network.
    """
    if weights is None:
        net.initialize(mx.init.MSRAPrelu(), ctx=contexts)
    # Made when first asked for, on the CPU; its constants are saved with the network.
    net.target_generator.collect_params().reset_ctx(contexts)
    if weights is not None:
        try:
            net.load_parameters(weights, ctx=contexts)
        except (AssertionError, ValueError, mx.base.MXNetError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(f"--weights must fit the network, but {reason}") from error
    net.hybridize()


def count_found(net, dataset, context, num_images):
    """Return how many objects of the first images a proposal covers (IoU >= 0.5), and of how many.

    An image's proposals are those that the RPN keeps in prediction, the best ones.
    """
    transform = FasterRCNNDefaultValTransform(net.short, net.max_size)
    found = total = 0
    for index in range(min(num_images, len(dataset))):
        image, label, _ = transform(*dataset[index][:2])
        image = image.expand_dims(axis=0).as_in_context(context)
        features = net.features(image)
        features = features if isinstance(features, (list, tuple)) else [features]
        proposals = net.rpn(nd.zeros_like(image), *features)[1][0].asnumpy()
        found += int((bbox_iou(label[:, :4], proposals).max(axis=1) >= 0.5).sum())
        total += len(label)
    return found, total
