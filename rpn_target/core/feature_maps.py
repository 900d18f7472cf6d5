"""Feature-map sizes by whole-number arithmetic.

Any chain of convolutions and poolings maps the side of an image to ``(side + offset) // stride``.
Both numbers are found once per level, from a few sizes the network is asked for, and then checked
on others. After that no Symbol is needed, which is what leaks and pickles slowly in GluonCV.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

__all__ = ["FeatureMapSizes", "fit_feature_maps"]

# Sides a network is asked for: PROBE and PROBE + SPAN give the stride (SPAN is so long that where
# its ends fall within a cell makes no difference to the rounded quotient), the others, small, odd,
# tall and wide, must then come out right.
PROBE = 512
SPAN = 2**20
CHECKS = ((800, 1216), (1333, 800), (607, 911), (321, 1025), (255, 257), (769, 130), (128, 128))


class FeatureMapSizes(NamedTuple):
    """How large each level's feature map is, for any image.

    ``offsets`` and ``strides`` hold one whole number per level, finest level first.
    """

    offsets: tuple[int, ...]
    strides: tuple[int, ...]

    def shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Return the (height, width) of each level's feature map, in cells."""
        return tuple(
            ((height + offset) // stride, (width + offset) // stride)
            for offset, stride in zip(self.offsets, self.strides)
        )


def fit_feature_maps(
    infer: Callable[[int, int], list[tuple[int, int]]], name: str = "network"
) -> FeatureMapSizes:
    """Find the arithmetic behind a network's feature-map sizes.

    Parameters
    ----------
    infer : callable
        Maps (height, width) of an image to the (height, width) of every feature map.
    name : str
        What to call the network in a message.

    Raises
    ------
    ValueError
        If the sizes are not ``(side + offset) // stride`` with whole numbers.
    """
    at_probe = [height for height, _ in infer(PROBE, PROBE)]
    at_end = [height for height, _ in infer(PROBE + SPAN, PROBE + SPAN)]
    strides = []
    for level, (begin, end) in enumerate(zip(at_probe, at_end)):
        stride = round(SPAN / max(1, end - begin))
        if abs((end - begin) * stride - SPAN) >= stride:
            raise ValueError(
                f"level {level} of {name} must grow by one cell per whole number of pixels, but "
                f"{SPAN} more pixels give {end - begin} more cells"
            )
        strides.append(stride)

    # Cells at PROBE + d are at_probe + 1 from the smallest d with PROBE + d + offset a multiple
    # of the stride; found by bisection, for all levels from the same answers.
    answers = {}
    offsets = []
    for level, stride in enumerate(strides):
        low, high = 0, stride  # at low the size is that at PROBE, at high one more
        while high - low > 1:
            middle = (low + high) // 2
            if middle not in answers:
                answers[middle] = infer(PROBE + middle, PROBE + middle)
            if answers[middle][level][0] > at_probe[level]:
                high = middle
            else:
                low = middle
        offsets.append((at_probe[level] + 1) * stride - PROBE - high)

    sizes = FeatureMapSizes(tuple(offsets), tuple(strides))
    for height, width in CHECKS:
        expected = tuple(infer(height, width))
        if sizes.shapes(height, width) != expected:
            raise ValueError(
                f"the feature maps of {name} must have (side + offset) // stride cells with whole "
                f"numbers, but an image of {height} x {width} has {expected} where offsets "
                f"{sizes.offsets} and strides {sizes.strides} give {sizes.shapes(height, width)}"
            )
    return sizes
