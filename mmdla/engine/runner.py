"""mmengine's Runner with a readable console and distributed training on CPUs."""
import logging

import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import Runner as MMEngineRunner
from torch import nn
from torch.utils.data import DataLoader

from mmdla.engine.data_errors import named
from mmdla.errors import UserError
from mmdla.hosts.compat import mmengine_checkpoints

FOR_THE_LOG_FILE = (
    '\n' + '-' * 60, 'Config:\n', 'Hooks will be executed', 'Distributed training is not used',
    'Failed to search registry', '"FileClient" will', '"HardDiskBackend" is', 'paramwise_options')


def worth_showing(record: logging.LogRecord) -> bool:
    """Whether a person at the console wants to see a log record."""
    return not record.getMessage().startswith(FOR_THE_LOG_FILE)


class Runner(MMEngineRunner):
    """Differs from mmengine's in three things.

    The environment report, the whole config and the list of hooks go to the log file only. And
    where there is no GPU, several processes train together on CPUs (gloo), with BN for SyncBN,
    which CPUs do not have. And an error of a data set, or in the work on one of its images, names the
    file.
    """

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

    def load_checkpoint(self, *args, **kwargs) -> dict:
        with mmengine_checkpoints():
            return super().load_checkpoint(*args, **kwargs)

    def wrap_model(self, model_wrapper_cfg, model: nn.Module) -> nn.Module:
        if self.distributed and get_device() == 'cpu' and model_wrapper_cfg is None:
            model = revert_sync_batchnorm(model)
            return MMDistributedDataParallel(
                module=model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False))
        return super().wrap_model(model_wrapper_cfg, model)
