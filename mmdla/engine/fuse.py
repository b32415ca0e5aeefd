"""Networks made smaller for inference."""
from mmcv.cnn import fuse_conv_bn
from mmengine.hooks import EMAHook, Hook
from torch import nn

from mmdla.attention import Interaction
from mmdla.errors import UserError


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
    for module in model.modules():
        if isinstance(module, Interaction):
            module.fuse()
    return fuse_conv_bn(model)


class FuseHook(Hook):
    """Fuses the model between loading its checkpoint and testing it."""

    def before_test(self, runner) -> None:
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise UserError('--fuse does not go with EMAHook, which exchanges weights before a test: '
                            'leave one of them out.')
        fuse(runner.model.eval())
