"""mmengine's Runner with a readable console, safe checkpoints and distributed training on CPUs."""
import functools
import logging
import re
import time
from difflib import get_close_matches
from typing import Callable, Optional

import torch.distributed as dist
from mmengine import registry
from mmengine.device import get_device
from mmengine.dist import is_distributed, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import Runner as MMEngineRunner
from torch import nn
from torch.utils.data import DataLoader

from mmdla.attention.layer_attention import LayerAttention
from mmdla.engine.data_errors import named
from mmdla.engine.start import Start
from mmdla.errors import UserError, is_full, reason
from mmdla.ops.tuned import advice
from mmdla.registry import MODELS

FOR_THE_LOG_FILE = (
    '\n' + '-' * 60, 'Config:\n', 'Hooks will be executed', 'Distributed training is not used',
    'Failed to search registry', '"FileClient" will', '"HardDiskBackend" is', 'paramwise_options')
OF_FROZEN_PARAMETERS = 'is skipped since its requires_grad=False'

OF_MMENGINE = ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook)


def worth_showing(record: logging.LogRecord) -> bool:
    """Whether a person at the console wants to see a log record."""
    text = record.getMessage()
    return not (text.startswith(FOR_THE_LOG_FILE) or text.endswith(OF_FROZEN_PARAMETERS))


def explained(part: str, method: Callable) -> Callable:
    """A method that builds a part of a config, with an error that says which part and what is wrong."""

    @functools.wraps(method)
    def build(*args, **kwargs):
        try:
            return method(*args, **kwargs)
        except UserError:
            raise
        except Exception as error:
            if is_full(error):
                raise
            raise UserError(f'{part} of the config cannot be built ({what(error)}): correct it '
                            '(MMDLA_TRACEBACK=1 in the environment shows where).') from error

    return build


def what(error: Exception) -> str:
    """An exception as one line; for a type that is not registered, with the name it may mean."""
    unknown = re.search(r'(\S+) is not in the \S+ registry', str(error))
    if not unknown:
        return reason(error)
    known = [f'mmdla.{name}' for name in MODELS.module_dict] + list(registry.MODELS.module_dict)
    near = get_close_matches(unknown[1].strip('\'"'), known, 1)
    return f'{unknown[0]}{f"; did you mean {near[0]}?" if near else ""}'.strip('\'"')


class Runner(MMEngineRunner):
    """Differs from mmengine's in a few things.

    The environment report, the whole config and the list of hooks go to the log file only. Where
    there is no GPU, several processes train together on CPUs (gloo), with BN for SyncBN, which CPUs do
    not have. Mistakes in a part of the config are one sentence, and an error of a data set, or in the
    work on one of its images, names the file. And whatever the config, checkpoints are saved by
    :class:`mmdla.engine.checkpoint_hook.CheckpointHook`, and a loss that is not finite ends the run. The
    log of a run with layer attention on a GPU begins with advice to run mmdla.doctor, where it was not.

    Attributes:
        start (Start, optional): What the model takes over from a trained one, once it is initialised.
    """

    start: Optional[Start] = None

    build_model = explained('model', MMEngineRunner.build_model)
    build_train_loop = explained('train_dataloader or train_cfg', MMEngineRunner.build_train_loop)
    build_val_loop = explained('val_dataloader, val_evaluator or val_cfg', MMEngineRunner.build_val_loop)
    build_test_loop = explained('test_dataloader, test_evaluator or test_cfg',
                                MMEngineRunner.build_test_loop)
    build_optim_wrapper = explained('optim_wrapper', MMEngineRunner.build_optim_wrapper)
    build_param_scheduler = explained('param_scheduler', MMEngineRunner.build_param_scheduler)
    build_visualizer = explained('visualizer', MMEngineRunner.build_visualizer)
    build_log_processor = explained('log_processor', MMEngineRunner.build_log_processor)
    scale_lr = explained('auto_scale_lr', MMEngineRunner.scale_lr)
    set_randomness = explained('randomness', MMEngineRunner.set_randomness)
    register_custom_hooks = explained('custom_hooks', MMEngineRunner.register_custom_hooks)

    @classmethod
    def from_cfg(cls, cfg) -> 'Runner':
        return explained('a top-level setting', super().from_cfg)(cfg)

    def register_default_hooks(self, hooks: Optional[dict] = None) -> None:
        hooks = dict(hooks or {})
        saving = hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
        if isinstance(saving, dict) and saving.get('type') in OF_MMENGINE:
            hooks['checkpoint'] = {**saving, 'type': 'mmdla.CheckpointHook'}
        if hooks.setdefault('finite_loss', dict(type='mmdla.FiniteLossHook')) is None:
            del hooks['finite_loss']
        explained('default_hooks', super().register_default_hooks)(hooks)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(worth_showing)
        return logger

    def setup_env(self, env_cfg: dict) -> None:
        if self.distributed and get_device() == 'cpu' and not is_distributed():
            if self._launcher != 'pytorch':
                raise UserError(f'launcher {self._launcher} needs GPUs: without any, '
                                'tools/dist_train.sh and tools/dist_test.sh run on CPUs.')
            dist.init_process_group('gloo')
        super().setup_env(env_cfg)

    @staticmethod
    def build_dataloader(dataloader, *args, **kwargs) -> DataLoader:
        if isinstance(dataloader, dict):
            dataloader = {**dataloader, 'dataset': named(dataloader['dataset'])}
        return MMEngineRunner.build_dataloader(dataloader, *args, **kwargs)

    def load_or_resume(self) -> None:
        if self.start is not None:
            model = getattr(self.model, 'module', self.model)
            self.start.fill(model)
            self.start = None
            self.call_hook('after_load_checkpoint', checkpoint=dict(state_dict=model.state_dict()))
        super().load_or_resume()

    def resume(self, filename: str, *args, **kwargs) -> None:
        try:
            super().resume(filename, *args, **kwargs)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f'{filename} cannot be resumed ({reason(error)}): start from its weights '
                            f'with --cfg-options load_from={filename}.') from error

    def train(self) -> nn.Module:
        layers = any(isinstance(module, LayerAttention) for module in self.model.modules())
        text = advice(next(self.model.parameters()).device) if layers and is_main_process() else None
        if text:
            self.logger.info(text)
        return super().train()

    @staticmethod
    def leave() -> None:
        """End the talk with other processes.

        Gloo's threads hold the tensors of its last operations, and need Python's lock to let them go: at
        the exit of Python they would abort the process.
        """
        if is_distributed():
            dist.destroy_process_group()
            time.sleep(0.2)

    def wrap_model(self, model_wrapper_cfg, model: nn.Module) -> nn.Module:
        if self.distributed and get_device() == 'cpu' and model_wrapper_cfg is None:
            model = revert_sync_batchnorm(model)
            return MMDistributedDataParallel(
                module=model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False))
        return super().wrap_model(model_wrapper_cfg, model)
