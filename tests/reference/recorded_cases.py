"""The inputs behind ``gluoncv_0_4.npz``, rebuilt from seeds by the recorder and by the test.

Only ``np.random.RandomState`` is drawn from: NumPy promises that its stream never changes. A digest
of every input is recorded too, so that a case rebuilt differently is told from a wrong answer.
"""

import hashlib
from typing import NamedTuple

import numpy as np

THRESHOLDS = ((0.7, 0.3), (0.5, 0.5), (0.7, 0.0), (0.9, 0.1))
NUM_SAMPLES = (0, 1, 16, 64, 256, 512)
POS_RATIOS = (0.0, 0.5, 1.0)


class SamplerCase(NamedTuple):
    """One call of the sampler."""

    name: str
    seed: int
    ious: np.ndarray  # (N, M) float32
    settings: tuple  # num_sample, pos_iou_thresh, neg_iou_thresh, pos_ratio

    @property
    def inputs(self):
        """The arrays to digest."""
        return (self.ious,)


class GeneratorCase(NamedTuple):
    """One call of the generator."""

    name: str
    seed: int
    bbox: np.ndarray  # (M, 4) float32
    anchor: np.ndarray  # (N, 4) float32
    size: tuple  # width, height
    options: dict

    @property
    def inputs(self):
        """The arrays to digest."""
        return self.bbox, self.anchor


def digest(case):
    """Return a number that tells whether the inputs of a case are the recorded ones."""
    joined = b"".join(np.ascontiguousarray(array).tobytes() for array in case.inputs)
    return int(hashlib.sha256(joined).hexdigest()[:12], 16)


def sampler_cases():
    """Return the list of sampler cases: every kind of matrix, then every setting."""
    cases = []

    def add(kind, shape, *settings):
        seed = len(cases)
        ious = MATRICES[kind](np.random.RandomState(seed), *shape)
        ious = np.ascontiguousarray(ious, dtype=np.float32)
        cases.append(SamplerCase(f"sampler_{seed:03d}_{kind}", seed, ious, settings))

    for kind in MATRICES:
        add(kind, (400, 5), 64, 0.7, 0.3, 0.5)
        add(kind, (50, 1), 16, 0.5, 0.5, 0.5)
        add(kind, (1, 3), 16, 0.7, 0.3, 0.5)
        add(kind, (1, 1), 1, 0.9, 0.1, 1.0)
    for thresholds in THRESHOLDS:
        for num_sample in NUM_SAMPLES:
            for ratio in POS_RATIOS:
                add("mixed", (700, 3), num_sample, *thresholds, ratio)
    return cases


def generator_cases():
    """Return the list of generator cases: a lattice of anchors and boxes on and around it."""
    cases = []
    for seed, (count, size, options) in enumerate(
        [
            (1, (160, 128), {}),
            (4, (160, 128), {}),
            (8, (150, 100), {"num_sample": 16}),
            (8, (150, 100), {"num_sample": 64, "pos_ratio": 0.25, "neg_iou_thresh": 0.5}),
            (20, (200, 170), {"stds": (0.1, 0.1, 0.2, 0.2), "pos_iou_thresh": 0.5}),
            (3, (10, 10), {"num_sample": 8}),  # no anchor lies inside the image
        ]
    ):
        rng = np.random.RandomState(1000 + seed)
        anchor = _lattice(size)
        corner = rng.random_sample((count, 2)) * size * 0.7
        bbox = np.hstack([corner, corner + 4 + rng.random_sample((count, 2)) * size * 0.5])
        bbox[0] = anchor[len(anchor) // 2]  # one object fits an anchor exactly
        name = f"generator_{seed:03d}"
        cases.append(
            GeneratorCase(name, seed, bbox.astype(np.float32), anchor, size, dict(options))
        )
    return cases


def _lattice(size):
    """Return anchors (N, 4): six sizes at every eighth pixel, corners in whole numbers."""
    width, height = size
    y, x = np.mgrid[0:height:8, 0:width:8]
    center = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    half = np.array([(8, 8), (16, 8), (8, 16), (24, 24), (32, 16), (40, 40)])
    return np.concatenate([center - half, center + half], axis=-1).reshape(-1, 4).astype(np.float32)


# --- matrices of IoU ----------------------------------------------------------------------------


def _uniform(rng, rows, columns):
    return rng.random_sample((rows, columns))


def _overlaps(rng, rows, columns):
    """Most pairs do not overlap, as in an image."""
    ious = rng.random_sample((rows, columns))
    return np.where(rng.random_sample((rows, columns)) < 0.8, 0, ious)


def _ties(rng, rows, columns):
    """Eighths: exact ties in rows and in columns."""
    return rng.randint(0, 9, (rows, columns)) / 8.0


def _near_ties(rng, rows, columns):
    """Put a third of the rows within three ulps of the largest of its column."""
    ious = (rng.random_sample((rows, columns)) * 0.5).astype(np.float32)
    peak = (0.4 + 0.5 * rng.random_sample(columns)).astype(np.float32)
    near = _move(np.tile(peak, (rows, 1)), rng.randint(-3, 1, (rows, columns)))
    ious = np.where(rng.random_sample((rows, columns)) < 0.33, near, ious)
    ious[rng.randint(0, rows)] = peak
    return ious


def _near_thresholds(rng, rows, columns):
    """Every value within three ulps of a threshold."""
    thresholds = np.array([0.1, 0.3, 0.5, 0.7, 0.9], np.float32)
    values = thresholds[rng.randint(0, len(thresholds), (rows, columns))]
    return _move(values, rng.randint(-3, 4, (rows, columns)))


def _zero_columns(rng, rows, columns):
    """At least one ground truth overlaps nothing."""
    ious = _overlaps(rng, rows, columns)
    ious[:, rng.randint(0, columns) :] = 0
    return ious


def _some_invalid(rng, rows, columns):
    ious = _overlaps(rng, rows, columns)
    ious[rng.random_sample(rows) < 0.4] = -1
    return ious


def _all_invalid(rng, rows, columns):
    return np.full((rows, columns), -1.0)


def _low(rng, rows, columns):
    """No anchor reaches 0.3: the best of each ground truth is a negative."""
    return _overlaps(rng, rows, columns) * 0.29


def _mixed(rng, rows, columns):
    """Near-ties, near-thresholds, zeros and invalid rows in one matrix."""
    ious = _near_ties(rng, rows, columns)
    ious = np.where(rng.random_sample((rows, 1)) < 0.4, _overlaps(rng, rows, columns), ious)
    ious = np.where(rng.random_sample((rows, 1)) < 0.1, _near_thresholds(rng, rows, columns), ious)
    ious[rng.random_sample(rows) < 0.2] = -1
    return ious


def _move(values, ulps):
    """Move positive float32 values by a number of ulps each."""
    return (values.view(np.int32) + ulps.astype(np.int32)).view(np.float32)


MATRICES = {
    "uniform": _uniform,
    "overlaps": _overlaps,
    "ties": _ties,
    "near_ties": _near_ties,
    "near_thresholds": _near_thresholds,
    "zero_columns": _zero_columns,
    "some_invalid": _some_invalid,
    "all_invalid": _all_invalid,
    "low": _low,
    "mixed": _mixed,
}
