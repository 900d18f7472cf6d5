"""What users' classes that extend GluonCV's read and replace; this package itself needs none of it.

GluonCV's methods read anchors, Symbols, padding functions and the like from their object. A class
that repeats such a method, with a step of its own, finds them here as well.
"""

from __future__ import annotations

import contextlib
import inspect
import random
import sys
from typing import Any, Callable, Iterator

import numpy as np

from ..core.draws import GlobalDraws
from ..core.feature_maps import FeatureMapSizes

__all__ = [
    "FeatureMapSymbol",
    "feature_map_symbols",
    "is_assigned",
    "is_users",
    "on_access",
    "patched",
    "seeded_globals",
    "users_class",
]

RPN_MODULE = "gluoncv.model_zoo.rcnn.rpn.rpn_target"
"""Where GluonCV keeps, and looks for, the classes of the sampler and the generator."""


class on_access:
    """Decorate a method: an attribute of its name, made when it is read first.

    What is made is kept with the object, but does not travel in its pickles. Anything assigned to
    the name, or defined for it in a subclass, takes its place.
    """

    def __init__(self, make: Callable[[Any], Any]):
        self._make = make
        self.__doc__ = make.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        made = vars(instance).setdefault("_made_on_access", _Unpickled())
        name = self._make.__name__
        if name not in made:
            made[name] = self._make(instance)
        return made[name]


class _Unpickled(dict):
    """A dictionary that is empty in a pickle and in a copy."""

    def __reduce__(self) -> tuple:
        return _Unpickled, ()


def is_assigned(instance: Any, name: str) -> bool:
    """Tell whether somebody has replaced an attribute that `on_access` would make."""
    return not isinstance(inspect.getattr_static(instance, name), on_access)


def users_class(name: str) -> Any:
    """Return the class that a user has put under the name of one of GluonCV's, or None."""
    found = getattr(sys.modules.get(RPN_MODULE), name, None)
    return found if is_users(found) else None


def is_users(kind: Any) -> bool:
    """Tell whether a class, or the way it is made or called, is neither GluonCV's nor ours."""
    parts = [kind, *(getattr(kind, name, None) for name in ("__init__", "__call__", "forward"))]
    return any(map(_is_strange, parts))


def patched(kind: type) -> list[str]:
    """Return the names of the methods of a class that somebody else has put there."""
    return [
        name
        for name, value in vars(kind).items()
        if inspect.isroutine(getattr(value, "__func__", value)) and _is_strange(value)
    ]


def _is_strange(part: Any) -> bool:
    """Tell whether a class or method is from a module of neither GluonCV nor MXNet nor ours."""
    module = getattr(getattr(part, "__func__", part), "__module__", None) or __name__
    return module.split(".")[0] not in ("gluoncv", "mxnet", "rpn_target")


@contextlib.contextmanager
def seeded_globals(draws: Any) -> Iterator[None]:
    """Have a user's code, which draws from ``np.random`` and ``random``, draw from ``draws``.

    Both are seeded, and put back at the end; with `GlobalDraws` they stay as they are.
    """
    if isinstance(draws, GlobalDraws):
        yield
        return
    states = np.random.get_state(), random.getstate()
    seed = draws.integer(0, 2**32 - 1)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


class FeatureMapSymbol:
    """Stands for the Symbol of a feature map where only its shape is asked for.

    Unlike a Symbol it needs no network, and pickles at once.
    """

    def __init__(self, offset: int, stride: int):
        self._sizes = FeatureMapSizes((offset,), (stride,))

    def __iter__(self) -> Iterator[FeatureMapSymbol]:
        """Yield the outputs, which is one, as a Symbol does."""
        yield self

    def infer_shape(
        self, data: tuple[int, int, int, int]
    ) -> tuple[list[tuple], list[tuple[int, int, int, int]], list[tuple]]:
        """Return shapes for a batch of images (b, 3, height, width), as a Symbol does.

        That of the feature map is (b, 0, rows, columns), since 0 is MXNet's word for a number that
        is not known; those of the parameters are left out.
        """
        batch, _, height, width = data
        return [data], [(batch, 0, *self._sizes.shapes(height, width)[0])], []


def feature_map_symbols(sizes: FeatureMapSizes) -> FeatureMapSymbol | list[FeatureMapSymbol]:
    """Return what GluonCV gets from ``net.features``: one Symbol, or a list with one per level."""
    symbols = [FeatureMapSymbol(*level) for level in zip(sizes.offsets, sizes.strides)]
    return symbols if len(symbols) > 1 else symbols[0]
