"""The datasets of train_mask_rcnn.py: images, labels and outlines, in COCO format."""

from __future__ import annotations

import os

from _data import open_coco
from _options import UsageError
from gluoncv.data import COCOInstance
from gluoncv.data.batchify import MaskRCNNTrainBatchify as GluonCVBatchify
from gluoncv.data.transforms.presets.rcnn import MaskRCNNDefaultTrainTransform

import rpn_target

PHOTOS_CLASSES = ("coin", "cup", "eye", "nose", "rocket", "saucer", "spoon")

# (root, splits) where the command line names none.
DEFAULTS = {
    "photos": (
        os.path.join(os.path.dirname(os.path.abspath(__file__)), "photos"),
        ("instances_photos",),
    ),
    "coco": ("~/.mxnet/datasets/coco", ("instances_train2017",)),
}

# What --transform chooses from: a transform and the batchify function that goes with it.
IMPLEMENTATIONS = {
    "gluoncv": (MaskRCNNDefaultTrainTransform, GluonCVBatchify),
    "rpn_target": (rpn_target.MaskRCNNTrainTransform, rpn_target.MaskRCNNTrainBatchify),
}


def open_instances(kind, root=None, splits=None, classes=None):
    """Open an instance segmentation dataset.

    Parameters
    ----------
    kind : {'photos', 'coco'}
        The photographs beside this script, or a dataset in COCO format.
    root : str, optional
        Folder of the dataset.
    splits : sequence of str, optional
        ``NAME`` for ``root/annotations/NAME.json``.
    classes : sequence of str, optional
        Names of the classes, where they are not those of COCO.

    Returns
    -------
    gluon.data.Dataset
        Items are an image, its label (M, 5): corner box, class; and M lists of polygons.

    Raises
    ------
    UsageError
        If there is no such dataset, or nothing in it.
    """
    root, splits = os.path.expanduser(root or DEFAULTS[kind][0]), splits or DEFAULTS[kind][1]
    if not os.path.isdir(root):
        raise UsageError(f"--root must be a folder, but there is none at {root}")
    if kind == "photos":
        classes = classes or PHOTOS_CLASSES
    # GluonCV asks the class, not the instance, for its classes.
    classes = list(classes or COCOInstance.CLASSES)
    dataset = open_coco(type("Instances", (COCOInstance,), {"CLASSES": classes}), root, splits)
    if not len(dataset):
        raise UsageError(f"--splits must list images with objects, but {root} has none there")
    return dataset
