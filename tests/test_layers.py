"""The rooms of the package know only those below them; the imports of every module are read."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "rpn_target"

# A module may import from its own layer and from those before it.
LAYERS = [
    {"compat", "version"},
    {"core"},
    {"gluon"},
    {"loader", "swap", "plot"},
    {"report"},
    {""},  # the package itself, which offers the public names
    {"cli", "benchmark", "__main__"},
]


def module_name(path: Path, folder: Path) -> str:
    """Return the dotted name of a file, relative to the folder of the package."""
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_imports(source: str, name: str, is_package: bool) -> Iterator[str]:
    """Yield the absolute names that a module imports, also inside functions.

    `name` is relative to the package, as `module_name` returns it. ``from a import b`` yields
    ``a.b``, which may be a module or a name in one. Imports for type checkers alone do not count.
    """
    for node in ast.walk(WithoutTypeChecking().visit(ast.parse(source))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = [PACKAGE, *filter(None, name.split("."))]
            up = node.level - is_package
            base = parts[: len(parts) - up] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


class WithoutTypeChecking(ast.NodeTransformer):
    """Leaves out what stands under ``if TYPE_CHECKING``, which never runs."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        is_name = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if is_name else self.generic_visit(node)


class Imports:
    """What the modules of a package import.

    Parameters
    ----------
    folder : Path
        Of the package; it counts as `rpn_target`.
    """

    def __init__(self, folder: Path):
        paths = {module_name(path, folder): path for path in sorted(folder.rglob("*.py"))}
        self.inside: dict[str, set[str]] = {}  # modules of the package
        self.outside: dict[str, set[str]] = {}  # top-level names of others
        for name, path in paths.items():
            found = read_imports(path.read_text("utf-8"), name, path.stem == "__init__")
            self.inside[name], self.outside[name] = set(), set()
            for imported in found:
                first, _, rest = imported.partition(".")
                if first != PACKAGE:
                    self.outside[name].add(first)
                    continue
                while rest and rest not in paths:  # a name in a module, not a module
                    rest = rest.rpartition(".")[0]
                self.inside[name].add(rest)

    def arrows(self) -> Iterator[tuple[str, str]]:
        """Yield (module, module that it imports)."""
        for name, imported in self.inside.items():
            yield from ((name, other) for other in sorted(imported))

    def upward(self) -> set[tuple[str, str]]:
        """Return the arrows from a layer to a later one."""
        return {(name, other) for name, other in self.arrows() if layer(name) < layer(other)}

    def circle(self) -> list[str]:
        """Return the modules of one circle of imports, or nothing."""
        done: set[str] = set()

        def follow(name: str, path: list[str]) -> list[str]:
            if name in path:
                return [*path[path.index(name) :], name]
            if name in done:
                return []
            for other in sorted(self.inside[name]):
                if found := follow(other, [*path, name]):
                    return found
            done.add(name)
            return []

        return next(filter(None, (follow(name, []) for name in self.inside)), [])


def layer(name: str) -> int:
    """Return the number of a module's layer."""
    room = name.partition(".")[0]
    numbers = [number for number, rooms in enumerate(LAYERS) if room in rooms]
    assert numbers, f"{PACKAGE}.{name} is in no layer: add its room to LAYERS"
    return numbers[0]


@pytest.fixture(scope="module")
def imports() -> Imports:
    return Imports(ROOT / PACKAGE)


def test_no_arrow_runs_back_up(imports):
    assert imports.upward() == set()


def test_core_needs_numpy_only(imports):
    used = {
        (name, other)
        for name, others in imports.outside.items()
        for other in others
        if name.partition(".")[0] == "core" and other in ("mxnet", "gluoncv")
    }
    assert used == set()


def test_no_circle(imports):
    assert imports.circle() == []


# The reader of imports itself


@pytest.fixture
def write(tmp_path):
    """Return a function that makes a package of sources by module name."""

    def write(**sources) -> Imports:
        for name, source in sources.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        (tmp_path / "__init__.py").touch()
        return Imports(tmp_path)

    return write


@pytest.mark.parametrize(
    "statement",
    [
        "from ..report.text import number",
        "from ..report import text",
        "import rpn_target.report.text",
        "from rpn_target.report import text as t",
        "def f():\n    from ..report.text import number",
        "class C:\n    def f(self):\n        if self:\n            import rpn_target.report.text",
    ],
)
def test_an_arrow_back_up_is_found(write, statement):
    imports = write(core__boxes=statement, report__text="number = 1", report__other="")
    assert imports.upward() == {("core.boxes", "report.text")}


def test_only_the_command_line_may_import_the_package_itself(write):
    imports = write(report__page="from .. import __version__", cli__main="import rpn_target")
    assert imports.upward() == {("report.page", "")}


def test_arrows_down_and_sideways_are_allowed(write):
    imports = write(
        core__boxes="import numpy",
        gluon__blocks="from ..core.boxes import check",
        cli__run="from ..swap import install\nfrom .options import add",
        cli__options="",
        swap__install="from ..gluon import blocks",
    )
    assert imports.upward() == set()
    assert imports.circle() == []
    assert imports.outside["core.boxes"] == {"numpy"}


def test_a_circle_is_found(write):
    imports = write(
        core__a="from .b import x",
        core__b="def f():\n    from . import c",
        core__c="from .a import y",
    )
    assert imports.circle() == ["core.a", "core.b", "core.c", "core.a"]


def test_a_room_must_have_a_layer(write):
    with pytest.raises(AssertionError, match="rpn_target.attic.old is in no layer"):
        write(attic__old="import rpn_target.attic.old").upward()
