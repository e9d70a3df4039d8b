from pathlib import Path

from kedro.io import AbstractDataset


class OnDisk(AbstractDataset):
    """What a node has written itself, under its path."""

    def __init__(self, filepath):
        self._path = Path(filepath)

    def load(self):
        return str(self._path)

    def save(self, data):
        pass

    def _exists(self):
        return self._path.exists()

    def _describe(self):
        return {"filepath": str(self._path)}
