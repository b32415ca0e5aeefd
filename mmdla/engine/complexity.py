"""Parameters and FLOPs of a config's model.

A FLOP is a multiplication with its addition, as in the papers. The analysis is mmengine's, which
counts convolutions, linear layers, matrix products, norms and average pooling of a traced forward
pass of one image. It leaves out what layer attention is made of, so this is added: elementwise
products (a weight or gate times a map, and the 1-D convolutions, which are such products), channel
means and attention over positions. Activations, sums without a product, pooling for the largest
value, RoIAlign and NMS count nothing.
"""
import logging
import warnings
from copy import deepcopy
from math import prod
from typing import Iterable, NamedTuple, Optional, Tuple

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.analysis.jit_handles import elementwise_flop_counter, get_shape
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdla.ops import use
from mmdla.trunks.trunk import Trunk

PROPOSALS = 1000


class Complexity(NamedTuple):
    """What a model has.

    Attributes:
        parameters (int): All.
        trained (int): Those that the config does not freeze.
        frozen_plugins (int): Of the others, those of the attention in frozen blocks.
        statistics (int): Running means and variances of norms.
        flops (int, optional): Of one image, if they were counted.
    """

    parameters: int
    trained: int
    frozen_plugins: int
    statistics: int
    flops: Optional[int]


def einsum_flops(inputs, outputs) -> int:
    """Of a product of two tensors: every combination of the indices."""
    equation = inputs[0].toIValue().replace(' ', '')
    sizes = {}
    for names, tensor in zip(equation.partition('->')[0].split(','), inputs[1].node().inputs()):
        sizes.update(zip(names, get_shape(tensor)))
    return prod(sizes.values())


def attention_flops(inputs, outputs) -> int:
    """Of softmax(q k) v: q is (..., N, D), v (..., M, D')."""
    q, v = get_shape(inputs[0]), get_shape(inputs[2])
    return prod(q[:-1]) * v[-2] * (q[-1] + v[-1])


HANDLES = {
    'aten::mul': elementwise_flop_counter(0, 1),
    'aten::addcmul': elementwise_flop_counter(0, 1),
    'aten::mean': elementwise_flop_counter(1, 0),
    'aten::einsum': einsum_flops,
    'aten::scaled_dot_product_attention': attention_flops,
}


class Network(nn.Module):
    """The network of a classifier or detector without its losses and its post-processing.

    The second stage of a detector sees as many proposals as it does in a test, 1000.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        features = self.model.extract_feat(images)
        if hasattr(self.model, 'roi_head'):
            boxes = images.new_tensor([0, 0, *images.shape[:1:-1]]).expand(PROPOSALS, 4)
            sample = InstanceData(metainfo=dict(img_shape=tuple(images.shape[2:])))
            return (self.model.rpn_head(features),
                    self.model.roi_head(features, [InstanceData(bboxes=boxes)], [sample]))
        return getattr(self.model, 'bbox_head', getattr(self.model, 'head', None))(features)


def build(cfg: Config) -> nn.Module:
    """The config's model, without pretrained weights."""
    import mmdla.models  # noqa: F401  registers the backbones
    scope = cfg.get('default_scope', 'mmengine')
    model = deepcopy(cfg.model)
    if 'data_preprocessor' in cfg:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope(scope):
        with MODELS.switch_scope_and_registry(scope) as registry:
            return registry.build(model).eval()


def flops(model: nn.Module, shape: Tuple[int, int]) -> int:
    """FLOPs of a built model.

    Args:
        model (nn.Module): Classifier or detector in eval mode.
        shape (tuple[int, int]): Height and width of the image.
    """
    analyzer = FlopAnalyzer(Network(model), torch.zeros(1, 3, *shape))
    analyzer.set_op_handle(**HANDLES)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analyzer.tracer_warnings('none')
    with torch.no_grad(), use('reference'), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return int(analyzer.total())


def usual_shape(cfg: Config) -> Tuple[int, int]:
    """Height and width at which the papers count a config's model."""
    if 'rpn_head' in cfg.model or 'bbox_head' in cfg.model:
        return 800, 1280
    return (32, 32) if cfg.model.backbone.get('trunk') == 'cifar' else (224, 224)


def total(tensors: Iterable[Tensor]) -> int:
    """Numbers in them."""
    return sum(t.numel() for t in tensors)


def complexity(cfg: Config, shape: Optional[Tuple[int, int]]) -> Complexity:
    """Build a config's model and count.

    Args:
        cfg (Config): Of a classifier or detector.
        shape (tuple[int, int], optional): Height and width of the image, or None to count
            parameters alone.
    """
    level, logging.root.manager.disable = logging.root.manager.disable, logging.WARNING
    try:
        model = build(cfg)
        layers = model.backbone.plugin_layers().values() if isinstance(model.backbone, Trunk) else ()
        plugins = [p for layer in layers for p in layer.parameters()]
        return Complexity(
            parameters=total(model.parameters()),
            trained=total(p for p in model.parameters() if p.requires_grad),
            frozen_plugins=total(p for p in plugins if not p.requires_grad),
            statistics=total(b for name, b in model.named_buffers() if 'running_' in name),
            flops=flops(model, shape) if shape else None)
    finally:
        logging.root.manager.disable = level
