"""RPN targets for Faster and Mask R-CNN in GluonCV, equal bit for bit and an order faster."""

from .compat import require_distutils, restore_numpy_aliases

restore_numpy_aliases()  # before MXNet is imported
require_distutils()

from .batchify import FasterRCNNTrainBatchify, MaskRCNNTrainBatchify  # noqa: E402
from .blocks import RPNTargetGenerator, RPNTargetSampler  # noqa: E402
from .mask_transform import MaskRCNNTrainTransform  # noqa: E402
from .plot import plot_targets  # noqa: E402
from .seeded_loader import seeded_loader  # noqa: E402
from .swap import install, uninstall  # noqa: E402
from .transform import FasterRCNNTrainTransform  # noqa: E402

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
