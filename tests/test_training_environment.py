"""What a checkpoint remembers of where it was made, and what changed since."""

from __future__ import annotations

import torch

from stages.training.environment import describe_environment, environment_changes


def test_changes_are_named_old_and_new() -> None:
    """Each difference is said; what is the same is not."""
    environment = describe_environment(torch.device("cpu"), precision="fp32")
    assert {"torch", "cpu_capability", "num_threads", "world_size", "precision"} <= set(environment)
    assert environment_changes(environment, environment) == []
    assert environment_changes({**environment, "num_threads": 999}, environment) == [
        f"num_threads: 999 -> {torch.get_num_threads()}"
    ]
