"""``rpn-target bench``: GluonCV and this package side by side."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

from .main import CommandError
from .output import PICTURE_FORMATS, check_output, write_output

HELP = "measure this package against the installed GluonCV"
DESCRIPTION = """\
Run GluonCV and this package in turns, in one process, on the same seeded data, and print four
tables in Markdown:

* a summary, for whole DataLoaders with 8 objects in an image and two worker processes;
* all DataLoaders: images per second where a batch is used in place, and where it is read once into
  memory that exists, as a copy to a GPU reads it; what the main process spends on an image
  (without workers: all that an image costs) and how much it grows;
* the hand-over of ready-made batches from workers that compute nothing, in MXNet's shared memory
  and in this package's;
* single steps: median times, their ratio, the time drawing from a seeded Generator takes (which is
  faster, and not compared), the time of one pass over the input and of one fill of the output, and
  the peak memory, outputs included.

Results of both sides are compared as they are measured: if they differ in one bit, the command
fails with status 1. It takes about five minutes on two processors, with --quick one, and wants them
for itself.

example:
  rpn-target bench --quick --plot bench.png
"""
BOXES = (1, 8, 30, 100)
WORKERS = (0, 2)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--quick", action="store_true", help="only M = 8 and few repeats")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--plot", metavar="FILE", help="draw the times into FILE (PNG, PDF, SVG)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for."""
    check_output(arguments.json)
    check_output(arguments.plot, PICTURE_FORMATS)
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise CommandError("bench needs tqdm: pip install 'rpn-target[examples]'") from error
    if arguments.plot:
        try:
            import matplotlib  # noqa: F401  now, not after the work
        except ImportError as error:
            raise CommandError("--plot needs matplotlib: pip install matplotlib") from error

    from ..benchmark.measure import ResultsDiffer
    from ..benchmark.table import Results

    into: dict[str, list] = {"step": [], "loader": [], "hand-over": []}
    progress = tqdm(unit="measurement", file=sys.stderr)
    try:
        for kind, description, measure in _measurements(arguments.quick):
            progress.set_description(description)
            measured = measure()
            into[kind].extend(measured if kind == "loader" else [measured])
            progress.update()
    except ResultsDiffer as error:
        progress.close()
        print(f"rpn-target bench: {error}", file=sys.stderr)
        return 1
    progress.close()
    results = Results(*into.values())
    if arguments.json:
        write_output(arguments.json, results.as_json() + "\n")
    if arguments.plot:
        kind = Path(arguments.plot).suffix.lower().lstrip(".")
        write_output(arguments.plot, results.as_picture(kind))
    print(results.as_text())
    return 0


def _measurements(quick: bool) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Yield what is measured: its kind, what to call it, and the function that does it."""
    from functools import partial

    from ..benchmark.cases import CASES, MASK_CASE, make_case
    from ..benchmark.loaders import measure_hand_over, measure_loaders
    from ..benchmark.steps import make_steps, measure_step

    repeats = 4 if quick else 8
    for case in CASES:
        case = make_case(case)
        for count in (8,) if quick else BOXES:
            for step in make_steps(case, count):
                name = f"{step.name}, {case.name}, M = {count}"
                yield "step", name, partial(measure_step, step, repeats)
            for workers in WORKERS:
                name = f"loaders, {case.name}, M = {count}, {workers} workers"
                batches = (6, 12) if quick else (5 if count == 100 else 10, 40)
                yield "loader", name, partial(measure_loaders, case, count, workers, batches)
        for workers in WORKERS[1:] if quick else WORKERS:
            name = f"loaders of JPEG files, {case.name}, {workers} workers"
            batches = (6, 12) if quick else (10, 40)
            yield "loader", name, partial(measure_loaders, case, 8, workers, batches, True)
        yield (
            "hand-over",
            f"hand-over, {case.name}",
            partial(measure_hand_over, case, 30 if quick else 100),
        )
    case = make_case(MASK_CASE)
    for workers in WORKERS[1:] if quick else WORKERS:
        name = f"loaders, {case.name}, {workers} workers"
        batches = (6, 12) if quick else (10, 40)
        yield "loader", name, partial(measure_loaders, case, 8, workers, batches)
