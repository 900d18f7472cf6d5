"""``rpn-target show``: one image with its objects and the anchors kept for them."""

from __future__ import annotations

import argparse
import io
import os

from ..report import visible
from .arguments import (
    add_dataset_arguments,
    add_scheme_arguments,
    add_setting_arguments,
    check_dataset_arguments,
    open_dataset,
    open_scheme,
    settings_of,
)
from .main import CommandError
from .output import check_output, write_output

HELP = "draw one image with its objects and the anchors kept for them"
DESCRIPTION = """\
Draw one image as the network sees it: its objects, the positive and negative
anchors that a training step would keep, the ignore band as a count per level,
and in red the objects that no anchor stands for. The same is printed as text.

examples:
  rpn-target show --dataset photos --index 5 --out rocket.png
  rpn-target show --image street.jpg --box 10 20 110 220 --box 300 40 380 90
  rpn-target show --dataset voc --root VOCdevkit \\
      --network faster_rcnn_fpn_resnet50_v1b_coco

Exit status: 0, or 2 if the arguments or the image cannot be used."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.usage = (
        "%(prog)s --image FILE [--box XMIN YMIN XMAX YMAX ...] [option ...]\n"
        "       %(prog)s --dataset FORMAT [--root PATH] [--index I] [option ...]"
    )
    group = parser.add_argument_group("image", "a file, or one of a dataset")
    group.add_argument("--image", metavar="FILE", help="an image")
    group.add_argument(
        "--box", action="append", nargs=4, type=float, dest="boxes",
        metavar=("XMIN", "YMIN", "XMAX", "YMAX"),
        help="an object in it, in pixels from the image's corner; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--index", type=int, metavar="I", help="number of the dataset's image (default: 0)"
    )
    add_dataset_arguments(parser, required=False)
    add_scheme_arguments(parser)
    add_setting_arguments(parser)
    group = parser.add_argument_group("picture")
    group.add_argument(
        "--out", default="targets.png", metavar="FILE",
        help="where to write; the ending says the format (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--seed", type=int, default=0, metavar="N",
        help="of the draw: the kept anchors are GluonCV's after np.random.seed(N) (default: 0)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Draw an image."""
    from ..report.datasets import FileSource
    from ..report.one_image import look_at, portrait_text, save_portrait
    from ..report.source import BrokenItem, Source
    from ..report.workers import Job

    settings = settings_of(arguments)
    if (arguments.image is None) == (arguments.dataset is None):
        raise CommandError("give either --image FILE (and its objects as --box) or --dataset")
    if not 0 <= arguments.seed < 2**32:
        raise CommandError(f"--seed must be in [0, 2**32), but got {arguments.seed}")
    kind = _check_format(arguments.out)
    check_output(arguments.out)
    if arguments.image is not None:
        if arguments.index is not None:
            raise CommandError("--index is the number of an image of a --dataset, not of a file")
        check_dataset_arguments(arguments)
        source: Source = FileSource(arguments.image, arguments.boxes or [])
    else:
        if arguments.boxes:
            raise CommandError("--box is for --image; a --dataset has boxes of its own")
        source = open_dataset(arguments)
    index = arguments.index or 0
    if not 0 <= index < len(source):
        raise CommandError(f"--index must be in [0, {len(source)}), but got {index}")
    try:
        one = look_at(Job(source, open_scheme(arguments), settings), index, arguments.seed)
    except BrokenItem as error:
        name, reason = source.name(index), str(error)
        raise CommandError(reason if name in reason else f"{name}: {reason}") from error
    content = io.BytesIO()
    save_portrait(one, content, kind)
    write_output(arguments.out, content.getvalue())
    print(f"{portrait_text(one)}\n\nWritten: {visible(arguments.out)}")
    return 0


def _check_format(path: str) -> str:
    """Return the format that the ending of a file says, which is PNG without one."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = sorted(FigureCanvasBase.get_supported_filetypes())
    kind = os.path.splitext(path)[1][1:].lower() or "png"
    if kind not in known:
        raise CommandError(
            f"cannot write {path}: Format {kind!r} is not supported (it must be one of "
            f"{', '.join(known)})"
        )
    return kind
