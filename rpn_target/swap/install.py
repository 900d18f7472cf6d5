"""The swap: this package's classes in the places of GluonCV's.

A *place* is a name in a module that holds one of GluonCV's six classes. Three modules of GluonCV
define them; other modules, such as a script, have imported them, under whatever name. `install`
puts our class in every place. Who imports it from GluonCV later gets ours, too. `uninstall` puts
GluonCV's back in all these places, and where ours was imported from GluonCV meanwhile.

Out of reach is what is no name in a module: a class in a list or an attribute, a subclass, an
object made before the swap. All these stay GluonCV's and go on working. So does a class of
GluonCV's into which a script has put methods of its own, with a warning. A class that is a
script's own stays, too, under whatever name of GluonCV's.
"""

from __future__ import annotations

import ast
import inspect
import sys
import threading
import warnings
from typing import Any, NamedTuple

from ..core.settings import RPNTargetWarning
from ..gluon.attributes import patched
from .gluoncv_classes import MISSING, OURS, THEIRS, keep_working

__all__ = ["Place", "Swap", "install", "is_installed", "uninstall"]

PACKAGE = __name__.partition(".")[0]


class Place(NamedTuple):
    """A name that held GluonCV's class and now holds ours."""

    module: str
    name: str
    theirs: type
    ours: type


class Swap:
    """What `install` did; as a context manager, it is undone at the end of the block.

    Attributes
    ----------
    places : tuple of Place
        Every name that this call of `install` changed; none if there was nothing left to do.
    """

    def __init__(self, places: tuple[Place, ...], is_outermost: bool):
        self.places = places
        self._is_outermost = is_outermost

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the replaced classes, as GluonCV calls them, in alphabetical order."""
        return tuple(sorted({place.theirs.__name__ for place in self.places}))

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules that were changed, in alphabetical order."""
        return tuple(sorted({place.module for place in self.places}))

    def __str__(self) -> str:
        if not self.places:
            return "nothing left to swap"
        return f"swapped {', '.join(self.classes)} in {', '.join(self.modules)}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def __enter__(self) -> Swap:
        if not _state.is_installed:  # entered again, or uninstalled in between
            self.places = install().places
            self._is_outermost = True
        return self

    def __exit__(self, *_: Any) -> None:
        if self._is_outermost:
            uninstall()


class _State:
    """What `uninstall` has to know."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_installed = False
        # Places as (id of namespace, name): those that held ours before, and those changed.
        self.held_before: set[tuple[int, str]] = set()
        self.changed: set[tuple[int, str]] = set()
        # GluonCV's classes, by id, that stay where they are.
        self.kept: set[int] = set()
        # (class, attribute, value) to be set again, last first.
        self.attributes: list[tuple[type, str, object]] = []


_state = _State()


def install() -> Swap:
    """Put this package's classes in the places of GluonCV's.

    Can be called at any time, before or after a script's imports, and again, which finds what
    was missed. `uninstall` undoes it, however often it was called.

    Returns
    -------
    Swap
        What was changed, for printing; and a context manager: ``with rpn_target.install(): ...``
        undoes the swap at the end of the block, unless it was in place before.

    Raises
    ------
    ImportError
        If the installed GluonCV lacks one of the classes. Nothing is changed then.

    Examples
    --------
    >>> import rpn_target
    >>> from gluoncv.data import batchify
    >>> with rpn_target.install() as swap:
    ...     batchify.FasterRCNNTrainBatchify is rpn_target.FasterRCNNTrainBatchify
    True
    >>> batchify.FasterRCNNTrainBatchify is rpn_target.FasterRCNNTrainBatchify
    False
    >>> len(swap.classes)
    6
    """
    if MISSING:
        raise ImportError(
            "rpn_target.install() needs GluonCV 0.7 or later, but the installed one has no "
            f"{', '.join(MISSING)}"
        )
    with _state.lock:
        is_outermost = not _state.is_installed
        if is_outermost:
            _state.kept = _patched()
            _state.held_before = {(id(names), name) for _, names, name in _holders(THEIRS)}
            _state.changed = set()
            _state.attributes = keep_working()
            _state.is_installed = True
        places = []
        swapped = {key: ours for key, ours in OURS.items() if key not in _state.kept}
        for module, names, name in _holders(swapped):
            theirs, ours = names[name], OURS[id(names[name])]
            names[name] = ours
            _state.changed.add((id(names), name))
            places.append(Place(module, name, theirs, ours))
        return Swap(tuple(places), is_outermost)


def _patched() -> set[int]:
    """Return GluonCV's classes, by id, in which a script has put methods of its own; warn of them.

    They stay, and the methods are called; ours would not have them.
    """
    found = set()
    for theirs in THEIRS.values():
        names = patched(theirs)
        if names:
            found.add(id(theirs))
            warnings.warn(
                f"GluonCV's {theirs.__name__} stays, with its speed, since it has methods from "
                f"elsewhere: {', '.join(names)}. Put them there after rpn_target.install(), or in "
                "a subclass of rpn_target's class",
                RPNTargetWarning,
                stacklevel=3,
            )
    return found


def uninstall() -> None:
    """Put GluonCV's own classes back, wherever `install` replaced them.

    Modules that imported them from GluonCV during the swap get them, too. What a module imported
    from this package stays as it is. Does nothing if nothing is installed.
    """
    with _state.lock:
        if not _state.is_installed:
            return
        for module, names, name in _holders(THEIRS):
            place = id(names), name
            if place in _state.held_before:
                continue
            if place in _state.changed or not _imports_ours(sys.modules[module], name):
                names[name] = THEIRS[id(names[name])]
        while _state.attributes:
            setattr(*_state.attributes.pop())
        _state.is_installed = False


def is_installed() -> bool:
    """Tell whether the swap is in place."""
    return _state.is_installed


def _holders(classes: dict[int, type]) -> list[tuple[str, dict, str]]:
    """Return module, namespace and name of everything that holds one of the classes, by id.

    This package's own modules are left out.
    """
    found, seen = [], set()
    for module_name, module in list(sys.modules.items()):
        if module_name == PACKAGE or module_name.startswith(PACKAGE + "."):
            continue
        try:
            # Not vars(module), which would load a lazy one.
            names = object.__getattribute__(module, "__dict__")
        except AttributeError:
            continue
        if isinstance(names, dict) and id(names) not in seen:
            seen.add(id(names))
            found += [
                (module_name, names, name)
                for name, value in list(names.items())
                if id(value) in classes
            ]
    return found


def _imports_ours(module: Any, name: str) -> bool:
    """Tell whether a module's source says ``from rpn_target import ...`` for a name.

    Four of our classes are called as GluonCV's are, so a module that got one during the swap may
    have asked for either. Where there is no source, the answer is no.
    """
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError, ValueError):
        return False
    return any(
        (alias.asname or alias.name) == name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and not node.level
        and (node.module or "").split(".")[0] == PACKAGE
        for alias in node.names
    )
