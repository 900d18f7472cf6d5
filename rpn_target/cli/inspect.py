"""``rpn-target inspect``: what the anchors of a network learn from a dataset."""

from __future__ import annotations

import argparse
import json
import random
import sys
from typing import Sequence

from ..report import visible
from .arguments import (
    add_dataset_arguments,
    add_scheme_arguments,
    add_setting_arguments,
    add_sweep_argument,
    open_dataset,
    open_scheme,
    settings_of,
)
from .main import CommandError
from .output import check_output, write_output

HELP = "see what a network's anchors learn from a dataset, before training"
DESCRIPTION = """\
Assign a network's anchors to the objects of a dataset, and report which
objects have an anchor that is good enough, which are never learned, and which
anchors do the work. Nothing is trained, and no image is decoded but those of
the gallery in the page.

examples:
  rpn-target inspect --dataset photos --html report.html
  rpn-target inspect --dataset voc --root VOCdevkit \\
      --network faster_rcnn_resnet50_v1b_voc
  rpn-target inspect --dataset coco --root coco \\
      --network faster_rcnn_fpn_resnet50_v1b_coco --html report.html
  rpn-target inspect --dataset voc --root mine --scales 1 2 4 8 --suggest

Images that cannot be read are named, skipped and counted. Exit status: 0, or 2
if the arguments or the dataset cannot be used."""

INTERRUPTED = 130  # exit status, as a shell has it


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.usage = "%(prog)s --dataset FORMAT [--root PATH] [--html FILE] [option ...]"
    add_dataset_arguments(parser)
    add_scheme_arguments(parser)
    add_setting_arguments(parser)
    group = parser.add_argument_group("report")
    group.add_argument("--json", metavar="FILE", help="write all figures to a file")
    group.add_argument(
        "--html", metavar="FILE", help="write a page with plots and the worst-covered images"
    )
    group.add_argument(
        "--suggest", action="store_true",
        help="search for better scales and ratios, as many, fewer and more, and measure them on "
        "images kept aside",
    )  # fmt: skip
    add_sweep_argument(group)
    group.add_argument(
        "--limit", type=int, metavar="N", help="take N images, drawn at random (default: all)"
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N",
        help="of --limit and --suggest (default: 0)",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=int, metavar="N",
        help="processes (default: one per processor; 0: none besides this one)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Report on a dataset."""
    try:
        return _report(arguments)
    except KeyboardInterrupt:
        print("rpn-target inspect: interrupted", file=sys.stderr)
        return INTERRUPTED


def _report(arguments: argparse.Namespace) -> int:
    from ..report.results import report_figures
    from ..report.suggest import starting_recipe, suggest, sweep
    from ..report.text import report_text
    from ..report.workers import Job, default_workers, summarize

    settings = settings_of(arguments)
    for name, least in (("limit", 1), ("workers", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise CommandError(f"--{name} must be at least {least}, but got {value}")
    for path in (arguments.json, arguments.html):
        check_output(path)
    job = Job(open_dataset(arguments), open_scheme(arguments), settings)
    if arguments.suggest:
        starting_recipe(job.scheme)  # or refuse before the work
    workers = default_workers() if arguments.workers is None else arguments.workers
    indices: Sequence[int] = range(len(job.source))
    if arguments.limit is not None and arguments.limit < len(indices):
        indices = sorted(random.Random(arguments.seed).sample(indices, arguments.limit))

    summary = summarize(job, indices, workers)
    if not summary.images:
        name, reason = summary.broken_names[0]
        raise CommandError(f"no image of {job.source.title} can be used; {name}: {reason}")
    figures = report_figures(job, summary)
    if arguments.sweep_short:
        figures["sweep"] = sweep(job, indices, workers, arguments.sweep_short)
    if arguments.suggest:
        figures["suggestion"] = suggest(job, indices, workers, arguments.seed)
    if arguments.json:
        write_output(arguments.json, json.dumps(figures, indent=2, allow_nan=False) + "\n")
    if arguments.html:
        from ..report.page import report_page  # and matplotlib with it

        write_output(arguments.html, report_page(figures, job.source, summary.poor_images))
    print(report_text(figures))
    written = [visible(path) for path in (arguments.json, arguments.html) if path]
    if written:
        print(f"\nWritten: {', '.join(written)}")
    return 0
