"""Record what GluonCV 0.4.0.post0 answers, the last release whose sampler takes NDArrays.

Needs an environment of its own. Recorded with Python 3.8, mxnet 1.6.0, numpy 1.23.5::

    python3.8 -m venv reference-env
    reference-env/bin/pip install mxnet==1.6.0 'numpy<1.24' gluoncv==0.4.0.post0
    reference-env/bin/python tests/reference/record_gluoncv_0_4.py

Writes ``gluoncv_0_4.npz`` beside this file. mxnet 1.4.1, 1.5.1.post0, 1.7.0.post2, 1.8.0.post0 and
1.9.1 give equal arrays. ``--check`` compares with the file instead of writing it.
"""

import argparse
import pathlib
import sys

import gluoncv
import mxnet as mx
import numpy as np
from gluoncv.model_zoo.rpn.rpn_target import RPNTargetGenerator, RPNTargetSampler
from recorded_cases import digest, generator_cases, sampler_cases

OUTPUT = pathlib.Path(__file__).with_name("gluoncv_0_4.npz")
RELEASE = "0.4.0.post0"


def record_sampler(case):
    """Return the arrays to keep of one call: samples, matches, and what is drawn next."""
    sampler = RPNTargetSampler(*case.settings)
    np.random.seed(case.seed)
    samples, matches = sampler.forward(mx.nd.array(case.ious))
    following = np.random.random_sample(3)
    assert samples.dtype == np.float32
    assert matches.dtype == np.float32
    return {
        "samples": exactly(samples.asnumpy(), np.int8),
        "matches": exactly(matches.asnumpy(), np.uint8),
        "following": following,
    }


def record_generator(case):
    """Return the arrays to keep of one call; of the box targets, those that are not zero."""
    generator = RPNTargetGenerator(**case.options)
    np.random.seed(case.seed)
    outputs = generator.forward(mx.nd.array(case.bbox), mx.nd.array(case.anchor), *case.size)
    following = np.random.random_sample(3)
    cls_target, box_target, box_mask = (output.asnumpy() for output in outputs)
    assert cls_target.dtype == box_target.dtype == box_mask.dtype == np.float32
    assert (box_target[box_mask == 0] == 0).all()
    return {
        "cls_target": exactly(cls_target, np.int8),
        "box_target": box_target[box_mask != 0],
        "box_mask": exactly(box_mask, np.int8),
        "following": following,
    }


def exactly(array, dtype):
    """Return the array in a smaller dtype that holds all of its values."""
    small = array.astype(dtype)
    assert (small == array).all()
    return small


def record():
    """Return all arrays by name."""
    arrays = {}
    for cases, call in ((sampler_cases(), record_sampler), (generator_cases(), record_generator)):
        for case in cases:
            arrays[case.name + "/digest"] = np.int64(digest(case))
            for part, array in call(case).items():
                arrays[case.name + "/" + part] = array
    return arrays


def main():
    """Write the file, or compare with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the recorded file")
    arguments = parser.parse_args()
    if gluoncv.__version__ not in (RELEASE, "0.4.0"):  # the post-release kept the older number
        sys.exit(f"needs gluoncv {RELEASE}, but {gluoncv.__version__} is installed")
    arrays = record()
    if arguments.check:
        with np.load(OUTPUT) as recorded:
            assert sorted(recorded.files) == sorted(arrays)
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, recorded[name], err_msg=name)
        print(f"{len(arrays)} arrays are equal with mxnet {mx.__version__}, numpy {np.__version__}")
        return
    np.savez_compressed(OUTPUT, **arrays)
    print(f"{OUTPUT}: {len(arrays)} arrays, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
