"""Classifiers and detectors as the graphs that are exported: pixels in, what the heads say out."""
from typing import Dict, List, NamedTuple, Sequence, Tuple

import torch
import torchvision
from torch import Tensor, nn

from mmdla.errors import UserError


class Graph(NamedTuple):
    """A part of a model that becomes one ONNX file.

    Attributes:
        part (str): What its file's name ends in: '' for the first, 'roi' or 'mask'.
        network (nn.Module): Tensors in, a tensor or a tuple of them out.
        inputs (dict): Names of its inputs, in order, and names of their dynamic axes.
        outputs (list[str]): Names of its outputs.
    """

    part: str
    network: nn.Module
    inputs: Dict[str, Dict[int, str]]
    outputs: List[str]


class Pixels(nn.Module):
    """The config's normalisation: pixels (B, 3, H, W) of 0 to 255, as cv2 reads them, to its input.

    Args:
        preprocessor (nn.Module): The data_preprocessor of mmdet or mmpretrain.
    """

    def __init__(self, preprocessor: nn.Module) -> None:
        super().__init__()
        flips = getattr(preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', None))
        if flips is None:
            raise UserError(f'the data_preprocessor {type(preprocessor).__name__} is none that can be '
                            'put in a graph: use mmdet\'s DetDataPreprocessor or mmpretrain\'s '
                            'ClsDataPreprocessor.')
        self.flips = flips
        mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
        if preprocessor._enable_normalize:
            mean, std = preprocessor.mean, preprocessor.std
        self.register_buffer('mean', mean.detach().clone())
        self.register_buffer('std', std.detach().clone())

    def forward(self, pixels: Tensor) -> Tensor:
        if self.flips:
            pixels = torch.cat([pixels[:, 2:], pixels[:, 1:2], pixels[:, :1]], 1)
        return (pixels - self.mean) / self.std

    def padding(self) -> List[float]:
        """Pixel, in the order of the input, that becomes zeros, which the hosts pad with."""
        mean = self.mean.flatten().tolist()
        return mean[::-1] if self.flips else mean


class ClassifierNetwork(nn.Module):
    """Pixels (B, 3, H, W) to logits (B, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.pixels = Pixels(model.data_preprocessor)
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(self.pixels(pixels), mode='tensor')


class DenseNetwork(nn.Module):
    """Pixels (B, 3, H, W) to the raw outputs of a dense head (RetinaNet's, an RPN).

    Of L levels: L maps of scores (B, anchors * classes, h, w), L of deltas (B, anchors * 4, h, w), and
    of a two-stage detector those maps (B, C, h, w) of the neck that RoIs are taken from.
    """

    def __init__(self, model: nn.Module, num_features: int = 0) -> None:
        super().__init__()
        self.pixels = Pixels(model.data_preprocessor)
        self.model = model
        self.head = [model.rpn_head if num_features else model.bbox_head]
        self.num_features = num_features

    def forward(self, pixels: Tensor) -> Tuple[Tensor, ...]:
        features = self.model.extract_feat(self.pixels(pixels))
        scores, deltas = self.head[0](features)
        return (*scores, *deltas, *features[:self.num_features])


class RoINetwork(nn.Module):
    """RoIAlign and a head: RoIs (N, 5), each an image and a box, and maps of the neck to its outputs.

    A head for boxes: scores (N, classes + 1) and deltas (N, 4 * classes) or (N, 4). A head for masks:
    logits (N, classes, 28, 28).

    Args:
        extractor (nn.Module): SingleRoIExtractor with RoIAlign.
        head (nn.Module): Takes what the extractor makes.
    """

    def __init__(self, extractor: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = head

    def forward(self, rois: Tensor, *features: Tensor):
        return self.head(self.align(rois, features))

    def align(self, rois: Tensor, features: Sequence[Tensor]) -> Tensor:
        """(N, C, h, w), without a branch: on a level that is not its own a RoI is empty, and ignored."""
        levels = self.extractor.map_roi_levels(rois, len(features))[:, None]
        total = None
        for level, (layer, maps) in enumerate(zip(self.extractor.roi_layers, features)):
            own = levels == level
            aligned = torchvision.ops.roi_align(
                maps, torch.where(own, rois, torch.zeros_like(rois)), layer.output_size,
                layer.spatial_scale, layer.sampling_ratio, layer.aligned)
            aligned = torch.where(own[..., None, None], aligned, torch.zeros_like(aligned))
            total = aligned if total is None else total + aligned
        return total
