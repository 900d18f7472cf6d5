"""A small Mask R-CNN on the feature pyramid of `_network`."""

from __future__ import annotations

import warnings

from _network import COMMON, fpn_options
from gluoncv.model_zoo.rcnn.mask_rcnn.mask_rcnn import custom_mask_rcnn_fpn


def build_mask_network(classes, short, max_size, batch_size):
    """Build a Mask R-CNN with uninitialized parameters.

    Parameters are those of `_network.build_network`.
    """
    with warnings.catch_warnings():
        # MXNet's type inference sees the pyramid before it knows the type of the image.
        warnings.filterwarnings("ignore", message="Cannot decide type")
        return custom_mask_rcnn_fpn(
            classes,
            short=short,
            max_size=max_size,
            per_device_batch_size=batch_size,
            mask_channels=64,
            target_roi_scale=2,
            num_fcn_convs=2,
            **fpn_options(max_size),
            **COMMON,
        )
