"""What a network's anchors learn from a dataset: ``rpn-target inspect`` and ``show``."""
