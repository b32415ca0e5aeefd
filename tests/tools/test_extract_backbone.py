import importlib.util
import os
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import mmdla
from mmdla.errors import UserError
from mmdla.models import DLAResNet
from mmdla.registry import MODELS

SCRIPT = Path(__file__).parents[2] / 'tools' / 'convert' / 'extract_backbone.py'
spec = importlib.util.spec_from_file_location('extract_backbone', SCRIPT)
extractor = importlib.util.module_from_spec(spec)
spec.loader.exec_module(extractor)

ARGS = dict(depth=18, stem_channels=32, base_channels=32)
UNIT = dict(type='DSU', reduction=4)


@pytest.fixture(scope='module')
def trained():
    return DLAResNet(**ARGS, context_unit=UNIT).state_dict()


@pytest.fixture
def save(trained, tmp_path):
    """Write a checkpoint as mmengine does, changed by a function; its path."""

    def write(change=lambda checkpoint: None):
        backbone = dict(type='mmdla.DLAResNet', **ARGS, context_unit=UNIT, out_indices=(3, ),
                        drop_path_rate=0.1, init_cfg=dict(type='Kaiming', layer='Conv2d'))
        cfg = Config(dict(custom_imports=dict(imports=['mmdla']),
                          model=dict(type='ImageClassifier', backbone=backbone)))
        checkpoint = dict(
            meta=dict(epoch=3, time='20260101', cfg=cfg.pretty_text),
            state_dict={**{f'backbone.{k}': v for k, v in trained.items()},
                        'head.fc.weight': torch.zeros(5, 256)},
            optimizer=dict(state={}))
        change(checkpoint)
        path = tmp_path / 'epoch_3.pth'
        torch.save(checkpoint, path)
        return path

    return write


def run(monkeypatch, source, out):
    monkeypatch.setattr(sys, 'argv', ['', str(source), str(out)])
    extractor.main()


def test_a_detectors_backbone_starts_from_it(trained, save, tmp_path, monkeypatch, capsys):
    source, out = save(), tmp_path / 'checkpoints' / 'dla.pth'
    run(monkeypatch, source, out)
    hashed = out.parent / os.readlink(out)
    digest = sha256(hashed.read_bytes()).hexdigest()
    assert hashed.name == f'dla-{digest[:8]}.pth'
    assert set(out.parent.iterdir()) == {out, hashed}
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith('backbone=dict('))
    assert f'wrote {len(trained)} tensors to {hashed}' in printed
    assert f'--cfg-options model.backbone.init_cfg.checkpoint={out}' in printed

    content = torch.load(out)
    assert set(content) == {'meta', 'state_dict'}
    assert content['meta'] == dict(
        backbone=dict(type='mmdla.DLAResNet', **ARGS, context_unit=UNIT),
        epoch=3, source='epoch_3.pth', source_sha256=sha256(source.read_bytes()).hexdigest(),
        mmdla_version=mmdla.__version__, torch_version=str(torch.__version__))

    config = eval(line.removeprefix('backbone='))
    assert config.pop('type') == 'mmdla.DLAResNet'
    detector = DLAResNet(**config, out_indices=(0, 1, 2, 3), frozen_stages=1, norm_eval=True,
                         init_cfg=dict(type='Pretrained', checkpoint=str(out)))
    detector.init_weights()
    for name, value in detector.state_dict().items():
        assert torch.equal(value, trained[name]), name


def test_the_same_checkpoint_gives_the_same_bytes(save, tmp_path, monkeypatch):
    source = save()
    for name in ('a', 'b', 'b'):
        run(monkeypatch, source, tmp_path / name / 'dla.pth')
    files = [next((tmp_path / name).glob('dla-*.pth')) for name in 'ab']
    assert files[0].name == files[1].name
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(list((tmp_path / 'b').iterdir())) == 2


def test_a_newer_one_takes_the_place(save, tmp_path, monkeypatch):
    out = tmp_path / 'dla.pth'
    run(monkeypatch, save(), out)
    first = os.readlink(out)
    run(monkeypatch, save(lambda c: c['meta'].update(epoch=4)), out)
    assert os.readlink(out) != first and (tmp_path / first).is_file()
    assert torch.load(out)['meta']['epoch'] == 4


def test_a_copy_where_links_are_not_possible(save, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError('no links here')

    monkeypatch.setattr(Path, 'symlink_to', refuse)
    out = tmp_path / 'dla.pth'
    run(monkeypatch, save(), out)
    hashed = next(tmp_path.glob('dla-*.pth'))
    assert not out.is_symlink() and out.read_bytes() == hashed.read_bytes()


def test_a_converted_released_classifier_serves_too(save, tmp_path, monkeypatch):
    """Its config is in meta['backbone']."""
    backbone = dict(type='mmdla.DLAResNet', **ARGS, context_unit=UNIT)
    run(monkeypatch, save(lambda c: c.update(meta=dict(backbone=backbone))), tmp_path / 'dla.pth')
    assert torch.load(tmp_path / 'dla.pth')['meta']['backbone'] == backbone


def test_the_quickstarts_classifier_fits_its_detector(tmp_path, monkeypatch):
    """Both are the configs as they are; the detector differs from the one from scratch in init_cfg."""
    mini = SCRIPT.parents[2] / 'configs' / 'mini'
    classifier = Config.fromfile(mini / 'dla_l18_mini_shapes.py')
    tensors = MODELS.build(classifier.model.backbone).state_dict()
    torch.save(dict(meta=dict(cfg=classifier.pretty_text),
                    state_dict={f'backbone.{k}': v for k, v in tensors.items()}), tmp_path / 'in.pth')
    monkeypatch.chdir(tmp_path)
    detector = Config.fromfile(mini / 'faster_rcnn_dla_l18_mini_pretrained.py')
    start = detector.model.backbone.init_cfg
    run(monkeypatch, 'in.pth', start.checkpoint)
    backbone = MODELS.build(detector.model.backbone)
    backbone.init_weights()
    assert torch.equal(backbone.conv1.weight, tensors['conv1.weight'])

    detector.model.backbone.init_cfg = None
    assert detector.to_dict() == Config.fromfile(mini / 'faster_rcnn_dla_l18_mini.py').to_dict()


@pytest.mark.parametrize('start', ['None', "dict(type='Pretrained', checkpoint='other.pth')", 'absent'])
def test_the_printed_option_goes_with_any_config(start, save, tmp_path, monkeypatch, capsys):
    out, config = tmp_path / 'dla.pth', tmp_path / 'config.py'
    run(monkeypatch, save(), out)
    option = capsys.readouterr().out.splitlines()[-1].removeprefix('--cfg-options ')
    given = '' if start == 'absent' else f', init_cfg={start}'
    config.write_text(f"model = dict(backbone=dict(type='mmdla.DLAResNet'{given}))")
    cfg = extractor.cli.read_config(str(config), dict([option.split('=')]))
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=str(out))


def other_config(**changes):
    backbone = {'type': 'mmdla.DLAResNet', **ARGS, 'context_unit': UNIT, **changes}
    return lambda c: c['meta'].update(cfg=f'model = dict(backbone={backbone!r})')


@pytest.mark.parametrize('change, words', [
    (lambda c: c.pop('meta'), 'does not hold the config'),
    (lambda c: c['meta'].pop('cfg'), 'does not hold the config'),
    (lambda c: c['meta'].update(cfg='model = dict('), 'does not hold the config'),
    (lambda c: c.update(state_dict={'head.fc.weight': torch.zeros(1)}), 'no tensors under backbone'),
    (lambda c: c.update(state_dict={}), 'no tensors'),
    (lambda c: c['state_dict'].pop('backbone.conv1.weight'), '1 missing .conv1.weight'),
    (other_config(context_unit=dict(type='DSU', reduction=8)), 'of another shape'),
    (other_config(later=1), "cannot be built here .*later.*: use the version of mmdla"),
], ids=['bare', 'no config', 'cut config', 'no backbone', 'empty', 'partial', 'unit', 'argument'])
def test_mistakes_get_one_sentence_and_write_nothing(save, tmp_path, monkeypatch, change, words):
    with pytest.raises(UserError, match=words) as error:
        run(monkeypatch, save(change), tmp_path / 'out' / 'dla.pth')
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'out').exists()


def test_safetensors_start_a_detector_too(trained, save, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'dla.safetensors'
    run(monkeypatch, save(), out)
    assert os.readlink(out).endswith('.safetensors')
    digest = sha256(out.read_bytes()).hexdigest()[:8]
    assert os.readlink(out) == f'dla-{digest}.safetensors'
    assert f'init_cfg.checkpoint={out}' in capsys.readouterr().out
    config = dict(type='mmdla.DLAResNet', **ARGS, context_unit=UNIT)
    config['init_cfg'] = dict(type='Pretrained', checkpoint=str(out))
    backbone = MODELS.build(config)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, trained[name])
    with pytest.raises(UserError, match='excite'):
        MODELS.build({**config, 'excite': False})


def test_paths_are_checked(save, tmp_path, monkeypatch):
    source = save()
    for paths, words in (
        ((tmp_path / 'none.pth', tmp_path / 'x.pth'), 'none.pth does not exist'),
        ((source, tmp_path), 'must end in .pth or .safetensors'),
        ((source, tmp_path / 'x.txt'), 'must end in .pth or .safetensors'),
        ((source, source), 'is the classifier itself'),
        ((source, source / 'x.pth'), 'cannot be written'),
    ):
        with pytest.raises(UserError, match=words) as error:
            run(monkeypatch, *paths)
        assert '\n' not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == [source.name]


def test_a_broken_off_run_leaves_the_old_file(save, tmp_path, monkeypatch):
    out = tmp_path / 'out' / 'dla.pth'
    run(monkeypatch, save(), out)
    before = {p: p.read_bytes() for p in out.parent.iterdir()}

    def stop(path, data):
        with open(path, 'wb') as file:
            file.write(data[:10])
        raise OSError('disk full')

    monkeypatch.setattr(Path, 'write_bytes', stop)
    with pytest.raises(UserError, match='cannot be written .disk full'):
        run(monkeypatch, save(lambda c: c['meta'].update(epoch=4)), out)
    monkeypatch.undo()
    assert {p: p.read_bytes() for p in before} == before
    assert len(list(out.parent.glob('*.pth'))) == 2


def test_the_tool_exits_with_the_sentence(save, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['', 'none.pth', str(tmp_path / 'x.pth')])
    with pytest.raises(SystemExit, match='^error: checkpoint none.pth does not exist'):
        extractor.cli.run(extractor.main)


@pytest.mark.parametrize('system', ['se', 'eca', 'ba', 'rla'])
def test_the_comparison_systems_classifiers_fit_their_detectors(system, tmp_path, monkeypatch):
    configs = Path(__file__).parents[2] / 'configs' / 'comparison'
    cfg = Config.fromfile(configs / f'{system}-r50_8xb32_in1k.py')
    cfg.model.backbone.update(base_channels=16)
    tensors = MODELS.build(cfg.model.backbone.copy()).state_dict()
    source, out = tmp_path / 'epoch_100.pth', tmp_path / f'{system}-r50_in1k.pth'
    torch.save(dict(meta=dict(cfg=cfg.pretty_text),
                    state_dict={f'backbone.{k}': v for k, v in tensors.items()}), source)
    run(monkeypatch, source, out)
    backbone = Config.fromfile(configs / f'faster_rcnn_{system}-r50_1x_coco.py').model.backbone
    assert backbone.init_cfg.checkpoint == f'checkpoints/{system}-r50_in1k.pth'
    backbone.init_cfg.checkpoint = str(out)
    detector = MODELS.build({**backbone, 'base_channels': 16})
    detector.init_weights()
    for name, value in detector.state_dict().items():
        assert torch.equal(value, tensors[name]), name
