"""What today's NumPy and Python lack for MXNet and GluonCV, put back before MXNet is imported.

MXNet 1.6 to 1.9.1 and GluonCV read three names that NumPy 1.24 removed from its namespace:

=========== ============ ===================================================================
name        stands for   read by
=========== ============ ===================================================================
np.bool     bool         ``import mxnet``; boolean indexing and dtypes of ``mxnet.numpy``
np.float    float        GluonCV's RPN anchors, COCO detection metric, tracking transforms
np.int      int          GluonCV's HRNet and KITTI; ``mxnet.test_utils``
=========== ============ ===================================================================

Each stood for the Python type of the same name, so putting it back cannot change a result.
Python 3.12 removed ``distutils``, which both packages import and setuptools still provides.
"""

import importlib
import sys

import numpy as np

__all__ = ["restore_numpy_aliases", "require_distutils"]

# Written out, not looked up in builtins: these three and no others.
_ALIASES = {"bool": bool, "float": float, "int": int}

# NumPy up to 1.23 answers to the names by itself, with a DeprecationWarning from 1.20 on.
_FIRST_NUMPY_WITHOUT_ALIASES = (1, 24)
_FIRST_NUMPY_UNSUPPORTED = (2, 0)
_FIRST_PYTHON_WITHOUT_DISTUTILS = (3, 12)


def restore_numpy_aliases() -> None:
    """Give NumPy 1.24 to 1.26 the aliases MXNet and GluonCV still use.

    Must run before MXNet is imported. Does nothing on an older NumPy, which has the aliases, and
    leaves alone a name that is there already. Calling it again changes nothing.

    Raises
    ------
    ImportError
        On NumPy 2, where ``np.bool`` is another type and MXNet does not run.
    """
    version = _numpy_version()
    if version >= _FIRST_NUMPY_UNSUPPORTED:
        raise ImportError(
            "rpn_target needs NumPy 1.x (1.21 to 1.26), because Apache MXNet does, but NumPy "
            f"{np.__version__} is installed; run: pip install 'numpy<2'"
        )
    if version < _FIRST_NUMPY_WITHOUT_ALIASES:
        return
    for name, python_type in _ALIASES.items():
        # Not hasattr: asking NumPy 1.24 for a removed name can emit a FutureWarning.
        if name not in vars(np):
            setattr(np, name, python_type)


def require_distutils() -> None:
    """Make sure that MXNet and GluonCV will find ``distutils``.

    Does nothing before Python 3.12, which brings its own.

    Raises
    ------
    ImportError
        On Python 3.12 or later if setuptools, which provides ``distutils``, is not installed.
    """
    if sys.version_info < _FIRST_PYTHON_WITHOUT_DISTUTILS:
        return
    try:
        importlib.import_module("distutils")
    except ImportError:
        # setuptools usually hooks its distutils in when Python starts, but where site-packages
        # comes from PYTHONPATH it does so only once it is imported.
        try:
            importlib.import_module("setuptools")
            importlib.import_module("distutils")
        except ImportError as error:
            raise ImportError(
                "rpn_target needs setuptools on Python 3.12 and later, because Apache MXNet and "
                "GluonCV import distutils, but Python "
                f"{sys.version.split()[0]} has neither; run: pip install setuptools"
            ) from error


def _numpy_version() -> tuple:
    """Return NumPy's (major, minor)."""
    return tuple(int(part) for part in np.__version__.split(".")[:2])
