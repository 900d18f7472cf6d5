"""What is trained on: the dataset, and the transform of its images."""

from __future__ import annotations

import importlib.util
import os

from _options import UsageError
from gluoncv.data import COCODetection, VOCDetection
from gluoncv.data.batchify import FasterRCNNTrainBatchify as GluonCVBatchify
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform

import rpn_target

PHOTOS_CLASSES = (
    "camera", "cat", "coin", "cup", "eye", "face", "helmet", "nose",
    "person", "rocket", "saucer", "shuttle", "spoon", "tower", "tripod",
)  # fmt: skip

# (root, splits) where the command line names none.
DEFAULTS = {
    "photos": (os.path.dirname(os.path.abspath(__file__)), ("photos/trainval",)),
    "voc": ("~/.mxnet/datasets/voc", ("VOC2007/trainval", "VOC2012/trainval")),
    "coco": ("~/.mxnet/datasets/coco", ("instances_train2017",)),
}

# What --transform chooses from: a transform and the batchify function that goes with it.
IMPLEMENTATIONS = {
    "gluoncv": (FasterRCNNDefaultTrainTransform, GluonCVBatchify),
    "rpn_target": (rpn_target.FasterRCNNTrainTransform, rpn_target.FasterRCNNTrainBatchify),
}


class VOCWithObjects(VOCDetection):
    """A dataset in VOC format, without the images that have no object of the wanted classes."""

    def __init__(self, **kwargs):
        super().__init__(preload_label=True, **kwargs)
        kept = [i for i, label in enumerate(self._label_cache) if len(label)]
        self._items = [self._items[i] for i in kept]
        self._label_cache = [self._label_cache[i] for i in kept]


def open_dataset(kind, root=None, splits=None, classes=None):
    """Open a detection dataset.

    Parameters
    ----------
    kind : {'photos', 'voc', 'coco'}
        The photographs beside this script, or a dataset in VOC or COCO format.
    root : str, optional
        Folder of the dataset.
    splits : sequence of str, optional
        Lists of images: ``FOLDER/NAME`` for ``root/FOLDER/ImageSets/Main/NAME.txt`` (VOC),
        ``NAME`` for ``root/annotations/NAME.json`` (COCO).
    classes : sequence of str, optional
        Names of the classes, where they are not those of the benchmark.

    Returns
    -------
    gluon.data.Dataset
        Items are an image and its label (M, 5+): corner box, class.

    Raises
    ------
    UsageError
        If there is no such dataset, or nothing in it.
    """
    root, splits = root or DEFAULTS[kind][0], splits or DEFAULTS[kind][1]
    root = os.path.expanduser(root)
    if not os.path.isdir(root):
        raise UsageError(f"--root must be a folder, but there is none at {root}")
    if kind == "photos":
        classes = classes or PHOTOS_CLASSES
    if classes and kind != "coco":
        classes = [name.lower() for name in classes]  # as GluonCV does with those in the files
    base = COCODetection if kind == "coco" else VOCWithObjects
    # GluonCV asks the class, not the instance, for its classes.
    dataset_type = type(base.__name__, (base,), {"CLASSES": list(classes or base.CLASSES)})
    if kind == "coco":
        dataset = open_coco(dataset_type, root, splits, use_crowd=False)
    else:
        dataset = _open_voc(dataset_type, root, splits)
    if not len(dataset):
        raise UsageError(f"--splits must list images with objects, but {root} has none there")
    return dataset


def _open_voc(dataset_type, root, splits):
    pairs = []
    for split in splits:
        folder, slash, name = split.rpartition("/")
        if not slash:
            raise UsageError(f"--splits of VOC format must be FOLDER/NAME, but got {split!r}")
        _require_file(os.path.join(root, folder, "ImageSets", "Main", name + ".txt"))
        pairs.append((folder, name))
    return dataset_type(root=root, splits=pairs)


def open_coco(dataset_type, root, splits, **options):
    """Open a dataset in COCO format; raises UsageError if that cannot be."""
    # GluonCV would try to install it.
    if importlib.util.find_spec("pycocotools") is None:
        raise UsageError("a dataset in COCO format needs pycocotools: pip install pycocotools")
    for split in splits:
        _require_file(os.path.join(root, "annotations", split + ".json"))
    try:
        return dataset_type(root=root, splits=list(splits), **options)
    except ValueError as error:
        if "category names" not in str(error):
            raise
        raise UsageError("--classes must be the categories of the dataset, in order") from error


def _require_file(path):
    if not os.path.isfile(path):
        raise UsageError(f"--splits must name files of the dataset, but there is no {path}")


def make_transform(transform_type, net, num_sample):
    """Return the train transform of the network."""
    return transform_type(
        net.short,
        net.max_size,
        net,
        ashape=net.ashape,
        multi_stage=net.num_stages > 1,
        num_sample=num_sample,
    )
