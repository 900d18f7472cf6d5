"""The command line: ``rpn-target COMMAND``, or ``python -m rpn_target COMMAND``."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import signal
import sys
from typing import Sequence

from ..report import ReportError, visible
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
    if arguments.command != "run":  # whose script has its own ways
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # names may be in letters that it lacks
                stream.reconfigure(errors="backslashreplace")
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if arguments.command == "run":  # it is the script's
            raise
        # Whoever reads the output has enough of it, as `head` does.
        _drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        if arguments.command == "run" or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _drop_output()
        message = f"cannot write {error.filename or 'the output'}: {error.strerror}"
    except (CommandError, ReportError) as error:
        message = str(error)
    print(f"rpn-target {arguments.command}: {visible(message)}", file=sys.stderr)
    return 2


def _drop_output() -> None:
    """Write what is still to be printed nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
