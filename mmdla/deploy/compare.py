"""Detections of an exported detector beside those of PyTorch."""
from typing import Dict, NamedTuple

import numpy as np

from .runtime import Detector


class Agreement(NamedTuple):
    """Detections of both on a picture.

    Attributes:
        pytorch, onnx (int): How many each has.
        common (int): Those of one class with an IoU of 0.99 or more, each with one of the other.
        score (float): Largest difference of a common one's score.
        box (float): And of a coordinate, in pixels.
        mask (float): And the share of the picture where the masks differ.
    """

    pytorch: int
    onnx: int
    common: int
    score: float
    box: float
    mask: float


def noise(shape) -> np.ndarray:
    """A picture of noise, (H, W, 3)."""
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def pytorch_detections(inferencer, picture: np.ndarray) -> tuple:
    """Boxes, scores, classes and masks by mmdet's DetInferencer."""
    sample = inferencer(picture, return_datasamples=True, no_save_vis=True)['predictions'][0]
    found = sample.pred_instances.cpu().numpy()
    return found.bboxes, found.scores, found.labels, found.get('masks')


def ious(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N, ) of one box and others (N, 4)."""
    shared = (np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])).clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / np.maximum(areas - shared, 1e-9)


def agreement(theirs: tuple, ours: tuple) -> Agreement:
    """Compare detections: boxes, scores, classes and masks (or None) of each."""
    free, common, score, box, mask = np.ones(len(ours[0]), bool), 0, 0.0, 0.0, 0.0
    for n in range(len(theirs[0])):
        overlaps = np.where(free & (ours[2] == theirs[2][n]), ious(theirs[0][n], ours[0]), 0)
        if not len(overlaps) or overlaps.max() < 0.99:
            continue
        best = overlaps.argmax()
        free[best] = False
        common += 1
        score = max(score, float(abs(theirs[1][n] - ours[1][best])))
        box = max(box, float(np.abs(theirs[0][n] - ours[0][best]).max()))
        if theirs[3] is not None:
            mask = max(mask, float((theirs[3][n] != ours[3][best]).mean()))
    return Agreement(len(theirs[0]), len(ours[0]), common, score, box, mask)


def detections(inferencer, path, pictures: Dict[str, np.ndarray]) -> Dict[str, Agreement]:
    """Compare and print, for each picture."""
    detector, found = Detector(path), {}
    for name, picture in pictures.items():
        result = agreement(pytorch_detections(inferencer, picture), detector(picture))
        masks = f', of a mask {result.mask:.1e} of the pixels' if detector.mask else ''
        print(f'{name}: {result.pytorch} detections by PyTorch, {result.onnx} by onnxruntime, '
              f'{result.common} the same; largest difference of a score {result.score:.1e}, of a box '
              f'{result.box:.1e} pixels{masks}')
        found[name] = result
    return found
