"""``rpn-target bench``: GluonCV and this package side by side."""

from __future__ import annotations

import argparse
import sys

from .main import CommandError

HELP = "measure this package against the installed GluonCV"
DESCRIPTION = """\
Run GluonCV and this package in turns, in one process, on the same seeded data, and print median
times, their ratio, the time drawing from a seeded Generator takes (which is faster, and not
compared), the time it takes just to fill the outputs (the floor), and the peak memory of each
step, outputs included. For whole DataLoaders, print images per second, and what the main process
spends on an image (without workers: all that an image costs) and how much it grows; for an image
and its targets, how long it takes just to write them to shared memory. The results of both sides
are compared as they are measured: if they differ in one bit, the command fails with status 1.

example:
  rpn-target bench --quick --plot bench.png
"""
BOXES = (1, 8, 30, 100)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--quick", action="store_true", help="only M = 8 and few repeats")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--plot", metavar="FILE", help="draw the times into FILE (PNG, PDF, SVG)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise CommandError("bench needs tqdm: pip install 'rpn-target[examples]'") from error

    from ..benchmark.cases import CASES, make_case
    from ..benchmark.limits import measure_limit
    from ..benchmark.loaders import measure_loader
    from ..benchmark.measure import measure
    from ..benchmark.steps import make_steps
    from ..benchmark.table import as_json, as_text, plot

    boxes = (8,) if arguments.quick else BOXES
    repeats = 4 if arguments.quick else 8
    batches = 18 if arguments.quick else 28
    steps, loaders, limits = [], [], []
    progress = tqdm(total=len(CASES) * (len(boxes) * 7 + 1), unit="step", file=sys.stderr)
    try:
        for case in CASES:
            case = make_case(case)
            for count in boxes:
                for step in make_steps(case, count):
                    progress.set_description(f"{step.name}, {case.name}, M = {count}")
                    steps.append(measure(step, repeats))
                    progress.update()
                for workers in (0, 2):
                    progress.set_description(f"DataLoader, {case.name}, {workers} workers")
                    loaders.append(measure_loader(case, count, workers, batches))
                    progress.update()
            progress.set_description(f"shared memory, {case.name}")
            limits.append(measure_limit(case, repeats))
            progress.update()
    except AssertionError as error:
        progress.close()
        print(f"rpn-target bench: {error}", file=sys.stderr)
        return 1
    progress.close()
    print(as_text(steps, loaders, limits))
    if arguments.json:
        _write(arguments.json, as_json(steps, loaders, limits))
    if arguments.plot:
        plot(steps, arguments.plot)
    return 0


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text + "\n")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
