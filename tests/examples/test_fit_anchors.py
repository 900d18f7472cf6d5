"""The example that trains with default and with suggested anchors, in little."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "fit_anchors.py"


@pytest.mark.slow
def test_both_trainings_are_evaluated_and_drawn(tmp_path):
    small = "--iterations 2 --every 1 --train-images 8 --test-images 3 --plot plot.png"
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *small.split()],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for side in ("default", "suggested"):
        for iteration in (1, 2):
            assert re.search(
                rf"{side} +anchors, iteration +{iteration}: \d+% at 0.5", result.stdout
            )
        assert re.search(rf"{side} +anchors, mean of 1 seed: recall", result.stdout)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
