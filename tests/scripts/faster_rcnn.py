"""A training script for Faster R-CNN, of the shape that GluonCV's own has.

It knows GluonCV only, imports the transform and the batchify class by name, and calls them the
way GluonCV's script calls them.
"""

import os

from gluoncv import data as gdata
from gluoncv.data.batchify import FasterRCNNTrainBatchify
from gluoncv.data.mixup import detection
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform
from gluoncv.utils.parallel import Parallelizable
from mxnet import autograd, gluon
from official import (
    EXAMPLES,
    SplitSortedBucketSampler,
    initialize,
    normalized,
    parse_args,
    place,
    train,
)


class Photos(gdata.VOCDetection):
    """The photographs of the examples."""

    CLASSES = (
        "camera", "cat", "coin", "cup", "eye", "face", "helmet", "nose",
        "person", "rocket", "saucer", "shuttle", "spoon", "tower", "tripod",
    )  # fmt: skip


class ForwardBackwardTask(Parallelizable):
    """The step of one device."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.rpn_cls_loss = gluon.loss.SigmoidBinaryCrossEntropyLoss(from_sigmoid=False)
        self.rpn_box_loss = gluon.loss.HuberLoss(rho=1 / 9.0)
        self.rcnn_cls_loss = gluon.loss.SoftmaxCrossEntropyLoss()
        self.rcnn_box_loss = gluon.loss.HuberLoss(rho=1.0)
        self.mix_ratio = 1.0

    def forward_backward(self, data):
        """Return the four losses of a batch, after the backward pass."""
        image, label, rpn_cls_targets, rpn_box_targets, rpn_box_masks = data
        with autograd.record():
            outputs = self.net(image, label[:, :, :4], label[:, :, 4:5])
            cls_pred, box_pred, _, _, _, rpn_score, rpn_box, _ = outputs[:8]
            cls_targets, box_targets, box_masks = outputs[8:11]
            sampled = rpn_cls_targets >= 0
            rpn_score = rpn_score.squeeze(axis=-1)
            rpn_cls = self.rpn_cls_loss(rpn_score, rpn_cls_targets, sampled)
            rpn_box_loss = self.rpn_box_loss(rpn_box, rpn_box_targets, rpn_box_masks)
            kept = cls_targets >= 0
            rcnn_cls = self.rcnn_cls_loss(cls_pred, cls_targets, kept.expand_dims(-1))
            rcnn_box = self.rcnn_box_loss(box_pred, box_targets, box_masks)
            losses = (
                normalized(rpn_cls, rpn_cls_targets, sampled.sum()),
                normalized(rpn_box_loss, rpn_box, sampled.sum()),
                normalized(rcnn_cls, cls_targets, kept.sum()),
                normalized(rcnn_box, box_pred, kept.sum()),
            )
            total = sum(loss.sum() for loss in losses) * self.mix_ratio
        total.backward()
        return [loss.mean() * self.mix_ratio for loss in losses]


def get_dataloader(net, train_dataset, train_transform, batch_size, num_shards, parts, args):
    """Return the loader of training batches."""
    train_bfn = FasterRCNNTrainBatchify(net, num_shards)
    if hasattr(train_dataset, "get_im_aspect_ratio"):
        im_aspect_ratio = train_dataset.get_im_aspect_ratio()
    else:
        im_aspect_ratio = [1.0] * len(train_dataset)
    num_parts, part_index = parts
    train_sampler = SplitSortedBucketSampler(
        im_aspect_ratio, batch_size, num_parts=num_parts, part_index=part_index, shuffle=True
    )
    transform = train_transform(
        net.short, net.max_size, net, ashape=net.ashape, multi_stage=args.use_fpn
    )
    return gluon.data.DataLoader(
        train_dataset.transform(transform),
        batch_sampler=train_sampler,
        batchify_fn=train_bfn,
        num_workers=args.num_workers,
    )


def main():
    """Train."""
    args = parse_args(__doc__)
    from small_networks import build_network

    *parts, ctx = place(args)
    train_dataset = Photos(root=EXAMPLES, splits=[("photos", "trainval")])
    net = build_network(
        "fpn" if args.use_fpn else "c4", Photos.CLASSES, 128, 192, args.batch_size // len(ctx)
    )
    initialize(net, ctx)
    if args.mixup:
        train_dataset = detection.MixupDetection(train_dataset)
    train_data = get_dataloader(
        net, train_dataset, FasterRCNNDefaultTrainTransform, args.batch_size, len(ctx), parts, args
    )
    train(net, train_data, ForwardBackwardTask, ctx, args)


if __name__ == "__main__":
    main()
    print(os.path.basename(__file__), "has ended")
