"""``rpn_target.compat``: the NumPy aliases, the refusal of NumPy 2, and distutils."""

import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from rpn_target import compat

ALIASES = {"bool": bool, "float": float, "int": int}
NUMPY_HAS_ALIASES = tuple(int(part) for part in np.__version__.split(".")[:2]) < (1, 24)


class FakeNumPy:
    """Stands in for a NumPy of some version: ``vars()`` of it is its namespace."""

    def __init__(self, version, **names):
        self.__version__ = version
        vars(self).update(names)


@pytest.fixture
def fake_numpy(monkeypatch):
    """Return a function that makes ``compat`` see a NumPy of the given version and names."""

    def install(version, **names):
        fake = FakeNumPy(version, **names)
        monkeypatch.setattr(compat, "np", fake)
        return fake

    return install


def run_python(code, *options):
    """Run ``code`` in a fresh interpreter, where nothing has been imported yet."""
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("version", ["1.24.0", "1.24.4", "1.25.0rc1", "1.26.4", "1.27.0.dev0+abc"])
def test_restores_what_is_missing(fake_numpy, version):
    fake = fake_numpy(version)
    compat.restore_numpy_aliases()
    assert {name: vars(fake)[name] for name in ALIASES} == ALIASES
    assert set(vars(fake)) == {"__version__", *ALIASES}


def test_leaves_what_is_there(fake_numpy):
    mine = object()
    fake = fake_numpy("1.26.4", bool=mine)
    compat.restore_numpy_aliases()
    compat.restore_numpy_aliases()
    assert fake.bool is mine
    assert fake.float is float


@pytest.mark.parametrize("version", ["1.17.3", "1.19.5", "1.20.0", "1.23.5"])
def test_does_nothing_where_numpy_has_the_aliases(fake_numpy, version):
    fake = fake_numpy(version)
    compat.restore_numpy_aliases()
    assert set(vars(fake)) == {"__version__"}


@pytest.mark.parametrize("version", ["2.0.0", "2.3.1", "3.0.0"])
def test_refuses_numpy_2(fake_numpy, version):
    fake = fake_numpy(version)
    with pytest.raises(ImportError, match=rf"needs NumPy 1\.x .* but NumPy {version} is installed"):
        compat.restore_numpy_aliases()
    assert set(vars(fake)) == {"__version__"}


def test_installed_numpy_gets_no_warning_and_no_change_twice():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compat.restore_numpy_aliases()
        before = dict(vars(np))
        compat.restore_numpy_aliases()
    assert dict(vars(np)) == before


def test_fresh_interpreter_without_warnings():
    """With every warning an error, only the names NumPy lacks appear."""
    code = (
        "import runpy\n"
        "import numpy as np\n"
        "before = set(vars(np))\n"
        f"runpy.run_path({compat.__file__!r})['restore_numpy_aliases']()\n"
        "print(sorted(set(vars(np)) - before))\n"
    )
    result = run_python(code, "-W", "error")
    expected = [] if NUMPY_HAS_ALIASES else sorted(ALIASES)
    assert (result.returncode, result.stdout.strip()) == (0, repr(expected))


@pytest.mark.slow
@pytest.mark.parametrize("second", ["mxnet", "gluoncv"])
def test_package_comes_first(second):
    """After ``import rpn_target``, MXNet and GluonCV import on this NumPy and Python."""
    result = run_python(f"import rpn_target\nimport {second}\nprint({second}.__name__)")
    assert (result.returncode, result.stdout.strip().splitlines()[-1]) == (0, second)


class TestDistutils:
    @pytest.fixture
    def fake_python(self, monkeypatch):
        """Return a function that makes ``compat`` see a Python and its way to import."""

        def install(version, import_module):
            python = SimpleNamespace(
                version_info=tuple(int(part) for part in version.split(".")), version=version
            )
            monkeypatch.setattr(compat, "sys", python)
            monkeypatch.setattr(compat, "importlib", SimpleNamespace(import_module=import_module))

        return install

    @staticmethod
    def refuse(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    def test_installed_python(self):
        compat.require_distutils()

    def test_old_python_imports_nothing(self, fake_python):
        fake_python("3.11.7", self.refuse)
        compat.require_distutils()

    @pytest.mark.parametrize("version", ["3.12.1", "3.13.0"])
    def test_setuptools_missing(self, fake_python, version):
        fake_python(version, self.refuse)
        with pytest.raises(ImportError, match=f"needs setuptools .* Python {version} has neither"):
            compat.require_distutils()

    def test_setuptools_brings_it_when_imported(self, fake_python):
        imported = []

        def import_module(name):
            imported.append(name)
            if name == "distutils" and "setuptools" not in imported:
                self.refuse(name)

        fake_python("3.12.1", import_module)
        compat.require_distutils()
        assert imported == ["distutils", "setuptools", "distutils"]
