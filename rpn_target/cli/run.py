"""``rpn-target run``: a script as it is, with this package's classes in GluonCV's places."""

from __future__ import annotations

import argparse
import builtins
import importlib.machinery
import io
import multiprocessing.spawn
import os
import pkgutil
import sys
import types
from runpy import _run_module_as_main  # type: ignore[attr-defined]  # what Python itself calls
from typing import Any, Callable

from ..swap.install import install, is_installed
from .main import CommandError

HELP = "run a GluonCV training script with this package swapped in"
DESCRIPTION = """\
Run a script as `python script.py args ...` would, or a module as `python -m module args ...`
would, but with the classes of this package in the places where GluonCV keeps its own: RPN target
sampler and generator, default train transforms of Faster and Mask R-CNN, train batchify classes.
The script needs no change. One line on standard error says what was swapped.

examples:
  rpn-target run train_faster_rcnn.py --dataset voc --network resnet50_v1b
  rpn-target run -m mypackage.train --epochs 26
  horovodrun -np 2 rpn-target run train_mask_rcnn.py --horovod

The exit status is the script's; 2 if there is no such script.
"""
USAGE = """rpn-target run [-h] [--] script.py [args ...]
       rpn-target run [-h] -m module [args ...]"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.usage = USAGE
    # Everything from the script on is the script's. To argparse nothing here is an option, or it
    # would take the script's, each version of Python in its own way.
    parser.prefix_chars = ""
    parser.add_argument(
        "command_line",
        nargs=argparse.REMAINDER,
        metavar="script.py | -m module",
        help="what to run; all arguments behind it are passed on",
    )
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Swap, and run the script or module as the main program."""
    command_line = arguments.command_line
    first = command_line[0] if command_line else ""
    if first in ("-h", "--help"):
        arguments.parser.print_help()
        return 0
    if first == "-m":
        if len(command_line) == 1:
            raise CommandError("-m must be followed by the name of a module")
        execute: Callable[..., None] = _run_module
        what = command_line[1:]
    else:
        what = command_line[1:] if first == "--" else command_line
        if not what:
            raise CommandError("needs a script, or -m and a module; see rpn-target run --help")
        if first.startswith("-") and first != "--":
            raise CommandError(f"unknown option {first}; see rpn-target run --help")
        execute = _run_script
        if not os.access(what[0], os.R_OK):
            raise CommandError(f"cannot read {what[0]}")
    print(f"rpn-target: {install()}", file=sys.stderr, flush=True)
    _reach_spawned()

    # A new module, not a temporary one, which is gone before threads and exit functions are.
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    vars(main).update(__annotations__={}, __builtins__=builtins)
    try:
        execute(*what)
    except SystemExit:
        raise
    except BaseException as error:
        _hide_frames(error)
        raise
    return 0


def _run_script(path: str, *arguments: str) -> None:
    """Do what ``python path arguments ...`` does."""
    sys.argv = [path, *arguments]
    if sys.version_info >= (3, 9):
        path = os.path.join(os.getcwd(), path)
    if pkgutil.get_importer(path) is not None:  # a folder or archive with a __main__.py
        _set_first_path(path)
        _run_module_as_main("__main__", alter_argv=False)
        return
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    names = vars(sys.modules["__main__"])
    names.update(
        __cached__=None,
        __file__=path,
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
    )
    with io.open_code(path) as file:
        source = file.read()
    exec(compile(source, path, "exec", dont_inherit=True), names)


def _run_module(name: str, *arguments: str) -> None:
    """Do what ``python -m name arguments ...`` does."""
    sys.argv = ["-m", *arguments]
    _set_first_path(os.getcwd())
    _run_module_as_main(name)


class _Arrival:
    """Prepares the process it is unpickled in, by importing this package, and by the swap."""

    def __init__(self, with_swap: bool):
        self._with_swap = with_swap

    def __reduce__(self) -> tuple[Callable, tuple[bool]]:
        return _prepare_spawned, (self._with_swap,)


def _prepare_spawned(with_swap: bool) -> None:
    if with_swap:
        install()
    _reach_spawned()


def _reach_spawned() -> None:
    """Have the swap in processes that are spawned, too; forked ones inherit it.

    A spawned process unpickles what it needs before it imports the script once more. Without the
    swap it still needs this package, which restores what MXNet lacks with a recent NumPy.
    """
    prepare = multiprocessing.spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {**prepare(name), "rpn_target": _Arrival(is_installed())}

    multiprocessing.spawn.get_preparation_data = get_preparation_data


def _set_first_path(path: str) -> None:
    """Put a folder where Python has put that of the program it was started with."""
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = path


def _hide_frames(error: BaseException) -> None:
    """Let Python print an uncaught error without the frames of this package.

    To print it here and exit would not do: after KeyboardInterrupt Python ends by the signal.
    """
    hook, trace = sys.excepthook, error.__traceback__
    for _ in range(2):
        trace = trace.tb_next if trace else None

    def print_error(kind: type[BaseException], value: BaseException, whole_trace: Any) -> None:
        if value is error:
            value.__traceback__ = whole_trace = trace
        hook(kind, value, whole_trace)

    sys.excepthook = print_error
