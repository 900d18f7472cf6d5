"""GluonCV's Faster R-CNN estimator, which imports the transform and the batchify class by name."""

import logging
import os
import random
import re

import mxnet as mx
import numpy as np
from gluoncv.auto.data.dataset import ObjectDetectionDataset
from gluoncv.auto.estimators.faster_rcnn import FasterRCNNEstimator, faster_rcnn
from official import EXAMPLES, initialize, parse_args

CONFIG = {
    "gpus": (),
    "kv_store": "local",
    "faster_rcnn": {"transfer": None},
    "train": {
        "epochs": 1, "batch_size": 1, "pretrained_base": False, "executor_threads": 1,
        "log_interval": 1,
    },
}  # fmt: skip


class PrintLosses(logging.Handler):
    """Prints the losses and accuracies that the estimator logs, without its speed."""

    def emit(self, record):
        """Print a record."""
        pattern = r"\[Epoch (\d+)\]\[Batch (\d+)\], Speed: \S+ samples/sec, (.*)"
        found = re.match(pattern, str(record.msg))
        if found:
            print("epoch", found.group(1), "batch", found.group(2), found.group(3), flush=True)


def main():
    """Train."""
    args = parse_args(__doc__)
    from small_networks import build_network

    def small_network(name, classes, **options):
        net = build_network("fpn", classes, 128, 192, args.batch_size)
        initialize(net, [mx.cpu()])
        return net

    # The one it would build is none to train on a CPU in a test.
    faster_rcnn.get_model = small_network
    photos = ObjectDetectionDataset.from_voc(os.path.join(EXAMPLES, "photos"), splits="trainval")
    logger = logging.getLogger("auto")
    logger.propagate = False
    logger.addHandler(PrintLosses())
    config = {**CONFIG, "num_workers": args.num_workers}
    estimator = FasterRCNNEstimator(config, logger=logger)
    random.seed(args.seed)
    np.random.seed(args.seed)
    mx.random.seed(args.seed)
    estimator.fit(photos, photos[:1])


if __name__ == "__main__":
    main()
    print(os.path.basename(__file__), "has ended")
