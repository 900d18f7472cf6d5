"""RPN targets for Faster and Mask R-CNN in GluonCV, equal bit for bit and an order faster.

Where things are, from the numbers outwards:

* `boxes`, `anchors` and `anchor_array` (on a lattice, or any), `inside` (which are valid);
* `windows`, `overlaps`, `dense`, `assignment`: which anchors are positive, which negative;
* `sampling`, `targets`, `generation`: which of them are kept, and the arrays for the loss;
* `settings`, `randomness`: what the user chooses, where draws come from;
* `blocks`, `transform`, `mask_transform`, `batchify`: GluonCV's names and calls, on top of
  `network`, `feature_maps`, `image`, `label`, `ndarray`;
* `swap`, `gluoncv_classes`: these in the places of GluonCV's;
* `seeded_loader`, `batch_order`: reproducible batches;
* `cli`, `commands`, `benchmark`, `report`, `plot`: what people look at;
* `compat`: what recent NumPy and Python lack for MXNet.

In shapes, N is the number of anchors, A that per cell of a feature map, M the number of objects in
an image, b the number of images in a batch; boxes are corners (xmin, ymin, xmax, ymax) in pixels.
"""

from .compat import require_distutils, restore_numpy_aliases

restore_numpy_aliases()  # before MXNet is imported
require_distutils()

from .gluon.batchify import FasterRCNNTrainBatchify, MaskRCNNTrainBatchify  # noqa: E402
from .gluon.blocks import RPNTargetGenerator, RPNTargetSampler  # noqa: E402
from .gluon.mask_transform import MaskRCNNTrainTransform  # noqa: E402
from .gluon.transforms import FasterRCNNTrainTransform  # noqa: E402
from .loader.seeded_loader import seeded_loader  # noqa: E402
from .plot import plot_targets  # noqa: E402
from .swap.install import install, uninstall  # noqa: E402

__all__ = [
    "FasterRCNNTrainBatchify",
    "FasterRCNNTrainTransform",
    "MaskRCNNTrainBatchify",
    "MaskRCNNTrainTransform",
    "RPNTargetGenerator",
    "RPNTargetSampler",
    "install",
    "plot_targets",
    "seeded_loader",
    "uninstall",
]

__version__ = "0.1.0"
