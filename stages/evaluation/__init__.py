"""Evaluation: how good the trained detector is, on held-out scenes and on real images, against targets."""
