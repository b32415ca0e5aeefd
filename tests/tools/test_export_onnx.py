"""tools/deploy/export_onnx.py on generated models."""
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdla.engine.complexity import build

ROOT = Path(__file__).parents[2]
MINI = ROOT / 'configs' / 'mini'
DETECTORS = ('faster_rcnn_dla_l18_mini', 'mask_rcnn_dla_l18_mini')
needs_packages = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ('onnx', 'onnxruntime', 'onnxscript'))),
    reason='needs the extra mmdla[deploy]')
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch, mini_root):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('MINI_ROOT', str(mini_root))


@pytest.fixture
def save(tmp_path):
    """Save the model of a config, with weights under which a detector finds something."""

    def write(path):
        model = build(Config.fromfile(path))
        model.init_weights()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(('fc_cls.weight', 'rpn_cls.weight', 'retina_cls.weight')):
                    parameter.mul_(30)
                if name.endswith('retina_cls.bias'):
                    parameter.add_(0.5)
                if 'attention' in name and 'norms' in name and name.endswith('weight'):
                    parameter.fill_(0.5)
        torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'c.pth')
        return tmp_path / 'c.pth'

    return write


def counts(output):
    """Detections by PyTorch, by onnxruntime, and the same, of each line on a picture."""
    pattern = r': (\d+) detections by PyTorch, (\d+) by onnxruntime, (\d+) the same'
    return [tuple(map(int, found)) for found in re.findall(pattern, output)]


@needs_packages
@pytest.mark.parametrize('exporter', ['legacy', pytest.param('dynamo', marks=pytest.mark.full)])
def test_classifier_of_one_size(exporter, call, save, tmp_path):
    import onnxruntime
    config, out = MINI / 'dla_l18_mini_shapes.py', tmp_path / 'out' / 'a.onnx'
    done = call('deploy/export_onnx.py', config, save(config), '--out', out, '--shape', 64, 96,
                '--exporter', exporter, '--fixed-shape')
    assert done.returncode == 0, done.stderr
    shape = onnxruntime.InferenceSession(str(out)).get_inputs()[0].shape
    assert isinstance(shape[0], str) and shape[1:] == [3, 64, 96]


@needs_packages
@pytest.mark.parametrize('exporter', ['legacy', pytest.param('dynamo', marks=pytest.mark.full)])
def test_classifier(exporter, call, save, tmp_path):
    import onnxruntime
    config, out = MINI / 'dla_l18_mini_shapes.py', tmp_path / 'out' / 'a.onnx'
    checkpoint = save(config)
    done = call('deploy/export_onnx.py', config, checkpoint, '--out', out, '--shape', 64, 64,
                '--exporter', exporter)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in out.parent.iterdir()] == ['a.onnx']
    model = build(Config.fromfile(config))
    model.load_state_dict(torch.load(checkpoint)['state_dict'])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 70, 90)).astype(np.float32)
    data = model.data_preprocessor(dict(inputs=torch.from_numpy(pixels)))
    with torch.no_grad():
        wanted = model(data['inputs'], mode='tensor')
    session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
    found = session.run(['logits'], {'pixels': pixels})[0]
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)


@needs_packages
@pytest.mark.parametrize('name, exporter', [
    ('mask_rcnn_dla_l18_mini', 'legacy'),
    pytest.param('faster_rcnn_mrla_l18_mini', 'dynamo', marks=pytest.mark.full),
])
def test_two_stage_detector(name, exporter, call, save, tmp_path, mini_root):
    config, out = MINI / f'{name}.py', tmp_path / 'out' / 'a.onnx'
    pictures = sorted((mini_root / 'val2017').glob('*.png'))[:2]
    done = call('deploy/export_onnx.py', config, save(config), '--out', out, '--exporter', exporter,
                '--images', *pictures)
    assert done.returncode == 0, done.stderr
    names = ['a.onnx', 'a.roi1.onnx'] + (['a.mask.onnx'] if 'mask' in name else [])
    assert sorted(p.name for p in out.parent.iterdir()) == sorted(names)
    found = counts(done.stdout)
    assert len(found) == 2
    for theirs, ours, same in found:
        assert theirs > 0 and abs(theirs - ours) <= 1 and same >= theirs - 1


RETINA = """
_base_ = '{base}'
model = dict(
    _delete_=True, type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[120., 110., 100.], std=[58., 57., 56.],
                           bgr_to_rgb={rgb}, pad_size_divisor=32),
    backbone=dict(type='mmdla.MRLAResNet', depth=18, stem_channels=16, base_channels=16,
                  out_indices=(0, 1, 2, 3)),
    neck=dict(type='FPN', in_channels=[16, 32, 64, 128], out_channels=32, start_level=1,
              add_extra_convs='on_input', num_outs=5),
    bbox_head=dict(
        type='{head}', num_classes=5, in_channels=32, stacked_convs=1, feat_channels=32,
        anchor_generator=dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=3,
                              ratios=[0.5, 1.0, 2.0], strides=[8, 16, 32, 64, 128]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True)),
    test_cfg=dict(nms_pre=1000, min_bbox_size=0, score_thr=0.05, max_per_img=100,
                  nms=dict(type='{nms}', iou_threshold=0.5)))
"""


@pytest.fixture
def retina(tmp_path):
    """Write a config of a small RetinaNet."""

    def write(head='RetinaHead', nms='nms', rgb=True):
        path = tmp_path / 'retina.py'
        base = MINI / 'faster_rcnn_dla_l18_mini.py'
        path.write_text(RETINA.format(base=base, head=head, nms=nms, rgb=rgb))
        return path

    return write


@needs_packages
def test_one_stage_detector(call, save, retina, tmp_path, mini_root):
    config, out = retina(rgb=False), tmp_path / 'out' / 'a.onnx'
    picture = next((mini_root / 'val2017').glob('*.png'))
    done = call('deploy/export_onnx.py', config, save(config), '--out', out, '--exporter', 'legacy',
                '--images', picture)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in out.parent.iterdir()] == ['a.onnx']
    (theirs, ours, same), = counts(done.stdout)
    assert theirs > 0 and abs(theirs - ours) <= 1 and same >= theirs - 1
    from mmdla.deploy.runtime import Detector
    detector = Detector(out)
    assert detector.facts['resize'] == [320, 240]
    boxes, scores, labels, masks = detector(np.zeros((30, 40, 3), np.uint8))
    assert boxes.shape == (len(scores), 4) and len(labels) == len(scores) and masks is None


def refused(done, words, out):
    assert done.returncode == 1 and words in done.stderr.strip().splitlines()[-1], done.stderr
    assert 'Traceback' not in done.stderr and not out.exists()


@needs_packages
@pytest.mark.parametrize('how, words', [
    (dict(head='FreeAnchorRetinaHead'), 'FreeAnchorRetinaHead cannot be exported'),
    (dict(nms='soft_nms'), 'cannot be exported'),
])
def test_a_detector_that_cannot_be_exported(how, words, call, save, retina, tmp_path):
    config, out = retina(**how), tmp_path / 'out' / 'a.onnx'
    done = call('deploy/export_onnx.py', config, save(config), '--out', out)
    refused(done, words, out.parent)


@needs_packages
@pytest.mark.parametrize('step, words', [
    (dict(type='Pad', size_divisor=32), 'has a Pad'),
    (dict(type='Resize', scale=(64, 64), keep_ratio=False), 'without a Resize to one scale'),
])
def test_a_pipeline_that_it_does_not_do(step, words, call, save, tmp_path):
    base, config = MINI / 'faster_rcnn_dla_l18_mini.py', tmp_path / 'config.py'
    pipeline = [dict(type='LoadImageFromFile'), step, dict(type='PackDetInputs')]
    config.write_text(f"_base_ = '{base}'\ntest_dataloader = dict(dataset=dict(pipeline={pipeline}))\n")
    out = tmp_path / 'out' / 'a.onnx'
    refused(call('deploy/export_onnx.py', config, save(config), '--out', out), words, out.parent)


@pytest.mark.parametrize('arguments, words', [
    ('{config} none.pth --out {out}', 'none.pth does not exist'),
    ('none.py {config} --out {out}', 'none.py does not exist'),
    ('{config} {config} --out {out}', 'cannot be read'),
    ('{config} none.pth --out {out}.txt', 'must end in .onnx'),
    ('{config} none.pth --out {out} --shape 8 8', 'at least 32 pixels'),
    ('{config} none.pth --out {out} --images none.png', '--images is for detectors'),
    ('{detector} none.pth --out {out} --images none.png', 'none.png cannot be read as a picture'),
    ('{detector} none.pth --out {out} --shape 64 70', 'multiples of 32 for a detector'),
])
@needs_packages
def test_bad_inputs(arguments, words, call, tmp_path):
    config, out = MINI / 'dla_l18_mini_shapes.py', tmp_path / 'out' / 'a.onnx'
    done = call('deploy/export_onnx.py', *arguments.format(
        config=config, out=out, detector=MINI / 'faster_rcnn_dla_l18_mini.py').split())
    refused(done, words, out.parent)


def test_without_the_packages(call, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec',
                        lambda name, *args: None if name == 'onnx' else real(name, *args))
    done = call('deploy/export_onnx.py', MINI / 'dla_l18_mini_shapes.py', 'none.pth', '--out',
                tmp_path / 'out' / 'a.onnx')
    refused(done, 'the ONNX export needs onnx', tmp_path / 'out')
