"""Opening the anchors named on the command line."""

from __future__ import annotations

import argparse
import difflib
import warnings

from ..cli.main import CommandError
from .recipe import BASE_SIZE, Recipe, recipe_of
from .scheme import AnchorScheme

__all__ = ["add_scheme_arguments", "open_scheme"]

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


def _numbers(text: str) -> tuple:
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
        try:
            return AnchorScheme.of_recipe(title, recipe, short or SHORT, max_size)
        except ValueError as error:
            raise CommandError(
                f"anchors must be at least a pixel wide and high, but {recipe.arguments()} makes "
                "smaller ones"
            ) from error
    if given:
        raise CommandError(
            f"--network {arguments.network} has anchors of its own; leave out "
            f"--{given[0].replace('_', '-')}, or --network"
        )
    return _of_network(arguments.network, short, arguments.max_size)


def _recipe(strides, scales, ratios, base_size) -> Recipe:
    strides = tuple(strides or STRIDES)
    scales = scales or [(scale,) for scale in SCALES]
    if len(strides) == 1:
        scales = [sum(scales, ())]
    elif len(scales) != len(strides):
        raise CommandError(
            f"--scales must be one per level (several for a level are joined by commas), but "
            f"{len(strides)} --strides came with {len(scales)}"
        )
    elif len({len(level) for level in scales}) != 1:
        raise CommandError("--scales must be as many for every level, as GluonCV's networks want")
    ratios = sum(ratios, ()) if ratios else RATIOS
    return Recipe(strides, base_size or BASE_SIZE, tuple(scales), ratios)


def _of_network(name: str, short, max_size) -> AnchorScheme:
    from gluoncv.model_zoo import get_model, get_model_list

    from ..gluon.network import anchor_levels, feature_map_sizes

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
    levels = anchor_levels(net, not hasattr(net.rpn.anchor_generator, "anchors"))
    if short is None:
        short = net.short if isinstance(net.short, (tuple, list)) else (net.short,)
    return AnchorScheme(
        f"those of {name}", levels, feature_map_sizes(net), short, max_size or net.max_size,
        recipe_of(levels),
    )  # fmt: skip
