"""RPN targets for Faster and Mask R-CNN in GluonCV, equal bit for bit and an order faster.

The rooms, each of which knows only those above it:

* `core`: anchors, matcher, sampler, box coder; NumPy only;
* `gluon`: GluonCV's names and calls: Blocks, transforms, batchify, COCO data sets;
* `loader` (reproducible batches), `swap` (our classes in GluonCV's places), `plot`;
* `report`: what a network's anchors learn from a data set;
* `cli` and `benchmark`: the command ``rpn-target``.

`compat` runs first: it restores what MXNet needs of NumPy and Python.

In shapes, N is the number of anchors, A that per cell of a feature map, M the number of objects in
an image, b the number of images in a batch; boxes are corners (xmin, ymin, xmax, ymax) in pixels.
"""

from typing import TYPE_CHECKING, Any

from .compat import require_distutils, restore_numpy_aliases

restore_numpy_aliases()  # before MXNet is imported
require_distutils()

from .core.settings import RPNTargetWarning  # noqa: E402
from .gluon.batchify import FasterRCNNTrainBatchify, MaskRCNNTrainBatchify  # noqa: E402
from .gluon.blocks import RPNTargetGenerator, RPNTargetSampler  # noqa: E402
from .gluon.datasets import COCODetection, COCOInstance  # noqa: E402
from .gluon.network import AnchorLattice  # noqa: E402
from .gluon.set_anchors import set_anchors  # noqa: E402
from .gluon.transforms import FasterRCNNTrainTransform, MaskRCNNTrainTransform  # noqa: E402
from .loader.seeded_loader import seeded_loader  # noqa: E402
from .plot import plot_targets  # noqa: E402
from .swap.install import install, uninstall  # noqa: E402
from .version import __version__ as __version__  # noqa: E402

if TYPE_CHECKING:
    from .report.inspection import inspect_dataset, suggest_anchors

__all__ = [
    "AnchorLattice",
    "COCODetection",
    "COCOInstance",
    "FasterRCNNTrainBatchify",
    "FasterRCNNTrainTransform",
    "MaskRCNNTrainBatchify",
    "MaskRCNNTrainTransform",
    "RPNTargetGenerator",
    "RPNTargetSampler",
    "RPNTargetWarning",
    "inspect_dataset",
    "install",
    "plot_targets",
    "seeded_loader",
    "set_anchors",
    "suggest_anchors",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    """Import the report on first use: training does not need it."""
    if name in ("inspect_dataset", "suggest_anchors"):
        from .report import inspection

        return getattr(inspection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
