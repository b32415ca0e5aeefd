"""A stand-in for ``mmcv._ext``, mmcv's compiled operators, where they are absent.

Faster, Mask and Cascade R-CNN need two of them, nms and RoIAlign, and RetinaNet the focal loss.
They come from torchvision here, with mmcv's signatures and definitions. Any other operator raises
one sentence when it is called.
"""
import importlib.machinery
import importlib.util
import sys
import types

import torch
import torchvision
from torch import Tensor

NAME = 'mmcv._ext'


def register() -> bool:
    """Put the stand-in in place of ``mmcv._ext`` unless the compiled one exists.

    Returns:
        bool: Whether the stand-in is in use.
    """
    if NAME not in sys.modules and importlib.util.find_spec(NAME) is None:
        sys.modules[NAME] = _StandIn(NAME)
    return isinstance(sys.modules.get(NAME), _StandIn)


class _StandIn(types.ModuleType):

    def __init__(self, name: str) -> None:
        super().__init__(name, doc=__doc__)
        self.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
        for operator in (nms, roi_align_forward, roi_align_backward, sigmoid_focal_loss_forward,
                         sigmoid_focal_loss_backward, get_compiler_version,
                         get_compiling_cuda_version):
            setattr(self, operator.__name__, operator)

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(name)

        def unavailable(*args, **kwargs):
            raise RuntimeError(
                f'mmcv operator "{name}" needs mmcv\'s compiled operators, which this '
                'installation does not have: compile mmcv from source (two commands, see "Compiled '
                'operators" in the README of mmdla).')

        return unavailable


def _float(x: Tensor) -> Tensor:
    """torchvision's CPU kernels know float32 and float64 only."""
    return x if x.dtype == torch.float64 else x.float()


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes kept, by falling score.

    Args:
        boxes (Tensor): (N, 4) as x1, y1, x2, y2; width is ``x2 - x1 + offset``.
        scores (Tensor): (N, ).
        iou_threshold (float): A box is dropped above this IoU with a kept one.
        offset (int): 0 or 1.
    """
    boxes = _float(boxes)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def _sound(rois: Tensor, maps: Tensor, spatial_scale: float) -> Tensor:
    """RoIs (N, 5) that torchvision's kernels, which check nothing, can take for maps (B, C, H, W).

    One with NaN, infinity, a coordinate ten times as far as the maps reach, or of an image that is not
    in the batch becomes an empty one at the origin.
    """
    image, box = rois.split((1, 4), 1)
    sound = (box.abs() <= 10 * max(maps.shape[2:]) / spatial_scale).all(1, keepdim=True)
    sound = sound & (image >= 0) & (image < len(maps))
    return rois.where(sound, torch.zeros_like(rois))


def _check_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise RuntimeError('RoIAlign with pool_mode="max" needs mmcv\'s compiled operators, which '
                           'this installation does not have: use pool_mode="avg" or compile them '
                           '(see "Compiled operators" in the README of mmdla).')


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor,
                      argmax_x: Tensor, aligned_height: int, aligned_width: int,
                      spatial_scale: float, sampling_ratio: int, pool_mode: int,
                      aligned: bool) -> None:
    """Write RoIAlign of ``input`` (B, C, H, W) at ``rois`` (N, 5) to ``output``.

    ``output`` is (N, C, aligned_height, aligned_width); ``argmax_*`` stay unused,
    as in mmcv with ``pool_mode='avg'`` (1).
    """
    _check_average(pool_mode)
    features, rois = _float(input), _sound(rois, input, spatial_scale)
    output.copy_(
        torch.ops.torchvision.roi_align(features, rois.to(features.dtype), spatial_scale,
                                        aligned_height, aligned_width, sampling_ratio, aligned))


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor,
                       grad_input: Tensor, aligned_height: int, aligned_width: int,
                       spatial_scale: float, sampling_ratio: int, pool_mode: int,
                       aligned: bool) -> None:
    """Write the gradient of :func:`roi_align_forward` to ``grad_input`` (B, C, H, W)."""
    _check_average(pool_mode)
    grad, rois = _float(grad_output), _sound(rois, grad_input, spatial_scale)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(grad, rois.to(grad.dtype), spatial_scale,
                                                  aligned_height, aligned_width,
                                                  *grad_input.shape, sampling_ratio, aligned))


def _focal_loss(input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    one_hot = torch.nn.functional.one_hot(target, input.shape[1] + 1)[:, :-1].to(input.dtype)
    loss = torchvision.ops.sigmoid_focal_loss(input, one_hot, alpha, gamma)
    return loss * weight[target][:, None] if weight.numel() else loss


def sigmoid_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor,
                               gamma: float, alpha: float) -> None:
    """Write the focal loss of logits ``input`` (N, C) to ``output`` (N, C).

    ``target`` (N, ) holds classes, C for the background; ``weight`` is (C, ) or empty.
    """
    output.copy_(_focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor,
                                gamma: float, alpha: float) -> None:
    """Write the gradient of the sum of :func:`sigmoid_focal_loss_forward` to ``grad_input``."""
    with torch.enable_grad():
        leaf = input.detach().requires_grad_()
        loss = _focal_loss(leaf, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(loss, leaf)[0])


def get_compiler_version() -> str:
    """What mmcv's environment report prints for the compiler."""
    return 'none (operators from torchvision, by mmdla)'


def get_compiling_cuda_version() -> str:
    """What mmcv's environment report prints for CUDA."""
    return 'none (operators from torchvision, by mmdla)'
