"""The global random generators that dropout and the like draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class RngState:
    """The state of the generators of torch (CPU and every CUDA device), NumPy and Python."""

    def seed(self, seed: int) -> None:
        """Seed all of them; `seed` is below 2**32."""
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global generator, which a task's code may draw from
        random.seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """Return the states as tensors and numbers."""
        version, words, gauss = random.getstate()
        # The legacy state is a tuple of five; its keys are uint32, which safetensors stores but torch hardly knows.
        name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
        # Asking for it would start CUDA, where nobody has yet.
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        return {
            "torch": torch.get_rng_state(),
            "cuda": {str(index): state for index, state in enumerate(cuda)},
            "numpy": {
                "name": name,
                "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
                "position": [int(position), int(has_gauss), float(cached)],
            },
            "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the states; those of CUDA devices that are not here are left out."""
        torch.set_rng_state(state["torch"])
        for index, device_state in state.get("cuda", {}).items():
            if int(index) < torch.cuda.device_count():
                torch.cuda.set_rng_state(device_state, int(index))
        stored = state["numpy"]
        position, has_gauss, cached = stored["position"]
        keys = stored["keys"].numpy().astype(np.uint32)
        np.random.set_state((stored["name"], keys, position, has_gauss, cached))  # noqa: NPY002
        python = state["python"]
        random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Put the generators back afterwards, whatever was drawn from them."""
        state = self.state_dict()
        try:
            yield
        finally:
            self.load_state_dict(state)
