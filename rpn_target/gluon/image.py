"""Image: from the resized picture to the network's input tensor."""

from __future__ import annotations

from typing import Sequence

import numpy as np

__all__ = ["normalize_into"]

ROWS_AT_ONCE = 64  # few enough to stay in the processor's cache over all four operations


def normalize_into(
    out: np.ndarray,
    image: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    flip: bool = False,
) -> None:
    """Write ``(image / 255 - mean) / std`` into ``out``, plane by plane, in float32.

    Rounds as MXNet's ``to_tensor`` and ``normalize`` do one after the other.

    Parameters
    ----------
    out : np.ndarray of shape (3, H, W), float32
        Where the tensor goes.
    image : np.ndarray of shape (H, W, 3)
        Red, green and blue, 0 to 255, any real dtype.
    mean, std : sequence of 3 floats, or of 1 for all channels
        In units of the scaled image, 0 to 1.
    flip : bool
        Mirror the image horizontally on the way.
    """
    means = np.broadcast_to(np.asarray(mean, np.float32), 3)
    stds = np.broadcast_to(np.asarray(std, np.float32), 3)
    if flip:
        image = image[:, ::-1]
    for start in range(0, len(image), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        for channel, plane in enumerate(out[:, rows]):
            if image.dtype == np.float64:
                np.divide(image[rows, :, channel], 255, out=plane, casting="same_kind")
            else:  # float32 holds every smaller type
                np.copyto(plane, image[rows, :, channel], casting="same_kind")
                plane /= np.float32(255)
            plane -= means[channel]
            plane /= stds[channel]
