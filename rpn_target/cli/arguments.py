"""The arguments of ``inspect`` and ``show``, and what they name: dataset, anchors, settings."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import warnings
from pathlib import Path

from ..core.settings import LOW_QUALITY_MATCHES, TargetSettings
from ..report.anchor_scheme import BASE_SIZE, AnchorScheme, Recipe
from ..report.datasets import COCOSource, LstSource, RecordSource, VOCSource
from ..report.source import Source
from .main import CommandError

__all__ = [
    "add_dataset_arguments",
    "add_scheme_arguments",
    "add_setting_arguments",
    "add_sweep_argument",
    "check_dataset_arguments",
    "open_dataset",
    "open_scheme",
    "settings_of",
]

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


PHOTOS = "examples/photos"


def open_dataset(arguments: argparse.Namespace) -> Source:
    """Open a dataset.

    Raises
    ------
    CommandError, ReportError
        If it is not where it should be, cannot be read, or has no image, or if an argument is
        for other datasets.
    """
    check_dataset_arguments(arguments)
    classes = None
    if arguments.classes is not None:
        classes = [name.strip().lower() for name in arguments.classes.split(",") if name.strip()]
    source = _OPEN[arguments.dataset](arguments, classes)
    if not len(source):
        raise CommandError(f"the dataset {source.title} has no image with an object")
    return source


def _open_voc(arguments: argparse.Namespace, classes: list[str] | None) -> Source:
    root = _folder(arguments.root, "~/.mxnet/datasets/voc")
    splits = [_voc_split(root, name) for name in arguments.split or _voc_splits(root)]
    return VOCSource(f"voc, {root}", str(root), splits, classes)


def _open_photos(arguments: argparse.Namespace, classes: list[str] | None) -> Source:
    checkout = Path(__file__).resolve().parents[2]
    for folder in (checkout, Path.cwd()):
        if (folder / PHOTOS / "ImageSets").is_dir():
            return VOCSource("photos", str(folder / PHOTOS), [("", "trainval")], classes)
    raise CommandError(
        f"the photos are not part of the installed package; run this in a checkout of the project, "
        f"where {PHOTOS} is"
    )


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


def _voc_split(root: Path, split: str) -> tuple[int | str, str]:
    """Return GluonCV's (year or subfolder, name) for a split such as 2007/trainval."""
    folder, _, name = split.rpartition("/")
    is_year = folder.isdigit()
    path = root / (f"VOC{int(folder)}" if is_year else folder)
    path = path / "ImageSets" / "Main" / f"{name}.txt"
    if not path.is_file():
        raise CommandError(f"--split {split}: no such file: {path}")
    return int(folder) if is_year else folder, name


def _open_coco(arguments: argparse.Namespace, classes: list[str] | None) -> Source:
    root = _folder(arguments.root, "~/.mxnet/datasets/coco")
    if importlib.util.find_spec("pycocotools") is None:  # GluonCV would install it by itself
        raise CommandError("COCO datasets need pycocotools; run: pip install pycocotools")
    folders = (root / "annotations", root)
    found = next(filter(None, ([path.stem for path in one.glob("*.json")] for one in folders)), [])
    found.sort()
    splits = arguments.split
    if splits is None:
        splits = [COCO_SPLIT] if COCO_SPLIT in found or len(found) != 1 else found
    for split in splits:
        if split not in found:
            known = f"; there are: {', '.join(found)}" if found else ""
            path = folders[0] / f"{split}.json"
            raise CommandError(f"--split {split}: no such file: {path}{known}")
    return COCOSource(f"coco, {root}", str(root), splits)


def _open_lst(arguments: argparse.Namespace, classes: list[str] | None) -> Source:
    path = _file(arguments.root, ".lst")
    image_root = arguments.image_root or str(path.parent)
    if not Path(image_root).is_dir():
        raise CommandError(f"--image-root: no such folder: {image_root}")
    return LstSource(f"lst, {path}", str(path), image_root, arguments.absolute, classes)


def _open_rec(arguments: argparse.Namespace, classes: list[str] | None) -> Source:
    path = _file(arguments.root, ".rec")
    if not path.with_suffix(".idx").is_file():
        raise CommandError(f"--root: {path} needs its index {path.with_suffix('.idx')}")
    return RecordSource(f"rec, {path}", str(path), arguments.absolute, classes)


def _folder(root: str | None, default: str) -> Path:
    path = Path(root or default).expanduser()
    if not path.is_dir():
        raise CommandError(f"--root: no such folder: {path}")
    return path


def _file(root: str | None, suffix: str) -> Path:
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


# GluonCV's published Faster R-CNN networks with one feature map: the default.
STRIDES, SCALES, RATIOS = (16,), (2, 4, 8, 16, 32), (0.5, 1, 2)
SHORT, MAX_SIZE = (600,), 1000


def add_scheme_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `open_scheme` reads."""
    group = parser.add_argument_group(
        "anchors", "a GluonCV network by name, or a lattice by its numbers"
    )
    group.add_argument(
        "--network", metavar="NAME",
        help="such as faster_rcnn_fpn_resnet50_v1b_coco; built without weights",
    )  # fmt: skip
    group.add_argument(
        "--strides", type=_whole, nargs="+", metavar="N",
        help="pixels between cells, one per level (default: 16)",
    )  # fmt: skip
    group.add_argument(
        "--scales", type=_numbers, nargs="+", metavar="X",
        help="anchor sizes in units of --base-size; with several levels one per level, or several "
        "joined by commas (default: 2 4 8 16 32)",
    )  # fmt: skip
    group.add_argument(
        "--ratios", type=_numbers, nargs="+", metavar="X",
        help="height over width, at every level (default: 0.5 1 2)",
    )  # fmt: skip
    group.add_argument(
        "--base-size", type=_number, metavar="PX",
        help=f"side of the anchor of scale 1 (default: {BASE_SIZE})",
    )  # fmt: skip
    group.add_argument(
        "--short", type=_whole, nargs="+", metavar="PX",
        help="resize the shorter side of images to this; two numbers are a range to draw from "
        f"(default: the network's, or {SHORT[0]})",
    )  # fmt: skip
    group.add_argument(
        "--max-size", type=_whole, metavar="PX",
        help=f"but the longer side to this at most (default: the network's, or {MAX_SIZE})",
    )  # fmt: skip


def add_sweep_argument(group: argparse._ArgumentGroup) -> None:
    """Add ``--sweep-short``."""
    group.add_argument(
        "--sweep-short", type=_whole, nargs="+", metavar="PX",
        help="also report the shares at each of these shorter sides, with --max-size changed in "
        "proportion",
    )  # fmt: skip


def _number(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, but got {text}")
    return int(value) if value.is_integer() else value


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {text}")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_number(part) for part in text.split(","))


for _type, _name in ((_number, "number"), (_whole, "whole number"), (_numbers, "number")):
    _type.__name__ = _name  # argparse says "invalid NAME value"


def open_scheme(arguments: argparse.Namespace) -> AnchorScheme:
    """Return the anchors the arguments ask for.

    Raises
    ------
    CommandError
        If there is no such network, or the numbers do not fit together.
    """
    short = tuple(arguments.short) if arguments.short else None
    if short and (len(short) > 2 or short[0] > short[-1]):
        raise CommandError(f"--short must be one number, or two that ascend, but got {short}")
    names = ("strides", "scales", "ratios", "base_size")
    given = [name for name in names if getattr(arguments, name) is not None]
    if arguments.network is None:
        recipe = _recipe(*(getattr(arguments, name) for name in names))
        title = "as given" if given else "those of GluonCV's networks with one feature map"
        max_size = arguments.max_size or MAX_SIZE
        if not recipe.is_valid():
            raise CommandError(
                f"anchors must be at least a pixel wide and high, but {recipe.arguments()} makes "
                "smaller ones"
            )
        return AnchorScheme.of_recipe(title, recipe, short or SHORT, max_size)
    scheme = _of_network(arguments.network, short, arguments.max_size)
    return _with_anchors(scheme, arguments) if given else scheme


def _with_anchors(scheme: AnchorScheme, arguments: argparse.Namespace) -> AnchorScheme:
    """Return a network's scheme with other scales and ratios, as `set_anchors` gives it."""
    strides = tuple(int(level.stride) for level in scheme.levels)
    if arguments.strides is not None and tuple(arguments.strides) != strides:
        raise CommandError(
            f"--network {arguments.network} has strides {' '.join(map(str, strides))}; leave out "
            "--strides, or --network"
        )
    old = scheme.recipe
    if old is None and (arguments.scales is None or arguments.ratios is None):
        raise CommandError(
            f"--network {arguments.network} has no plain scales and ratios; give both --scales "
            "and --ratios"
        )
    scales = list(old.scales) if old is not None else None
    ratios: list[tuple[float, ...]] | None = None
    if old is not None:
        ratios = [(ratio,) for ratio in old.ratios]
    recipe = _recipe(
        list(strides),
        arguments.scales or scales,
        arguments.ratios or ratios,
        arguments.base_size,
    )
    if not recipe.is_valid():
        raise CommandError(
            f"anchors must be at least a pixel wide and high, but {recipe.arguments()} makes "
            "smaller ones"
        )
    return scheme.with_recipe(recipe)


def _recipe(
    strides: list[int] | None,
    scales: list[tuple[float, ...]] | None,
    ratios: list[tuple[float, ...]] | None,
    base_size: float | None,
) -> Recipe:
    strides = strides or list(STRIDES)
    scales = scales or [(scale,) for scale in SCALES]
    if len(strides) == 1:
        scales = [tuple(scale for part in scales for scale in part)]
    elif len(scales) != len(strides):
        raise CommandError(
            f"--scales must be one per level (several for a level are joined by commas), but "
            f"{len(strides)} --strides came with {len(scales)}"
        )
    elif len({len(level) for level in scales}) != 1:
        raise CommandError("--scales must be as many for every level, as GluonCV's networks want")
    if ratios:
        given = tuple(ratio for part in ratios for ratio in part)
    return Recipe(
        tuple(strides), base_size or BASE_SIZE, tuple(scales), given if ratios else RATIOS
    )


def _of_network(name: str, short: tuple[int, ...] | None, max_size: int | None) -> AnchorScheme:
    from gluoncv.model_zoo import get_model, get_model_list

    models = [model for model in get_model_list() if "rcnn" in model]
    known = [model for model in models if not model.startswith("custom_")]
    if name.lower() in get_model_list() and name.lower() not in known:
        raise CommandError(
            f"--network {name}: this is no R-CNN network that its name alone can build; give its "
            "anchors as --strides, --scales, --ratios and --base-size"
        )
    if name.lower() not in known:
        close = difflib.get_close_matches(name.lower(), known, 3) or sorted(known)[:3]
        raise CommandError(
            f"--network {name}: GluonCV has no such network; there are {', '.join(close)}, ..."
        )
    # Names that end so want the classes of a head that no anchor depends on.
    classes = {"classes": ["object"]} if name.lower().endswith("_custom") else {}
    try:
        with warnings.catch_warnings():
            # Of the type of a network's input, and of the number of devices to train on.
            warnings.simplefilter("ignore", UserWarning)
            net = get_model(name, pretrained=False, pretrained_base=False, **classes)
    except (ImportError, LookupError, TypeError, ValueError) as error:
        raise CommandError(f"GluonCV cannot build {name}: {error}") from error
    return AnchorScheme.of_network(f"those of {name}", net, short, max_size)


DEFAULTS = TargetSettings()
NUMBERS = {
    "pos_iou_thresh": (float, "an anchor is positive from this IoU on"),
    "neg_iou_thresh": (float, "and negative below this"),
    "num_sample": (int, "anchors kept per image"),
    "pos_ratio": (float, "share of them that may be positive"),
    "allowed_border": (float, "pixels an anchor may stick out of the image"),
}


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `settings_of` reads."""
    group = parser.add_argument_group("rule", "settings of matching and sampling, as in GluonCV")
    for name, (kind, text) in NUMBERS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", type=kind, default=getattr(DEFAULTS, name),
            metavar="N" if kind is int else "X",
            help=f"{text} (default: %(default)s)",
        )  # fmt: skip
    group.add_argument(
        "--low-quality-matches", choices=LOW_QUALITY_MATCHES,
        default=DEFAULTS.low_quality_matches,
        help="what becomes of an object's best anchor below --pos-iou-thresh: positive if not "
        "below --neg-iou-thresh (gluoncv, the default), positive anyway, or as any other",
    )  # fmt: skip


def settings_of(arguments: argparse.Namespace) -> TargetSettings:
    """Return the settings.

    Raises
    ------
    CommandError
        If one is out of range.
    """
    names = (*NUMBERS, "low_quality_matches")
    try:
        return TargetSettings(**{name: getattr(arguments, name) for name in names})
    except ValueError as error:
        raise CommandError(str(error)) from error
