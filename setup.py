"""Build script of rpn-target: the metadata pip reads, and the reasons for its version pins."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).resolve().parent


def read_version():
    """Return ``rpn_target.__version__`` without importing the package (or MXNet with it)."""
    source = (HERE / "rpn_target" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    if match is None:
        raise RuntimeError('rpn_target/version.py must have a line __version__ = "..."')
    return match.group(1)


def read_readme():
    """Return the README for the package index, or nothing where it is absent."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


INSTALL_REQUIRES = [
    # 1.8.0 cannot be imported: its wheel wants a libopenblas.so.0 that it does not bring.
    "mxnet>=1.6,<2,!=1.8.0",
    # GluonCV does not require MXNet itself, and 0.7 is the first release whose Faster R-CNN
    # modules lie where the swap and the transforms look for them.
    "gluoncv>=0.7",
    # NumPy 1.24 removed np.bool, which `import mxnet` reads. rpn_target restores it, but only a
    # program that imports rpn_target first gets that far, and nearly every GluonCV script begins
    # with `import mxnet`. Where a NumPy with the aliases exists (Python 3.8 to 3.11), a plain
    # install must therefore get one. NumPy 1.24 to 1.26 work there too (tox.ini tests it); who
    # needs one installs it afterwards, or this package with --no-deps. The Pillow that pip picks
    # today needs 1.21.
    'numpy>=1.21,<1.24; python_version < "3.12"',
    # No NumPy with the aliases runs on these Pythons, and MXNet does not run on NumPy 2.
    'numpy>=1.26,<2; python_version >= "3.12"',
    # The reports and the examples; GluonCV requires these, too.
    "matplotlib>=3.7",
    "Pillow",
    "tqdm",
    # GluonCV requires these of any version, and newer ones want a newer NumPy: without bounds pip
    # downloads one after the other until it finds what goes with the NumPy above.
    "opencv-python<4.12",
    'contourpy<1.3.3; python_version < "3.12"',
    'matplotlib<3.11; python_version < "3.12"',
    'pandas<3; python_version < "3.12"',
    'scipy<1.16; python_version < "3.12"',
    'contourpy<1.4; python_version >= "3.12"',
    'pandas<3.1; python_version >= "3.12"',
    'scipy<1.18; python_version >= "3.12"',
    # MXNet and GluonCV import distutils, which Python 3.12 removed and setuptools still brings.
    'setuptools; python_version >= "3.12"',
]

EXTRAS_REQUIRE = {
    "examples": ["pycocotools"],
    "test": ["hypothesis>=6", "pycocotools", "pytest>=7"],
    # Another release may format otherwise, or find what this one does not.
    "lint": ["mypy>=2.4,<2.5", "ruff>=0.17,<0.18"],
}

setup(
    name="rpn-target",
    version=read_version(),
    description="Fast, bit-exact RPN training targets for GluonCV's Faster R-CNN and Mask R-CNN",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="object-detection faster-rcnn mask-rcnn rpn mxnet gluoncv",
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.8",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["rpn_target", "rpn_target.*"]),
    package_data={"rpn_target": ["py.typed"], "rpn_target.report": ["page.css"]},
    python_requires=">=3.8",
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["rpn-target = rpn_target.cli.main:main"]},
)
