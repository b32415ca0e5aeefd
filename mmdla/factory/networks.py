"""The modules that :func:`mmdla.create_model` returns."""
import logging
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional, Sequence, Union

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmpretrain.models.heads import LinearClsHead, VisionTransformerClsHead
from torch import Tensor, nn

from mmdla.errors import UserError
from mmdla.registry import MODELS

from .architectures import Architecture


@contextmanager
def quietly() -> Iterator[None]:
    """A context without mmengine's line for every parameter that it initialises."""
    logger = MMLogger.get_current_instance()

    def matters(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO

    logger.addFilter(matters)
    try:
        yield
    finally:
        logger.removeFilter(matters)


class Classifier(BaseModule):
    """Images (B, 3, H, W) to logits (B, num_classes), or features (B, C) where there are no classes.

    Names of its tensors are those of mmpretrain's ImageClassifier: ``backbone.``, ``head.``.

    Args:
        architecture (Architecture): What it is made of.
        num_classes (int): 0 for features.
        **kwargs: Other arguments of the backbone.
    """

    def __init__(self, architecture: Architecture, num_classes: int, **kwargs) -> None:
        super().__init__(architecture.init_cfg)
        last = {} if architecture.token else dict(out_indices=(architecture.num_levels - 1, ))
        self.backbone = MODELS.build({**architecture.backbone, **last, **kwargs})
        self.pool, self.token = architecture.pool, architecture.token
        self.num_features = architecture.num_features
        self.head_cfg = architecture.head
        self.add_head(num_classes)
        with quietly():
            self.init_weights()

    def add_head(self, num_classes: int) -> None:
        if not isinstance(num_classes, int) or num_classes < 0:
            raise UserError(f'num_classes must be 0 or a positive integer; got {num_classes!r}.')
        self.num_classes = num_classes
        head = VisionTransformerClsHead if self.token else LinearClsHead
        self.head = head(num_classes=num_classes, in_channels=self.num_features,
                         **self.head_cfg) if num_classes else nn.Identity()

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the last map (B, C, H', W'), or to (B, C) of a class token."""
        return self.backbone(images)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """What :meth:`forward_features` returns to logits, or to features (B, C)."""
        if self.pool:
            x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return x if pre_logits or not self.num_classes else self.head((x, ))

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        """The last linear layer, as in timm."""
        if not self.num_classes:
            return self.head
        return self.head.layers.head if self.token else self.head.fc

    def reset_classifier(self, num_classes: int) -> None:
        """Another head, as in timm."""
        like = next(self.backbone.parameters())
        self.add_head(num_classes)
        if num_classes:
            with quietly():
                self.head.init_weights()
        self.head.to(like.device, like.dtype)


class FeatureInfo:
    """Channels and strides of feature maps, as timm tells them.

    Args:
        info (list[dict]): ``num_chs``, ``reduction`` and ``index`` of each map.
    """

    def __init__(self, info: List[dict]) -> None:
        self.info = info

    def get(self, key: str, idx: Union[None, int, Sequence[int]] = None):
        """A figure of all maps, of one, or of some."""
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[i][key] for i in (range(len(self.info)) if idx is None else idx)]

    def channels(self, idx: Union[None, int, Sequence[int]] = None):
        return self.get('num_chs', idx)

    def reduction(self, idx: Union[None, int, Sequence[int]] = None):
        return self.get('reduction', idx)

    @property
    def out_indices(self) -> List[int]:
        return self.get('index')

    def __getitem__(self, item: int) -> Dict[str, int]:
        return self.info[item]

    def __len__(self) -> int:
        return len(self.info)


class FeatureNet(nn.Module):
    """Images (B, 3, H, W) to a list of maps (B, C_i, H_i, W_i); ``feature_info`` describes them.

    Args:
        architecture (Architecture): What it is made of.
        out_indices (sequence of int, optional): Of the stages, or of the blocks of a vision transformer;
            they may count from the end. By default every stage, and every third block.
        **kwargs: Other arguments of the backbone.
    """

    def __init__(self, architecture: Architecture, out_indices: Optional[Sequence[int]] = None,
                 **kwargs) -> None:
        super().__init__()
        levels, given = architecture.num_levels, out_indices or architecture.levels
        if not all(isinstance(index, int) and -levels <= index < levels for index in given):
            raise UserError(f'out_indices must be from 0 to {levels - 1}, or count from the end; got '
                            f'{given!r}.')
        indices = sorted({index % levels for index in given})
        self.backbone = MODELS.build(
            {**architecture.backbone, **architecture.features, 'out_indices': indices, **kwargs})
        self.feature_info = self.measure(indices, kwargs.get('in_channels', 3), architecture.image_size)

    @torch.no_grad()
    def measure(self, indices: List[int], in_channels: int, size: int) -> FeatureInfo:
        """By a forward pass."""
        training = self.training
        maps = self.eval()(torch.zeros(1, in_channels, size, size))
        self.train(training)
        return FeatureInfo([dict(num_chs=x.shape[1], reduction=size // x.shape[-1], index=index)
                            for index, x in zip(indices, maps)])

    def forward(self, images: Tensor) -> List[Tensor]:
        return list(self.backbone(images))
