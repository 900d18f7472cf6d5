"""Output files: refused before the work begins if they cannot be written, and never left half."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .main import CommandError

__all__ = ["PICTURE_FORMATS", "check_output", "write_output"]

PICTURE_FORMATS = ("png", "pdf", "svg")


def check_output(path: str | None, formats: tuple[str, ...] | None = None) -> None:
    """Make sure that a file can be written, before the work begins.

    Parameters
    ----------
    path : str, optional
        The file; None is no file.
    formats : tuple of str, optional
        Endings that it may have.

    Raises
    ------
    CommandError
        If its folder does not exist or cannot be written to, if it is a folder itself, or if it
        has another ending.
    """
    if path is None:
        return
    if formats and Path(path).suffix.lower().lstrip(".") not in formats:
        endings = ", ".join(f".{name}" for name in formats)
        raise CommandError(f"cannot write {path}: its name must end in one of {endings}")
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(None, "Is a directory")
        if _is_special(path):
            with open(path, "ab"):
                pass
        else:
            os.remove(_file_beside(path))
    except OSError as error:
        raise _cannot_write(path, error) from error


def write_output(path: str, content: str | bytes) -> None:
    """Write a file: beside its place first, then moved there, so that it is whole or not there.

    Parameters
    ----------
    path : str
        The file. What is there is replaced; a device or a pipe is written to.
    content : str or bytes
        A str is written in UTF-8.

    Raises
    ------
    CommandError
        If it cannot be written, as on a full disk. Nothing new is left behind then.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    beside = None
    try:
        if _is_special(path):
            with open(path, "wb") as file:
                file.write(data)
            return
        beside = _file_beside(path)
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # some file systems tell only now that they are full
        os.chmod(beside, _mode(path))
        os.replace(beside, os.path.realpath(path))
        beside = None
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if beside is not None:
            os.remove(beside)


def _is_special(path: str) -> bool:
    """Return whether a path is a device or a pipe, which nothing can replace."""
    return os.path.exists(path) and not os.path.isfile(path)


def _file_beside(path: str) -> str:
    """Make an empty file in the folder of a path, following links."""
    path = os.path.realpath(path)
    handle, beside = tempfile.mkstemp(".part", ".", os.path.dirname(path))
    os.close(handle)
    return beside


def _mode(path: str) -> int:
    """Return the permissions that a file has, or that a new one gets."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _cannot_write(path: str, error: OSError) -> CommandError:
    return CommandError(f"cannot write {path}: {error.strerror or error}")
