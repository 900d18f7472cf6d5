"""The numeric steps: anchors and boxes in, targets out. This layer imports NumPy only."""
