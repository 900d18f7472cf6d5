"""Equality with GluonCV 0.4.0.post0, whose answers ``reference/gluoncv_0_4.npz`` holds.

That release takes and returns NDArrays and runs on no current setup beside a newer GluonCV, so
its answers were recorded; ``reference/record_gluoncv_0_4.py`` tells how.
"""

import pathlib

import numpy as np
import pytest
from reference.recorded_cases import digest, generator_cases, sampler_cases

from rpn_target import RPNTargetGenerator, RPNTargetSampler

# isort: split
import mxnet as mx

RECORDED = pathlib.Path(__file__).parents[1] / "reference" / "gluoncv_0_4.npz"
SAMPLER_CASES = sampler_cases()
GENERATOR_CASES = generator_cases()


@pytest.fixture(scope="module")
def recorded():
    with np.load(RECORDED) as arrays:
        return dict(arrays)


def by_name(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def test_every_case_is_recorded(recorded):
    cases = {case.name: case for case in SAMPLER_CASES + GENERATOR_CASES}
    assert {name.split("/")[0] for name in recorded} == set(cases)
    assert {name: digest(case) for name, case in cases.items()} == {
        name: int(recorded[name + "/digest"]) for name in cases
    }


@by_name(SAMPLER_CASES)
def test_sampler(case, recorded):
    sampler = RPNTargetSampler(*case.settings)
    ious = mx.nd.array(case.ious)
    np.random.seed(case.seed)
    samples, matches = sampler(ious)
    following = np.random.random_sample(3)
    for output, part in ((samples, "samples"), (matches, "matches")):
        assert isinstance(output, mx.nd.NDArray)
        assert output.dtype == np.float32
        assert output.context == ious.context
        np.testing.assert_array_equal(output.asnumpy(), recorded[f"{case.name}/{part}"])
    np.testing.assert_array_equal(following, recorded[case.name + "/following"])
    np.testing.assert_array_equal(ious.asnumpy(), case.ious)


@by_name(GENERATOR_CASES)
def test_generator(case, recorded):
    generator = RPNTargetGenerator(**case.options)
    np.random.seed(case.seed)
    cls_target, box_target, box_mask = generator(
        mx.nd.array(case.bbox), mx.nd.array(case.anchor), *case.size
    )
    following = np.random.random_sample(3)
    kept = recorded[case.name + "/box_mask"] != 0
    np.testing.assert_array_equal(cls_target, recorded[case.name + "/cls_target"])
    np.testing.assert_array_equal(box_mask, recorded[case.name + "/box_mask"])
    np.testing.assert_array_equal(following, recorded[case.name + "/following"])
    np.testing.assert_array_equal(box_target[~kept], 0)
    # GluonCV 0.5 moved the encoding from MXNet's operators to numpy: a last bit or two differ.
    np.testing.assert_array_max_ulp(box_target[kept], recorded[case.name + "/box_target"], maxulp=2)
