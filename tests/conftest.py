"""Settings and fixtures of all tests."""

import helpers  # first: it imports rpn_target before MXNet
import pytest
from gluoncv.model_zoo import get_model
from gluoncv.model_zoo.rcnn.faster_rcnn.faster_rcnn import FasterRCNN, custom_faster_rcnn_fpn
from gluoncv.model_zoo.resnetv1b import resnet18_v1b
from hypothesis import HealthCheck, settings
from mxnet.gluon import nn

# The same examples on every run, and no verdict on time: machines differ.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("repeatable")


def pytest_configure(config):
    """Let pass what MXNet warns of when a new constant gets the address of one long gone."""
    config.addinivalue_line("filterwarnings", "ignore:.*New initializer .* registered:UserWarning")


CLASSES = ("thing", "other thing")
SMALL = dict(rpn_channel=8, base_size=8, num_sample=8, ratios=(0.5, 1, 2))


@pytest.fixture(autouse=True)
def seeded():
    """Start every test from the same random states."""
    helpers.seed_all(0)


def with_anchors(net):
    """Initialize the anchors, which GluonCV's transform wants; no other weight is needed."""
    net.rpn.anchor_generator.initialize()
    return net


@pytest.fixture(scope="session")
def c4_net():
    """Return a small network with one feature map, of stride 16."""
    backbone = resnet18_v1b()
    features = nn.HybridSequential()
    features.add(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
    features.add(backbone.layer1, backbone.layer2, backbone.layer3)
    top_features = nn.HybridSequential()
    top_features.add(backbone.layer4)
    return with_anchors(
        FasterRCNN(
            features, top_features, CLASSES, short=100, max_size=200, strides=16,
            scales=(2, 4, 8), alloc_size=(24, 24), **SMALL,
        )
    )  # fmt: skip


@pytest.fixture(scope="session")
def fpn_net():
    """Return a small network with five feature maps, of strides 4 to 64."""
    return with_anchors(
        custom_faster_rcnn_fpn(
            CLASSES, pretrained_base=False, num_fpn_filters=8, num_box_head_conv=0,
            num_box_head_dense_filters=8, short=100, max_size=200, min_stage=2, max_stage=6,
            strides=(4, 8, 16, 32, 64), scales=(2, 4, 8, 16, 32), alloc_size=(96, 96),
            roi_size=(7, 7), **SMALL,
        )
    )  # fmt: skip


@pytest.fixture(scope="session")
def c4_resnet50():
    """Return GluonCV's published network with one feature map, without weights."""
    return with_anchors(get_model("faster_rcnn_resnet50_v1b_voc", pretrained_base=False))


@pytest.fixture(scope="session")
def fpn_resnet50():
    """Return GluonCV's published network with a pyramid, without weights."""
    return with_anchors(get_model("faster_rcnn_fpn_resnet50_v1b_coco", pretrained_base=False))
