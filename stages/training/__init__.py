"""Training that goes on at the exact sample: the loop, its state, its checkpoints and its progress."""
