"""The stand-in for mmcv's compiled operators against mmcv's definitions."""
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmcv.ops import RoIAlign, batched_nms, nms, roi_align

from mmdla.hosts import mmcv_ext

STAND_IN = mmcv_ext.register()


def reference_nms(boxes, scores, threshold, offset):
    """Greedy: keep the best box, drop what overlaps it by more than the threshold."""

    def area(box):
        return (box[2] - box[0] + offset) * (box[3] - box[1] + offset)

    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        for j in kept:
            width = min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0]) + offset
            height = min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1]) + offset
            overlap = max(width, 0) * max(height, 0)
            if overlap > threshold * (area(boxes[i]) + area(boxes[j]) - overlap):
                break
        else:
            kept.append(i)
    return kept


def bilinear(channel, y, x):
    """mmcv's: 0 beyond one pixel outside, else clamped to the border."""
    height, width = channel.shape
    if y < -1 or y > height or x < -1 or x > width:
        return channel.new_zeros(())
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    dy, dx = y - y0, x - x0
    return (channel[y0, x0] * (1 - dy) * (1 - dx) + channel[y0, x1] * (1 - dy) * dx +
            channel[y1, x0] * dy * (1 - dx) + channel[y1, x1] * dy * dx)


def reference_roi_align(features, rois, size, scale, sampling_ratio, aligned):
    """The mean of bilinear samples on a regular grid in each bin."""
    out = []
    shift = 0.5 if aligned else 0.0
    for index, *corners in rois.tolist():
        x1, y1, x2, y2 = (c * scale - shift for c in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_h, bin_w = height / size[0], width / size[1]
        ny = sampling_ratio if sampling_ratio > 0 else math.ceil(height / size[0])
        nx = sampling_ratio if sampling_ratio > 0 else math.ceil(width / size[1])
        for channel in features[int(index)]:
            for row in range(size[0]):
                for column in range(size[1]):
                    samples = [
                        bilinear(channel, y1 + (row + (i + .5) / ny) * bin_h,
                                 x1 + (column + (j + .5) / nx) * bin_w)
                        for i in range(ny) for j in range(nx)
                    ]
                    out.append(sum(samples, features.new_zeros(())) / max(ny * nx, 1))
    return torch.stack(out).view(len(rois), features.shape[1], *size)


def random_boxes(count, extent=20.):
    corner = torch.rand(count, 2, dtype=torch.float64) * extent
    return torch.cat([corner, corner + torch.rand(count, 2, dtype=torch.float64) * extent / 2], 1)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.7])
@pytest.mark.parametrize('count', [0, 1, 60])
def test_nms(count, threshold, offset):
    boxes, scores = random_boxes(count).float(), torch.rand(count)
    dets, kept = nms(boxes, scores, threshold, offset)
    assert kept.tolist() == reference_nms(boxes.tolist(), scores.tolist(), threshold, offset)
    assert torch.equal(dets, torch.cat([boxes[kept], scores[kept, None]], 1))


@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16])
def test_nms_dtypes(dtype):
    if not STAND_IN:
        pytest.skip('mmcv\'s compiled CPU nms takes float32 only')
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]], dtype=dtype)
    assert nms(boxes, boxes.new_tensor([.5, .9, .7]), 0.5)[1].tolist() == [1, 2]


def test_nms_of_numpy_and_by_class():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11]], np.float32)
    assert nms(boxes, np.array([.5, .9], np.float32), 0.5)[1].tolist() == [1]
    _, kept = batched_nms(
        torch.from_numpy(boxes), torch.tensor([.5, .9]), torch.tensor([0, 1]),
        dict(type='nms', iou_threshold=0.5))
    assert kept.tolist() == [1, 0]


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('size', [(3, 3), (2, 4)])
def test_roi_align(size, sampling_ratio, aligned):
    features = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    # boxes across the border, a flat one and one outside
    special = torch.tensor([[-4., -4, 6, 6], [15, 10, 40, 40], [5, 5, 5, 5], [60, 60, 70, 70]],
                           dtype=torch.float64)
    boxes = torch.cat([random_boxes(5), special])
    rois = torch.cat([torch.arange(9)[:, None] % 2, boxes], 1)
    grad = torch.randn(9, 3, *size, dtype=torch.float64)
    results = []
    for function in (roi_align, None):
        leaf = features.clone().requires_grad_()
        if function:
            out = function(leaf, rois, size, 0.5, sampling_ratio, 'avg', aligned)
        else:
            out = reference_roi_align(leaf, rois, size, 0.5, sampling_ratio, aligned)
        out.backward(grad)
        results.append((out, leaf.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('sampling_ratio', [0, 1, 2])
@pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf'), 1e6, 3e38])
def test_rois_that_are_no_boxes_are_taken_as_empty(bad, sampling_ratio):
    """torchvision's kernels read wild memory at them; other RoIs keep their values."""
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 20, 30)
    good = torch.tensor([[0, 1, 1, 50, 50], [1, 2, 2, 40, 60]]).float()
    for position in range(5):
        rois = good.clone()
        rois[1, position] = bad
        empty = good.clone()
        empty[1] = 0
        results = []
        for boxes in (rois, empty):
            output, grad, unused = torch.empty(2, 3, 7, 7), torch.empty_like(maps), torch.empty(0)
            mmcv_ext.roi_align_forward(maps, boxes, output, unused, unused, 7, 7, 0.25, sampling_ratio,
                                       1, True)
            mmcv_ext.roi_align_backward(torch.ones_like(output), boxes, unused, unused, grad, 7, 7, 0.25,
                                        sampling_ratio, 1, True)
            results.append((output, grad))
        for given, wanted in zip(*results):
            assert torch.equal(given, wanted)


def test_a_roi_of_an_image_that_is_not_there_is_taken_as_empty():
    maps, unused = torch.rand(1, 2, 8, 8), torch.empty(0)
    rois = torch.tensor([[1, 0, 0, 4, 4], [-1, 0, 0, 4, 4], [0, 0, 0, 0, 0]]).float()
    output = torch.empty(3, 2, 7, 7)
    mmcv_ext.roi_align_forward(maps, rois, output, unused, unused, 7, 7, 1.0, 2, 1, True)
    assert torch.equal(output[0], output[2]) and torch.equal(output[1], output[2])


def test_nms_of_boxes_that_are_not_finite():
    boxes = torch.tensor([[0, 0, 9, 9], [float('nan')] * 4, [0, 0, float('inf'), 9]])
    assert mmcv_ext.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5, 0)[0] == 0


def test_roi_align_without_rois():
    features = torch.randn(1, 3, 8, 8, requires_grad=True)
    out = roi_align(features, torch.zeros(0, 5), (7, 7), 0.25, 0, 'avg', True)
    out.sum().backward()
    assert out.shape == (0, 3, 7, 7) and not features.grad.any()


@pytest.mark.skipif(not STAND_IN, reason='compiled operators: their half precision is mmcv\'s own')
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_roi_align_under_autocast(dtype):
    features = torch.randn(1, 4, 16, 16)
    rois = torch.tensor([[0, 1., 2, 12, 13]])
    layer = RoIAlign(5, 1.0, 0)
    reference = layer(features, rois)
    leaf = features.to(dtype).requires_grad_()
    with torch.autocast('cpu', dtype):
        out = layer(leaf, rois.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), reference, rtol=0.02, atol=0.02)
    out.sum().backward()
    assert leaf.grad.dtype == dtype and abs(leaf.grad.float().sum() - 100) < 2


@pytest.mark.skipif(not STAND_IN, reason='compiled operators: nothing is missing')
@pytest.mark.parametrize('weight', [None, torch.tensor([0.5, 1.0, 2.0]).double()])
def test_sigmoid_focal_loss(weight):
    from mmcv.ops import sigmoid_focal_loss
    logits = torch.randn(6, 3).double().requires_grad_()
    # 3 is the background; mmcv gives it no weight
    target = torch.tensor([0, 1, 2, 1, 0, 2] if weight is not None else [0, 1, 2, 3, 3, 0])
    ours = sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, 'none')
    p = 1 / (1 + torch.exp(-logits))
    rows = []
    for n, t in enumerate(target):
        row = [-0.25 * (1 - p[n, c])**2 * p[n, c].log() if c == t else
               -0.75 * p[n, c]**2 * (1 - p[n, c]).log() for c in range(3)]
        rows.append(torch.stack(row) * (1 if weight is None else weight[t]))
    reference = torch.stack(rows)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)
    cotangent = torch.randn_like(reference)
    grads = [torch.autograd.grad((out * cotangent).sum(), logits)[0] for out in (ours, reference)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


def test_any_other_operator_raises_one_sentence():
    from mmcv.ops import SoftmaxFocalLoss
    loss = SoftmaxFocalLoss(2.0, 0.25)
    with pytest.raises(RuntimeError, match='"softmax_focal_loss_forward" needs mmcv\'s compiled'):
        loss(torch.randn(2, 3), torch.tensor([0, 1]))
    with pytest.raises(RuntimeError, match='pool_mode="max"'):
        RoIAlign(3, 1.0, 0, 'max')(torch.randn(1, 1, 8, 8), torch.tensor([[0, 1., 1, 5, 5]]))


@pytest.mark.skipif(STAND_IN, reason='mmcv has no compiled operators here')
def test_stand_in_equals_the_compiled_operators():
    boxes, scores = random_boxes(300).float(), torch.rand(300)
    for offset in (0, 1):
        assert torch.equal(
            mmcv_ext.nms(boxes, scores, 0.5, offset), nms(boxes, scores, 0.5, offset)[1])
    features = torch.randn(2, 4, 16, 16, requires_grad=True)
    rois = torch.cat([torch.arange(300)[:, None] % 2, boxes], 1)
    for aligned in (True, False):
        for sampling_ratio in (0, 2):
            settings = dict(aligned_height=7, aligned_width=5, spatial_scale=0.5, pool_mode=1,
                            sampling_ratio=sampling_ratio, aligned=aligned)
            expected = roi_align(features, rois, (7, 5), 0.5, sampling_ratio, 'avg', aligned)
            grad = torch.randn_like(expected)
            out, grad_input = torch.empty_like(expected), torch.empty_like(features)
            mmcv_ext.roi_align_forward(features.detach(), rois, out, None, None, **settings)
            mmcv_ext.roi_align_backward(grad, rois, None, None, grad_input, **settings)
            torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                grad_input, torch.autograd.grad(expected, features, grad)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_cuda_equals_cpu():
    boxes, scores = random_boxes(500).float(), torch.rand(500)
    assert torch.equal(nms(boxes.cuda(), scores.cuda(), 0.5)[1].cpu(), nms(boxes, scores, 0.5)[1])
    features = torch.randn(2, 8, 32, 32)
    rois = torch.cat([torch.arange(500)[:, None] % 2, boxes], 1)
    results = []
    for device in ('cpu', 'cuda'):
        leaf = features.to(device).requires_grad_()
        out = roi_align(leaf, rois.to(device), (7, 7), 0.5, 0, 'avg', True)
        out.square().sum().backward()
        results.append((out.cpu(), leaf.grad.cpu()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_compiled_operators_are_left_alone():
    code = ('import sys, types, importlib.machinery as m\n'
            'ext = types.ModuleType("mmcv._ext"); ext.__spec__ = m.ModuleSpec("mmcv._ext", None)\n'
            'import mmcv; sys.modules["mmcv._ext"] = ext\n'
            'import mmdla; from mmdla.hosts import mmcv_ext\n'
            'assert sys.modules["mmcv._ext"] is ext and not mmcv_ext.register()')
    subprocess.run([sys.executable, '-c', code], check=True)
