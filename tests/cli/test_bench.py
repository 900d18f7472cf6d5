"""``bench``: what is refused before it measures, and what it calls a difference."""

import helpers  # noqa: F401  imports rpn_target before MXNet
import numpy as np
import pytest

from rpn_target.benchmark.measure import ResultsDiffer, check_equal, checksum
from rpn_target.cli import bench
from rpn_target.cli.main import main


@pytest.fixture
def measured(monkeypatch):
    """Replace the measuring by a function; return the list of its calls."""
    calls = []

    def fail():
        raise calls[0]

    monkeypatch.setattr(bench, "_measurements", lambda quick: [("step", "nothing", fail)])
    return calls


@pytest.mark.parametrize(
    "option, name, message",
    [
        ("--json", "no/a.json", "No such file or directory"),
        ("--json", "", "Is a directory"),
        ("--plot", "no/a.png", "No such file or directory"),
        ("--plot", "a.xyz", "must end in one of .png, .pdf, .svg"),
    ],
)
def test_outputs_are_checked_first(option, name, message, tmp_path, capsys, measured):
    assert main(["bench", option, str(tmp_path / name)]) == 2  # not the IndexError of measuring
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_differing_results(capsys, measured):
    measured.append(ResultsDiffer("sampler: GluonCV and rpn_target differ"))
    assert main(["bench"]) == 1
    assert "rpn-target bench: sampler: GluonCV and rpn_target differ" in capsys.readouterr().err


def test_other_errors_are_no_difference(measured):
    measured.append(AssertionError("MXNet's own"))
    with pytest.raises(AssertionError, match="MXNet's own"):
        main(["bench"])


def test_check_equal():
    arrays = [np.arange(3.0), [np.zeros((2, 2), np.float32)]]
    check_equal(arrays, [np.arange(3.0), [np.zeros((2, 2), np.float32)]], "step")
    for other in ([np.arange(3.0)], [np.arange(4.0), arrays[1]], [arrays[0], [np.ones((2, 2))]]):
        with pytest.raises(ResultsDiffer, match="^step: "):
            check_equal(arrays, other, "step")
        assert checksum(arrays) != checksum(other)
    assert checksum([np.array([0.0, -0.0])]) == checksum([np.array([0.0, 0.0])])
