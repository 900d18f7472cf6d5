"""GluonCV's classes that this package replaces: which they are, and how they live on meanwhile."""

from __future__ import annotations

import importlib
import types
from typing import Any, Iterator

from ..gluon.batchify import FasterRCNNTrainBatchify, MaskRCNNTrainBatchify
from ..gluon.blocks import RPNTargetGenerator, RPNTargetSampler
from ..gluon.transforms import FasterRCNNTrainTransform, MaskRCNNTrainTransform

__all__ = ["DEFINITIONS", "OURS", "THEIRS", "MISSING", "GluonCV", "keep_working"]

# Where GluonCV defines a class, its name there, and which of ours takes the place.
DEFINITIONS = (
    ("gluoncv.data.batchify", "FasterRCNNTrainBatchify", FasterRCNNTrainBatchify),
    ("gluoncv.data.batchify", "MaskRCNNTrainBatchify", MaskRCNNTrainBatchify),
    (
        "gluoncv.data.transforms.presets.rcnn",
        "FasterRCNNDefaultTrainTransform",
        FasterRCNNTrainTransform,
    ),
    (
        "gluoncv.data.transforms.presets.rcnn",
        "MaskRCNNDefaultTrainTransform",
        MaskRCNNTrainTransform,
    ),
    ("gluoncv.model_zoo.rcnn.rpn.rpn_target", "RPNTargetGenerator", RPNTargetGenerator),
    ("gluoncv.model_zoo.rcnn.rpn.rpn_target", "RPNTargetSampler", RPNTargetSampler),
)


class GluonCV:
    """Holds GluonCV's own classes, by name: where pickle finds them during the swap."""


MISSING: list[str] = []
"""Which of the classes this GluonCV lacks."""


def _collect_classes() -> Iterator[tuple[type, type]]:
    """Fill `GluonCV`, and yield pairs of GluonCV's class and ours."""
    for module, name, ours in DEFINITIONS:
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            MISSING.append(f"{module}.{name}")  # an old GluonCV
            continue
        # Somebody may have put a class of his own there, perhaps a subclass of GluonCV's.
        for theirs in getattr(found, "__mro__", ()):
            if (theirs.__module__, theirs.__name__) == (module, name):
                setattr(GluonCV, name, theirs)
                yield theirs, ours


# Collected on import: a process that unpickles one of these classes imports this module first.
_PAIRS = tuple(_collect_classes())

OURS = {id(theirs): ours for theirs, ours in _PAIRS}
"""Our classes, by the identity of GluonCV's."""

THEIRS = {id(ours): theirs for theirs, ours in _PAIRS}
"""GluonCV's classes, by the identity of ours."""


def keep_working() -> list[tuple[type, str, object]]:
    """Let GluonCV's classes work while ours have their names.

    Objects and subclasses of them, made before the swap, need the names for two things. Pickle,
    by which DataLoader hands the batchify function to its workers, looks a class up by its name.
    And ``super(RPNTargetGenerator, self).__init__()`` in GluonCV takes the class from the module.

    Returns
    -------
    list of (class, attribute, value)
        What to set again, last first, when GluonCV's classes get their names back.
    """
    changed: list[tuple[type, str, Any]] = []

    def change(class_: type, attribute: str, value: Any) -> None:
        changed.append((class_, attribute, getattr(class_, attribute)))
        setattr(class_, attribute, value)

    for theirs in THEIRS.values():
        name = theirs.__name__
        if "__firstlineno__" in vars(theirs):  # Python 3.13 drops it when __module__ is set
            changed.append((theirs, "__firstlineno__", vars(theirs)["__firstlineno__"]))
        change(theirs, "__module__", __name__)
        change(theirs, "__qualname__", f"{GluonCV.__name__}.{name}")
        method = vars(theirs).get("__init__")
        if isinstance(method, types.FunctionType) and name in method.__code__.co_names:
            own_names = {**method.__globals__, name: theirs}
            own = types.FunctionType(
                method.__code__, own_names, method.__name__, method.__defaults__, method.__closure__
            )
            own.__kwdefaults__, own.__doc__ = method.__kwdefaults__, method.__doc__
            change(theirs, "__init__", own)
    return changed
