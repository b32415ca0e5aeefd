"""Stopping a run that diverged."""
import math
from typing import Optional

import torch
from mmengine.hooks import Hook

from mmdla.engine.resume import Saved
from mmdla.errors import RunError
from mmdla.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops training when the loss is NaN or infinite in several iterations in a row.

    Args:
        patience (int): How many. Default: 3.

    Raises:
        RunError: Then.
    """

    def __init__(self, patience: int = 3) -> None:
        if patience < 1:
            raise ValueError(f'patience must be at least 1; got {patience}')
        self.patience, self.count = patience, 0

    def after_train_iter(self, runner, batch_idx: int, data_batch=None,
                         outputs: Optional[dict] = None) -> None:
        loss = float(torch.as_tensor((outputs or {}).get('loss', 0)).detach())
        self.count = 0 if math.isfinite(loss) else self.count + 1
        if self.count >= self.patience:
            raise RunError(
                f'the loss was not finite in {self.count} iterations in a row, up to iteration '
                f'{runner.iter + 1}: lower the learning rate, warm up longer, or clip gradients '
                f'(optim_wrapper.clip_grad); {Saved.of(runner.cfg, runner.work_dir).way_on()}.')
