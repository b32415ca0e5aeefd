"""Run the files of tools/deploy/export_onnx.py: numpy and onnxruntime alone (cv2 to resize pictures).

This file imports nothing of mmdla and can be copied to where the network runs.

    detector = Detector('model.onnx')
    boxes, scores, labels, masks = detector(cv2.imread('picture.jpg'))
"""
import json
from pathlib import Path

import numpy as np


def session(path, providers=('CPUExecutionProvider', )):
    """An ONNX file, ready to run."""
    import onnxruntime
    return onnxruntime.InferenceSession(str(path), providers=list(providers))


def part(path, name):
    """Where the file of a part of a model lies: model.roi1.onnx beside model.onnx."""
    path = Path(path)
    return path.with_name(f'{path.stem}.{name}{path.suffix}')


class Detector:
    """A detector on one picture at a time: its graphs, and its decoding and NMS in numpy.

    Args:
        path (str): The first of its files; the others lie beside it.
        providers (sequence[str]): Of onnxruntime.
    """

    def __init__(self, path, providers=('CPUExecutionProvider', )):
        self.dense = session(path, providers)
        self.facts = json.loads(self.dense.get_modelmeta().custom_metadata_map['mmdla'])
        self.stages = [session(part(path, f'roi{n + 1}'), providers)
                       for n in range(len(self.facts.get('stages', [])))]
        self.mask = session(part(path, 'mask'), providers) if self.facts.get('mask') else None

    def __call__(self, picture):
        """
        Args:
            picture (array): As cv2 reads it, BGR (H, W, 3).

        Returns:
            tuple: Boxes (N, 4) as x1, y1, x2, y2, scores (N, ), labels (N, ), and masks (N, H, W), or
            None of a detector without.
        """
        original = picture.shape[:2]
        picture, scale = self.resized(picture)
        shape = picture.shape[:2]
        outputs = self.dense.run(None, {'pixels': self.padded(picture)})
        levels = len(self.facts['strides'])
        maps = list(zip(outputs[:levels], outputs[levels:2 * levels]))
        if not self.stages:
            return (*self.one_stage(maps, shape, scale), None)
        features = {f'feature{n}': f for n, f in enumerate(outputs[2 * levels:])}
        return self.two_stages(self.proposals(maps, shape), features, shape, scale, original)

    def resized(self, picture):
        """The picture as the config's test pipeline makes it, and its factors of x1, y1, x2, y2."""
        height, width = picture.shape[:2]
        if not self.facts['resize']:
            return picture, np.ones(4, np.float32)
        import cv2
        long, short = max(self.facts['resize']), min(self.facts['resize'])
        factor = min(long / max(height, width), short / min(height, width))
        new = int(width * factor + 0.5), int(height * factor + 0.5)
        picture = cv2.resize(picture, new, interpolation=cv2.INTER_LINEAR)
        return picture, np.array([new[0] / width, new[1] / height] * 2, np.float32)

    def padded(self, picture):
        """(1, 3, H', W') with H' and W' as the neck needs them."""
        divisor, (height, width) = self.facts['divisor'], picture.shape[:2]
        shape = [-(-size // divisor) * divisor for size in (height, width)]
        pixels = np.empty((1, 3, *shape), np.float32)
        pixels[0] = np.array(self.facts['padding'], np.float32)[:, None, None]
        pixels[0, :, :height, :width] = picture.transpose(2, 0, 1)
        return pixels

    def anchors(self, level, height, width):
        """(height * width * anchors, 4)."""
        x_stride, y_stride = self.facts['strides'][level]
        y, x = np.meshgrid(np.arange(height) * y_stride, np.arange(width) * x_stride, indexing='ij')
        shifts = np.stack([x, y, x, y], -1).reshape(-1, 1, 4).astype(np.float32)
        return (shifts + np.array(self.facts['anchors'][level], np.float32)).reshape(-1, 4)

    def candidates(self, level, scores, deltas, threshold):
        """Scores, deltas, anchors and classes of the best of a level above the threshold."""
        height, width = scores.shape[2:]
        deltas = deltas[0].transpose(1, 2, 0).reshape(-1, 4)
        scores = sigmoid(scores[0].transpose(1, 2, 0).reshape(len(deltas), -1))
        rows, classes = np.nonzero(scores > threshold)
        found = scores[rows, classes]
        best = np.argsort(-found, kind='stable')[:self.facts['nms_pre']]
        rows = rows[best]
        return found[best], deltas[rows], self.anchors(level, height, width)[rows], classes[best]

    def boxes_of_maps(self, maps, shape, threshold):
        """Boxes, scores, classes and levels of all levels."""
        found = [(*self.candidates(level, *pair, threshold), level) for level, pair in enumerate(maps)]
        scores, deltas, anchors, classes = (np.concatenate(part) for part in list(zip(*found))[:4])
        levels = np.concatenate([np.full(len(one[0]), one[4]) for one in found])
        return decode(anchors, deltas, self.facts['coder'], shape), scores, classes, levels

    def proposals(self, maps, shape):
        """What the RPN takes for objects, (N, 4)."""
        boxes, scores, _, levels = self.boxes_of_maps(maps, shape, -1)
        boxes, scores, levels = not_small(self.facts['min_size'], boxes, scores, levels)
        return boxes[nms(boxes, scores, levels, self.facts['iou'])[:self.facts['most']]]

    def one_stage(self, maps, shape, scale):
        """Boxes, scores and classes of a detector without RoIs."""
        boxes, scores, classes, _ = self.boxes_of_maps(maps, shape, self.facts['threshold'])
        boxes, scores, classes = not_small(self.facts['min_size'], boxes / scale, scores, classes)
        kept = nms(boxes, scores, classes, self.facts['iou'])[:self.facts['most']]
        return boxes[kept], scores[kept], classes[kept]

    def two_stages(self, boxes, features, shape, scale, original):
        """Boxes, scores, classes and masks from proposals, through one head after the other."""
        facts, total = self.facts['roi'], 0
        for number, (stage, coder) in enumerate(zip(self.stages, self.facts['stages'])):
            scores, deltas = stage.run(None, {'rois': rois_of(boxes), **features})
            total = total + scores
            if number + 1 < len(self.stages):
                chosen = scores[:, :-1].argmax(1) * (deltas.shape[1] > 4)
                deltas = deltas.reshape(len(boxes), -1, 4)[np.arange(len(boxes)), chosen]
                boxes = decode(boxes, deltas, coder, shape)
        scores = softmax(total / len(self.stages))[:, :-1]
        per_roi = deltas.shape[1] // 4
        boxes = decode(boxes.repeat(per_roi, 0), deltas.reshape(-1, 4), self.facts['stages'][-1], shape)
        boxes = np.broadcast_to(boxes.reshape(-1, per_roi, 4), (*scores.shape, 4))
        rows, classes = np.nonzero(scores > facts['threshold'])
        boxes, scores = boxes[rows, classes], scores[rows, classes]
        scaled = boxes if self.mask else boxes / scale  # the hosts' order
        kept = nms(scaled, scores, classes, facts['iou'])[:facts['most']]
        boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
        masks = np.zeros((0, *original), bool) if self.mask else None
        if self.mask and len(kept):
            logits = self.mask.run(None, {'rois': rois_of(boxes), **features})[0]
            small = sigmoid(logits[np.arange(len(boxes)), classes * (logits.shape[1] > 1)])
            masks = np.stack([paste(mask, box, original) >= self.facts['mask']
                              for mask, box in zip(small, boxes / scale)])
        return boxes / scale, scores, classes, masks


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    x = np.exp(x - x.max(1, keepdims=True))
    return x / x.sum(1, keepdims=True)


def rois_of(boxes):
    """Boxes (N, 4) of the only image as (N, 5)."""
    return np.concatenate([np.zeros((len(boxes), 1)), boxes], 1).astype(np.float32)


def decode(boxes, deltas, coder, shape):
    """Boxes (N, 4) moved and stretched by deltas (N, 4), inside of an image of (height, width)."""
    deltas = deltas * np.array(coder['stds'], np.float32) + np.array(coder['means'], np.float32)
    most = np.float32(abs(np.log(16 / 1000)))
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    centre = centre + size * deltas[:, :2]
    size = size * np.exp(deltas[:, 2:].clip(-most, most))
    found = np.concatenate([centre - size / 2, centre + size / 2], 1)
    return found.clip(0, np.array([shape[1], shape[0]] * 2, np.float32)) if coder['clip'] else found


def not_small(least, boxes, *others):
    """Those wider and higher than ``least``; all if it is negative."""
    kept = (boxes[:, 2:] - boxes[:, :2] > least).all(1) | (least < 0)
    return (boxes[kept], *(other[kept] for other in others))


def nms(boxes, scores, groups, iou):
    """Indices of the boxes (N, 4) kept, by falling score; those of two groups never meet."""
    kept = []
    order = np.argsort(-scores, kind='stable')
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for group in np.unique(groups):
        left = order[groups[order] == group]
        while len(left):
            best, left = left[0], left[1:]
            kept.append(best)
            low = np.maximum(boxes[best, :2], boxes[left, :2])
            high = np.minimum(boxes[best, 2:], boxes[left, 2:])
            shared = (high - low).clip(0).prod(1)
            left = left[shared <= iou * (areas[best] + areas[left] - shared)]
    kept = np.array(kept, int)
    return kept[np.argsort(-scores[kept], kind='stable')]


def paste(mask, box, shape):
    """A mask (h, w) of a box stretched over it, bilinearly, in a picture of (height, width)."""

    def weights(size, low, high, count):
        places = (np.arange(size) + 0.5 - low) / (high - low) * count - 0.5
        return (1 - abs(places[:, None] - np.arange(count))).clip(0)

    rows = weights(shape[0], box[1], box[3], mask.shape[0])
    columns = weights(shape[1], box[0], box[2], mask.shape[1])
    return rows @ mask @ columns.T
