"""Chunks of samples on disk: their format, their manifest, the order of an epoch and the reader that resumes."""
