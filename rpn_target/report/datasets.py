"""Opening a dataset named on the command line."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from ..cli.dataset_options import COCO_SPLIT, check_dataset_arguments
from ..cli.main import CommandError

__all__ = ["open_dataset"]

PHOTOS = "examples/photos"


def open_dataset(arguments: argparse.Namespace):
    """Open a dataset.

    Returns
    -------
    rpn_target.report.source.Source

    Raises
    ------
    CommandError
        If it is not where it should be, cannot be read, or has no image, or if an argument is
        for other datasets.
    """
    check_dataset_arguments(arguments)
    classes = None
    if arguments.classes is not None:
        classes = [name.strip().lower() for name in arguments.classes.split(",") if name.strip()]
    kind = arguments.dataset
    try:
        source = _OPEN[kind](arguments, classes)
    except _UNREADABLE as error:
        lines = str(error).splitlines() or [""]
        # MXNet puts a stack trace first and the message last.
        message = " ".join(lines[-1 if isinstance(error, RuntimeError) else 0].split())
        where = f" {arguments.root}" if arguments.root else ""
        raise CommandError(
            f"GluonCV cannot read the {kind} dataset{where}: {type(error).__name__}: {message}"
        ) from error
    if not len(source):
        raise CommandError(f"the dataset {source.title} has no image with an object")
    return source


_UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What GluonCV's datasets raise where the files are not as they expect; MXNetError included."""


def _open_voc(arguments, classes):
    root = _folder(arguments.root, "~/.mxnet/datasets/voc")
    splits = [_voc_split(root, name) for name in arguments.split or _voc_splits(root)]
    return _voc(f"voc, {root}", root, splits, classes)


def _open_photos(arguments, classes):
    checkout = Path(__file__).resolve().parents[2]
    for folder in (checkout, Path.cwd()):
        if (folder / PHOTOS / "ImageSets").is_dir():
            return _voc("photos", folder / PHOTOS, [("", "trainval")], classes)
    raise CommandError(
        f"the photos are not part of the installed package; run this in a checkout of the project, "
        f"where {PHOTOS} is"
    )


def _voc(title: str, root: Path, splits, classes):
    from .voc import VOCSource

    return VOCSource(title, str(root), splits, classes)


def _voc_splits(root: Path) -> list[str]:
    """Return the splits to take where none is named."""
    if (root / "ImageSets").is_dir():
        return ["trainval"]
    found = sorted(path.parents[2].name for path in root.glob("*/ImageSets/Main/trainval.txt"))
    if not found:
        raise CommandError(
            f"--root must hold ImageSets/Main/trainval.txt, itself or in a folder such as VOC2007, "
            f"but {root} does not; give --split for another image set"
        )
    return [f"{name}/trainval" for name in found]


def _voc_split(root: Path, split: str):
    """Return GluonCV's (year or subfolder, name) for a split such as 2007/trainval."""
    folder, _, name = split.rpartition("/")
    if folder.isdigit():
        folder = int(folder)
    path = root / (f"VOC{folder}" if isinstance(folder, int) else folder)
    path = path / "ImageSets" / "Main" / f"{name}.txt"
    if not path.is_file():
        raise CommandError(f"--split {split}: no such file: {path}")
    return folder, name


def _open_coco(arguments, classes):
    root = _folder(arguments.root, "~/.mxnet/datasets/coco")
    if importlib.util.find_spec("pycocotools") is None:  # GluonCV would install it by itself
        raise CommandError("COCO datasets need pycocotools; run: pip install pycocotools")
    found = sorted(path.stem for path in (root / "annotations").glob("*.json"))
    splits = arguments.split
    if splits is None:
        splits = [COCO_SPLIT] if COCO_SPLIT in found or len(found) != 1 else found
    for split in splits:
        path = root / "annotations" / f"{split}.json"
        if not path.is_file():
            known = f"; there are: {', '.join(found)}" if found else ""
            raise CommandError(f"--split {split}: no such file: {path}{known}")
    from .coco import COCOSource

    return COCOSource(f"coco, {root}", str(root), splits)


def _open_lst(arguments, classes):
    path = _file(arguments.root, ".lst")
    from .lists import LstSource

    image_root = arguments.image_root or str(path.parent)
    if not Path(image_root).is_dir():
        raise CommandError(f"--image-root: no such folder: {image_root}")
    return LstSource(f"lst, {path}", str(path), image_root, arguments.absolute, classes)


def _open_rec(arguments, classes):
    path = _file(arguments.root, ".rec")
    if not path.with_suffix(".idx").is_file():
        raise CommandError(f"--root: {path} needs its index {path.with_suffix('.idx')}")
    from .lists import RecordSource

    return RecordSource(f"rec, {path}", str(path), arguments.absolute, classes)


def _folder(root, default: str) -> Path:
    path = Path(root or default).expanduser()
    if not path.is_dir():
        raise CommandError(f"--root: no such folder: {path}")
    return path


def _file(root, suffix: str) -> Path:
    if root is None:
        raise CommandError(f"--root must be given: the {suffix} file")
    path = Path(root).expanduser()
    if path.is_dir():
        raise CommandError(f"--root must be the {suffix} file, but {path} is a folder")
    if not path.is_file():
        raise CommandError(f"--root: no such file: {path}")
    return path


_OPEN = {
    "voc": _open_voc, "coco": _open_coco, "lst": _open_lst, "rec": _open_rec,
    "photos": _open_photos,
}  # fmt: skip
