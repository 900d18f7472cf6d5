"""The command line of the launchers."""

from __future__ import annotations

import argparse
import pathlib

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "train_faster_rcnn.py"


def parse(description, option, argv=None):
    """Return the parser, the number of workers, and the script with its arguments.

    Parameters
    ----------
    description : str
        What the launcher does.
    option : list of str
        Tells the script which engine it is on.
    argv : list of str, optional
        The command line; that of the process by default.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s [-h] [--workers N] [--script FILE] [arguments ...]",
    )
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--script",
        default=str(SCRIPT),
        metavar="FILE",
        help=f"what to run; it must know {' '.join(option)} (default: {SCRIPT.name})",
    )
    options, arguments = parser.parse_known_args(argv)
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, but got {options.workers}")
    return parser, options.workers, [options.script, *arguments, *option]
