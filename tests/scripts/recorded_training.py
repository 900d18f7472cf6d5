"""The training example, recording in a folder what this process reads, and its weights at the end.

The folder is named by RECORDS. PID.started is there as soon as the process runs, PID.json when
it has trained.
"""

import hashlib
import json
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples"))

import rpn_target  # noqa: F401  first, for the sake of recent NumPy

# isort: split
import train_faster_rcnn

PATH = os.path.join(os.environ.get("RECORDS", "."), str(os.getpid()))


def digest(arrays):
    """Return a number for the bytes of nested NDArrays."""
    if isinstance(arrays, (list, tuple)):
        return hashlib.sha256(" ".join(map(digest, arrays)).encode()).hexdigest()
    return hashlib.sha256(arrays.asnumpy().tobytes()).hexdigest()


def recorded(batches, digests):
    """Yield batches, and keep a digest of each."""
    for batch in batches:
        digests.append(digest(batch))
        yield batch


def train(net, trainer, batches, *others, train=train_faster_rcnn.train):
    """Train, and write the record."""
    digests = []
    history = train(net, trainer, recorded(batches, digests), *others)
    weights = {
        name: digest(parameter.list_data())
        for name, parameter in net.collect_train_params().items()
        if parameter.grad_req != "null"  # not the statistics, which every rank has of its own data
    }
    with open(PATH + ".json", "w") as file:
        json.dump({"batches": digests, "weights": weights}, file)
    return history


if __name__ == "__main__":
    open(PATH + ".started", "w").close()
    train_faster_rcnn.train = train
    sys.exit(train_faster_rcnn.main())
