"""Augmentation of whole batches on the model's device."""
import torch
import torch.nn.functional as F
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch import Tensor

from mmdla.registry import MODELS


def random_crop_and_flip(images: Tensor, padding: int) -> Tensor:
    """Each image's own crop out of its zero-padded self, flipped left to right or not.

    Args:
        images (Tensor): (N, C, H, W).
        padding (int): Pixels on each side.

    Returns:
        Tensor: (N, C, H, W).
    """
    n, channels, height, width = images.shape
    device = images.device
    top, left = torch.randint(2 * padding + 1, (2, n, 1), device=device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    flip = torch.rand(n, 1, device=device) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    padded = F.pad(images, (padding, ) * 4)
    index = torch.arange(n, device=device).view(n, 1, 1, 1)
    plane = torch.arange(channels, device=device).view(1, channels, 1, 1)
    return padded[index, plane, rows[:, None, :, None], columns[:, None, None, :]]


@MODELS.register_module()
class CIFARDataPreprocessor(ClsDataPreprocessor):
    """mmpretrain's preprocessor for the batches of :class:`mmdla.datasets.CIFAR`.

    Takes ``dict(inputs=(N, 3, 32, 32) uint8 RGB, labels=(N, ))``; in training it pads, crops and
    flips, always it normalises. The images come out in channels_last, in which small convolutions
    are nearly twice as fast on CPUs. Samples of the host's pipelines (BGR), as in mmpretrain's
    inferencer, are left to the host.

    Args:
        padding (int): Zeros around an image before its crop. Default: 4.
        **kwargs: Arguments of mmpretrain's ClsDataPreprocessor (``mean``, ``std``,
            ``batch_augments``, ...).
    """

    def __init__(self, padding: int = 4, **kwargs) -> None:
        super().__init__(to_rgb=True, **kwargs)
        self.padding = padding

    def forward(self, data: dict, training: bool = False) -> dict:
        if 'labels' not in data:
            return super().forward(data, training)
        data = self.cast_data(data)
        images = data['inputs']
        if training:
            images = random_crop_and_flip(images, self.padding)
        samples = [DataSample() for _ in images]
        for sample, label in zip(samples, data['labels'].split(1)):
            sample.set_field(label, 'gt_label')
        given = dict(inputs=images.flip(1))
        if self.to_onehot:
            given['data_samples'] = samples
        images = super().forward(given, training)['inputs']
        return dict(
            inputs=images.contiguous(memory_format=torch.channels_last), data_samples=samples)
