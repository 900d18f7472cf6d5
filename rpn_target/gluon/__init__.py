"""GluonCV's names and calls on top of `rpn_target.core`: Blocks, transforms, batchify."""
