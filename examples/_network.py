"""Small Faster R-CNN networks on a ResNet-18: C4 (one feature map) and FPN (a pyramid of five).

The anchors are half as large as in GluonCV's published models, for images half as large, and few
proposals are kept, so that a network trains on a CPU.
"""

from __future__ import annotations

import warnings

import mxnet as mx
from _options import UsageError
from gluoncv.model_zoo.rcnn.faster_rcnn.faster_rcnn import FasterRCNN, custom_faster_rcnn_fpn
from gluoncv.model_zoo.resnetv1b import resnet18_v1b
from mxnet.gluon import nn

NETWORKS = ("c4", "fpn")

C4_STRIDE = 16
FPN_STRIDES = (4, 8, 16, 32, 64)

# Every anchor is a square of base_size * scale pixels, or a 1:2 or 2:1 box of the same area.
COMMON = dict(
    base_size=16,
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


class TrainedBatchNorm(nn.BatchNorm):
    """Batch normalization by the statistics of the batch.

    GluonCV freezes `nn.BatchNorm` itself, which suits a backbone with pretrained weights; with
    random weights the statistics have to be learned, and a subclass escapes the freezing.
    """


def build_network(name, classes, short, max_size, batch_size):
    """Build a Faster R-CNN with uninitialized parameters.

    Parameters
    ----------
    name : {'c4', 'fpn'}
        One feature map of stride 16, or five of strides 4 to 64.
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
    sizes = dict(short=short, max_size=max_size, per_device_batch_size=batch_size)
    if name == "c4":
        return _build_c4(classes, **sizes)
    if name == "fpn":
        return _build_fpn(classes, **sizes)
    raise ValueError(f"name must be one of {NETWORKS}, but got {name!r}")


def _build_c4(classes, max_size, **sizes):
    """Build the RPN on stage 4 of the backbone; the last stage is the head of each proposal."""
    backbone = resnet18_v1b(norm_layer=TrainedBatchNorm)
    features = nn.HybridSequential()
    features.add(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
    features.add(backbone.layer1, backbone.layer2, backbone.layer3)
    top_features = nn.HybridSequential()
    top_features.add(backbone.layer4)
    cells = -(-max_size // C4_STRIDE) + 1
    return FasterRCNN(
        features,
        top_features,
        classes,
        max_size=max_size,
        strides=C4_STRIDE,
        scales=(1, 2, 4, 8, 16),
        alloc_size=(cells, cells),
        roi_size=(4, 4),
        **sizes,
        **COMMON,
    )


def _build_fpn(classes, max_size, **sizes):
    """Build the RPN on every level of the pyramid."""
    with warnings.catch_warnings():
        # MXNet's type inference sees the pyramid before it knows the type of the image.
        warnings.filterwarnings("ignore", message="Cannot decide type")
        return custom_faster_rcnn_fpn(
            classes, max_size=max_size, **fpn_options(max_size), **sizes, **COMMON
        )


def fpn_options(max_size):
    """Return what Faster and Mask R-CNN with a pyramid have in common, as keyword arguments."""
    # The lattice halves from level to level, so the first must be divisible by all of them.
    cells = 16 * -(-max_size // FPN_STRIDES[-1])
    return dict(
        pretrained_base=False,
        norm_layer=TrainedBatchNorm,
        num_fpn_filters=64,
        num_box_head_conv=0,
        num_box_head_dense_filters=128,
        min_stage=2,
        max_stage=6,
        strides=FPN_STRIDES,
        scales=(1, 2, 4, 8, 16),
        alloc_size=(cells, cells),
        roi_size=(7, 7),
        roi_mode="pool",  # 'align' reads uninitialized memory in FPN models on a CPU
    )


def initialize(net, contexts, weights):
    """Give the network random parameters, or those of a file."""
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
