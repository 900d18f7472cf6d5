"""The command line: ``rpn-target COMMAND``, or ``python -m rpn_target COMMAND``."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from typing import Sequence

from ..report import ReportError
from ..version import __version__

__all__ = ["main"]

COMMANDS = ("bench", "inspect", "run", "show")
EXAMPLES = """\
examples:
  rpn-target inspect --dataset photos --html report.html
  rpn-target run train_faster_rcnn.py --dataset voc

rpn-target COMMAND --help tells more of each.
"""


class CommandError(Exception):
    """Something the user can mend: printed as one line, exit status 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        Exit status: 0, or 2 for arguments that cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="rpn-target",
        description="RPN targets for GluonCV: measure them, look at them, swap them in.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rpn_target {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f".{name}", __package__)
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(command)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if arguments.command == "run":  # it is the script's
            raise
        # Whoever reads the output has enough of it, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (CommandError, ReportError) as error:
        print(f"rpn-target {arguments.command}: {error}", file=sys.stderr)
        return 2
