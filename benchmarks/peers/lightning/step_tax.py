"""The small model under Lightning, with everything off and as it comes, and the bare loop on the same DataLoader."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import lightning
import torch
from bare_loop import CLIP_NORM, Watch, build, new_average, new_optimizer, new_schedule, ready_batches
from torch import nn
from torch.utils.data import DataLoader

_LEAN: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Module(lightning.LightningModule):
    """The small model with its optimizer, schedule and average; `is_lean` logs nothing."""

    def __init__(self, *, width: int, num_steps: int, is_lean: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = build(width)
        self.watch = Watch(num_steps)
        self._average = new_average(self.model)
        self._num_steps = num_steps
        self._is_lean = is_lean

    def training_step(self, batch: Any, _index: int) -> torch.Tensor:
        """Return the loss of a batch."""
        self.watch.step()
        features, labels = batch
        loss = nn.functional.cross_entropy(self.model(features), labels)
        if not self._is_lean:
            self.log("loss", loss, prog_bar=True)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Follow the weights."""
        self._average.update_parameters(self.model)

    def configure_optimizers(self) -> dict[str, Any]:
        """Return optimizer and schedule."""
        optimizer = new_optimizer(self.model)
        schedule = new_schedule(optimizer, self._num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main(case: str, width: int, num_steps: int) -> float:
    """Train and return the microseconds of a step."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    module = Module(width=width, num_steps=num_steps, is_lean=case == "lean")
    loader = DataLoader(ready_batches(num_steps), batch_size=None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            gradient_clip_val=CLIP_NORM,
            default_root_dir=folder,
            **(_LEAN if case == "lean" else {}),
        )
        trainer.fit(module, loader)
    return module.watch.microseconds


if __name__ == "__main__":
    answer = main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(f"\n{json.dumps(answer)}")
