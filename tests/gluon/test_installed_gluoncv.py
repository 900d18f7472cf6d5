"""Equality of sampler and generator with the installed GluonCV, whichever release that is.

The other parity tests need the modules of GluonCV 0.7 or later. These run from 0.3 on; with a
release before 0.7, where ``conftest.py`` cannot be imported, as::

    python -m pytest --noconftest tests/gluon/test_installed_gluoncv.py
"""

import numpy as np
import pytest
from reference.recorded_cases import generator_cases, sampler_cases

from rpn_target import RPNTargetGenerator, RPNTargetSampler

# isort: split
import mxnet as mx

try:
    from gluoncv.model_zoo.rcnn.rpn import rpn_target as theirs
except ImportError:  # before 0.7
    from gluoncv.model_zoo.rpn import rpn_target as theirs

TAKES_NDARRAYS = issubclass(theirs.RPNTargetSampler, mx.gluon.Block)  # before 0.5


def by_name(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def call(seed, function, *inputs):
    """Return the outputs as numpy, their types, and what is drawn next."""
    np.random.seed(seed)
    outputs = function(*inputs)
    following = np.random.random_sample(3)
    arrays = [out.asnumpy() if isinstance(out, mx.nd.NDArray) else out for out in outputs]
    return arrays, [type(out) for out in outputs], following


@by_name(sampler_cases())
def test_sampler(case):
    ious = mx.nd.array(case.ious) if TAKES_NDARRAYS else case.ious
    ours = call(case.seed, RPNTargetSampler(*case.settings), ious)
    reference = call(case.seed, theirs.RPNTargetSampler(*case.settings), ious)
    assert ours[1] == reference[1]
    for actual, expected in zip(ours[0], reference[0]):
        np.testing.assert_array_equal(actual, expected)
        assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(ours[2], reference[2])


@by_name(generator_cases())
def test_generator(case):
    inputs = (mx.nd.array(case.bbox), mx.nd.array(case.anchor), *case.size)
    ours = call(case.seed, RPNTargetGenerator(**case.options), *inputs)
    reference = call(case.seed, theirs.RPNTargetGenerator(**case.options), *inputs)
    (cls_target, box_target, box_mask), _, following = ours
    np.testing.assert_array_equal(cls_target, reference[0][0])
    np.testing.assert_array_equal(box_mask, reference[0][2])
    np.testing.assert_array_equal(following, reference[2])
    # Before 0.5, MXNet's operators did the encoding: a last bit or two differ from numpy's.
    ulps = 2 if TAKES_NDARRAYS else 0
    np.testing.assert_array_max_ulp(box_target, reference[0][1].astype(np.float32), maxulp=ulps)
