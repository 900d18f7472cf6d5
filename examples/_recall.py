"""How many objects the RPN finds: the recall of its proposals."""

from __future__ import annotations

import numpy as np
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultValTransform
from mxnet import nd

IOU_THRESHOLD = 0.5


def pairwise_iou(a, b):
    """Return the IoU (M, N) of corner boxes (M, 4) and (N, 4)."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.prod(np.maximum(bottom_right - top_left, 0), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    return intersection / (area_a[:, None] + area_b[None, :] - intersection)


def proposals(net, image):
    """Return the proposals (N, 4) of the RPN for an image (3, H, W), best score first."""
    image = image.expand_dims(axis=0)
    features = net.features(image)
    if not isinstance(features, (list, tuple)):
        features = [features]
    _, boxes = net.rpn(nd.zeros_like(image), *features)
    return boxes[0].asnumpy()


def proposal_recall(net, dataset, context, num_images):
    """Count the objects that a proposal covers with an IoU of at least `IOU_THRESHOLD`.

    Parameters
    ----------
    net : FasterRCNN
    dataset : gluon.data.Dataset
        Of images, labels and maybe more.
    context : mx.Context
        Device of the network's parameters.
    num_images : int
        Look at the first so many images of the dataset.

    Returns
    -------
    (int, int)
        Objects found, and objects there are.
    """
    transform = FasterRCNNDefaultValTransform(net.short, net.max_size)
    found = total = 0
    for index in range(min(num_images, len(dataset))):
        image, label, _ = transform(*dataset[index][:2])
        iou = pairwise_iou(label[:, :4], proposals(net, image.as_in_context(context)))
        found += int((iou.max(axis=1) >= IOU_THRESHOLD).sum())
        total += len(label)
    return found, total
