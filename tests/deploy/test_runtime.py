"""The decoding and NMS of the exported detectors against mmdet's and torchvision's."""
import numpy as np
import pytest
import torch
import torchvision
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

pytest.importorskip('onnxruntime', reason='needs the extra mmdla[deploy]')
from mmdla.deploy import compare, runtime  # noqa: E402


def boxes_of(rng, count, size=100):
    low = rng.uniform(0, size, (count, 2))
    return np.concatenate([low, low + rng.uniform(1, size / 2, (count, 2))], 1).astype(np.float32)


@pytest.mark.parametrize('clip', [True, False])
def test_decode_is_mmdets(clip):
    rng = np.random.default_rng(0)
    boxes, deltas = boxes_of(rng, 50), rng.normal(size=(50, 4)).astype(np.float32) * 5
    coder = DeltaXYWHBBoxCoder((0.1, 0., 0., 0.2), (0.1, 0.2, 0.3, 0.9), clip_border=clip)
    wanted = coder.decode(torch.from_numpy(boxes), torch.from_numpy(deltas), max_shape=(90, 110))
    found = runtime.decode(boxes, deltas, dict(means=coder.means, stds=coder.stds, clip=clip), (90, 110))
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('groups', [1, 3])
def test_nms_is_torchvisions(groups):
    rng = np.random.default_rng(0)
    boxes, scores = boxes_of(rng, 200), rng.permutation(200).astype(np.float32)
    group = rng.integers(0, groups, 200)
    wanted = torchvision.ops.batched_nms(*map(torch.from_numpy, (boxes, scores, group)), 0.4)
    found = runtime.nms(boxes, scores, group, 0.4)
    assert found.tolist() == wanted.tolist() and 5 < len(found) < 190


def test_nms_of_nothing_and_of_empty_boxes():
    assert len(runtime.nms(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), 0.5)) == 0
    assert len(runtime.nms(np.zeros((2, 4)), np.arange(2.), np.zeros(2, int), 0.5)) == 2


def test_paste_is_mmdets():
    rng = np.random.default_rng(0)
    masks, boxes = rng.uniform(size=(4, 28, 28)).astype(np.float32), boxes_of(rng, 4, 60)
    wanted, _ = _do_paste_mask(torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), 70, 80, False)
    found = np.stack([runtime.paste(mask, box, (70, 80)) for mask, box in zip(masks, boxes)])
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


def test_agreement_counts_what_is_the_same():
    rng = np.random.default_rng(0)
    boxes, scores, labels = boxes_of(rng, 6), rng.uniform(size=6), np.arange(6) % 2
    theirs = (boxes, scores, labels, None)
    assert compare.agreement(theirs, theirs) == (6, 6, 6, 0, 0, 0)
    order = rng.permutation(6)
    ours = (boxes[order] + 0.001, scores[order] + 0.01, labels[order], None)
    result = compare.agreement(theirs, ours)
    assert result.common == 6 and 0.009 < result.score < 0.011 and 0 < result.box < 0.0011
    other = (boxes[:5], scores[:5], np.where(np.arange(5) == 2, 7, labels[:5]), None)
    assert compare.agreement(theirs, other)[:3] == (6, 5, 4)
