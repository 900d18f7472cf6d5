"""The options that name a dataset."""

from __future__ import annotations

import argparse

from .main import CommandError

__all__ = ["COCO_SPLIT", "add_dataset_arguments", "check_dataset_arguments"]

DATASETS = ("voc", "coco", "lst", "rec", "photos")
COCO_SPLIT = "instances_train2017"
# Which datasets each option is for.
TAKEN_BY = {
    "root": ("voc", "coco", "lst", "rec"),
    "split": ("voc", "coco"),
    "image_root": ("lst",),
    "classes": ("voc", "lst", "rec", "photos"),
    "absolute": ("lst", "rec"),
}


def add_dataset_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the arguments that `open_dataset` reads."""
    group = parser.add_argument_group("dataset")
    group.add_argument(
        "--dataset", choices=DATASETS, required=required,
        help="format, read by GluonCV's own dataset class; photos are the six that come with this "
        "project",
    )  # fmt: skip
    group.add_argument(
        "--root", metavar="PATH",
        help="folder of a voc or coco dataset (default: ~/.mxnet/datasets/voc or coco), or the "
        ".lst or .rec file",
    )  # fmt: skip
    group.add_argument(
        "--split", action="append", metavar="NAME",
        help="voc: 2007/trainval, or trainval where --root itself holds Annotations (default: "
        f"trainval of what is there); coco: a file in annotations (default: {COCO_SPLIT}, or the "
        "only one); may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--image-root",
        metavar="DIR",
        help="lst: folder that the image paths start from (default: where the .lst file is)",
    )
    group.add_argument(
        "--classes", metavar="A,B,...",
        help="voc and photos: only objects of these classes (default: all); lst and rec: names of "
        "classes 0, 1, ...",
    )  # fmt: skip
    group.add_argument(
        "--absolute",
        action="store_true",
        help="lst and rec: boxes are in pixels, not in shares of the image",
    )


def check_dataset_arguments(arguments: argparse.Namespace) -> None:
    """Make sure that no option is given that the dataset, if any, has no use for.

    Raises
    ------
    CommandError
        If one is.
    """
    for name, kinds in TAKEN_BY.items():
        if not getattr(arguments, name) or arguments.dataset in kinds:
            continue
        flag = f"--{name.replace('_', '-')}"
        if arguments.dataset is None:
            raise CommandError(f"{flag} is for a --dataset")
        raise CommandError(f"{flag} is for {' and '.join(kinds)}, not for {arguments.dataset}")
