"""Scripts of the official shape train where a third of the images has no object."""

from __future__ import annotations

import math
import os
import pathlib
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
# The script, with every third image emptied, as GluonCV's data set gives such an image.
EMPTIED = """
import sys
import numpy as np
import runpy
sys.path.insert(0, {scripts!r})
from gluoncv import data

def emptied(item):
    def get(self, index):
        image, label = item(self, index)[:2]
        return image, (np.zeros(0) if index % 3 == 0 else label)
    return get

data.VOCDetection.__getitem__ = emptied(data.VOCDetection.__getitem__)
sys.argv[0] = {script!r}
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    ["--batch-size 1", "--batch-size 2 --use-fpn", "--batch-size 2 --devices 2",
     "--batch-size 4 --devices 2 --use-fpn", "--batch-size 1 --num-workers 2 --use-fpn"],
)  # fmt: skip
def test_losses_are_finite(tmp_path: pathlib.Path, options: str) -> None:
    script = str(TESTS / "scripts" / "faster_rcnn.py")
    program = tmp_path / "emptied.py"
    program.write_text(EMPTIED.format(script=script, scripts=str(TESTS / "scripts")))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "rpn_target", "run", str(program), *options.split()],
        env=dict(os.environ, PYTHONPATH=str(TESTS.parent)), capture_output=True,
        text=True, timeout=300, cwd=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split()[4:] for line in done.stdout.splitlines() if line.startswith("epoch ")]
    assert lines
    assert all(math.isfinite(float(value)) for line in lines for value in line), done.stdout
