"""Networks made smaller for inference."""
from mmcv.cnn import fuse_conv_bn
from mmengine.hooks import EMAHook, Hook
from torch import nn

from mmdla.errors import UserError
from mmdla.trunks.trunk import Trunk


def fuse(model: nn.Module) -> nn.Module:
    """Fold the BatchNorms of a trained model that have a neighbour to go into, in place.

    Those of the trunk go into the convolutions before them (mmcv's fuse_conv_bn), those of layer
    attention into the factors of its last step. Outputs stay the same up to rounding; the
    state_dict does not, and the model cannot be trained any more.

    Args:
        model (nn.Module): Detector, classifier or backbone in eval mode.

    Returns:
        nn.Module: The model.

    Raises:
        UserError: If the model is in training mode.
    """
    if model.training:
        raise UserError('fuse() is for inference: call model.eval() first.')
    trunks = [module for module in model.modules() if isinstance(module, Trunk)]
    attentions = [trunk.attention for trunk in trunks]
    for trunk in trunks:
        for attention in trunk.attention:
            attention.fuse()
        trunk.attention = nn.ModuleList()  # fuse_conv_bn takes neighbours for a sequence
    model = fuse_conv_bn(model)
    for trunk, attention in zip(trunks, attentions):
        trunk.attention = attention
    return model


class FuseHook(Hook):
    """Fuses the model between loading its checkpoint and testing it."""

    def before_test(self, runner) -> None:
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise UserError('--fuse does not go with EMAHook, which exchanges weights before a test: '
                            'leave one of them out.')
        fuse(runner.model.eval())
