"""The small model under Accelerate, as its documentation drives it, and the bare loop on the same DataLoader."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from accelerate import Accelerator
from bare_loop import CLIP_NORM, Watch, build, new_average, new_optimizer, new_schedule, ready_batches, train_bare
from torch import nn
from torch.utils.data import DataLoader


def main(case: str, width: int, num_steps: int) -> float:
    """Train and return the microseconds of a step."""
    torch.set_num_threads(1)
    loader = DataLoader(ready_batches(num_steps), batch_size=None)
    if case == "bare":
        return train_bare(iter(loader), width=width, num_steps=num_steps)
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    model = build(width)
    optimizer = new_optimizer(model)
    schedule = new_schedule(optimizer, num_steps)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    average, watch = new_average(model), Watch(num_steps)
    for features, labels in loader:
        watch.step()
        with accelerator.accumulate(model):
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(nn.functional.cross_entropy(model(features), labels))
            accelerator.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
    return watch.microseconds


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
