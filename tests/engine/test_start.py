"""What a model takes over from a trained one."""
from copy import deepcopy

import pytest
import torch
from engine.toy_run import run
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from our_configs import WithoutMemory

from mmdla.engine import start
from mmdla.engine.runner import Runner
from mmdla.engine.start import Start
from mmdla.errors import UserError

PLAIN = 'configs/mini/faster_rcnn_resnet18_mini.py'
DLA = 'configs/upgrade/faster_rcnn_dla_l18_2e_mini.py'
SHAPES = 'configs/mini/dla_l18_mini_shapes.py'
CLASSES = ('disk', 'box', 'triangle', 'star', 'cross')
HEAD = 'roi_head.bbox_head.'
OF_CLASSES = [HEAD + name for name in ('fc_cls.weight', 'fc_cls.bias', 'fc_reg.weight', 'fc_reg.bias')]


def read(name, **options):
    cfg = Config.fromfile(name)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    cfg.start_from = 'trained.pth'
    init_default_scope(cfg.default_scope)
    return cfg


def build(cfg, seed=0):
    torch.manual_seed(seed)
    model = MODELS.build({**deepcopy(cfg.model), 'data_preprocessor': cfg.model.get('data_preprocessor')
                          or cfg.get('data_preprocessor')})
    model.init_weights()
    return model


def trained(cfg):
    """A model with statistics of its own, so that no norm is the identity."""
    model = build(cfg, seed=1)
    for name, value in model.state_dict().items():
        if 'running_' in name:
            value.uniform_(0.5, 1.5)
    return model.eval()


def detections(model):
    from mmdet.testing import demo_mm_inputs
    data = model.data_preprocessor(demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]]), False)
    with torch.no_grad():
        return [sample.pred_instances for sample in model.predict(data['inputs'], data['data_samples'])]


@pytest.fixture(scope='module')
def plain():
    """A trained plain detector's checkpoint and the model."""
    model = trained(read(PLAIN, model__test_cfg__rcnn__score_thr=0.0))
    return dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), model


@pytest.fixture(scope='module')
def model():
    """The detector with attention, for tests that leave it as it is."""
    return build(read(DLA))


@pytest.mark.parametrize('backbone', [dict(), dict(type='mmdla.MRLAResNet', _delete_=True, depth=18,
                                                   stem_channels=32, base_channels=32,
                                                   out_indices=(0, 1, 2, 3), attention_init='zero')],
                         ids=['dla', 'mrla'])
def test_at_step_0_it_detects_what_the_plain_detector_detects(plain, backbone):
    checkpoint, model = plain
    cfg = read(DLA, model__test_cfg__rcnn__score_thr=0.0)
    cfg.merge_from_dict(dict(model=dict(backbone=backbone)))
    started = build(cfg)
    taken = start.fit(started, cfg, checkpoint, 'train')
    taken.fill(started)
    assert taken.tensors.keys() == checkpoint['state_dict'].keys() and not taken.remade
    assert all('.attention.' in name for name in taken.fresh)
    assert taken.tensors.keys() | set(taken.fresh) == started.state_dict().keys()
    for a, b in zip(detections(model), detections(started.eval())):
        assert len(a) == 100
        assert all(torch.equal(a[key], b[key]) for key in ('bboxes', 'scores', 'labels'))


@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
def test_mmdets_own_detector(style):
    """Of depth 50, whose first stage stays frozen; a stride elsewhere is refused."""
    cfg = Config.fromfile(PLAIN)
    cfg.model.backbone.update(type='mmdet.ResNet', depth=50, style=style, frozen_stages=1,
                              norm_eval=True)
    cfg.model.neck.in_channels = [128, 256, 512, 1024]
    init_default_scope('mmdet')
    model = trained(cfg)
    checkpoint = dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text))
    cfg = read(DLA, model__backbone__depth=50, model__backbone__frozen_stages=1,
               model__backbone__norm_eval=True, model__neck__in_channels=[128, 256, 512, 1024])
    started = build(cfg)
    if style == 'caffe':
        with pytest.raises(UserError, match="with style='caffe', and this backbone has style='pytorch'"):
            start.fit(started, cfg, checkpoint, 'train')
        return
    start.fit(started, cfg, checkpoint, 'train').fill(started)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(map(torch.equal, model.extract_feat(x), started.eval().extract_feat(x)))


def test_a_detector_with_attention_is_taken_whole():
    cfg = read(DLA)
    before = trained(cfg)
    with torch.no_grad():
        before.backbone.attention[0].norms[1].weight.fill_(0.25)
    started = build(cfg)
    taken = start.fit(started, cfg, dict(state_dict=before.state_dict()), 'train')
    taken.fill(started)
    assert not taken.fresh and 'zero effect' not in str(taken)
    assert all(torch.equal(value, before.state_dict()[name])
               for name, value in started.state_dict().items())


def test_it_says_what_it_did(plain, model):
    cfg = read(DLA)
    taken = start.fit(model, cfg, plain[0], 'train')
    assert str(taken) == ('started from trained.pth: 192 of 192 tensors taken; '
                          'attention (88 tensors) starts at zero effect')


def test_it_says_which_norms_the_checkpoint_lacks():
    """A classifier whose outputs have norms, from one with the last alone."""
    cfg = read(SHAPES, train_dataloader=None)
    cfg.model.backbone = dict(type='mmdla.ConvNeXt', arch=dict(depths=[2, 2], channels=[32, 64]),
                              out_indices=(1, ), gap_before_final_norm=False)
    cfg.model.head.update(in_channels=64)
    checkpoint = dict(state_dict=trained(cfg).state_dict())
    cfg.model.backbone.update(out_indices=(0, 1), interaction=dict(type='mmdla.DLALight'),
                              attention_init='zero')
    taken = start.fit(build(cfg), cfg, checkpoint, 'train')
    assert taken.fresh and all(name.startswith('backbone.attention.') for name in taken.fresh)
    assert taken.norms == ['backbone.norm0.weight', 'backbone.norm0.bias']
    assert str(taken).endswith(
        f'; attention ({len(taken.fresh)} tensors) starts at zero effect; 2 of norms of outputs, which '
        'a classifier does not have, keep their start')


def test_another_number_of_classes(plain):
    cfg = read(DLA, model__roi_head__bbox_head__num_classes=2)
    cfg.train_dataloader.dataset.metainfo.classes = ('disk', 'box')
    started = build(cfg)
    fresh = {name: value.clone() for name, value in started.state_dict().items()}
    state = torch.get_rng_state()
    taken = start.fit(started, cfg, plain[0], 'train')
    assert torch.equal(torch.get_rng_state(), state)
    taken.fill(started)
    assert taken.remade == OF_CLASSES
    assert (f'188 of 192 tensors taken; attention (88 tensors) starts at zero effect; made anew, '
            f'since it was trained on other classes (disk, box, triangle and 2 more): {OF_CLASSES[0]}, '
            in str(taken))
    for name, value in started.state_dict().items():
        assert torch.equal(value, plain[0]['state_dict'].get(name, fresh[name])
                           if name not in OF_CLASSES else fresh[name]), name


@pytest.mark.parametrize('classes, words', [
    (('Disk', 'BOX', 'triangle', 'star', 'cross'), None),
    (('box', 'disk', 'triangle', 'star', 'cross'), 'its classes are in another order'),
    (('ring', 'box', 'triangle', 'star', 'cross'), 'it was trained on other classes'),
])
def test_as_many_classes_of_other_names(plain, model, classes, words):
    cfg = read(DLA)
    cfg.train_dataloader.dataset.metainfo.classes = classes
    taken = start.fit(model, cfg, plain[0], 'train')
    assert taken.remade == (OF_CLASSES if words else []) and (words or '') in str(taken)


def test_classes_that_no_file_records(plain, model):
    cfg = read(DLA)
    bare = plain[0]['state_dict']
    assert not start.fit(model, cfg, bare, 'train').remade
    cfg = read(DLA, model__roi_head__bbox_head__num_classes=3)
    taken = start.fit(build(cfg), cfg, bare, 'train')
    assert taken.remade == OF_CLASSES and 'since the number of classes differs' in str(taken)


@pytest.mark.parametrize('name, tensors', [
    ('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', ['bbox_head.retina_cls.weight',
                                                       'bbox_head.retina_cls.bias']),
    ('mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py', [
        f'roi_head.{head}_head.{i}.{layer}.{kind}'
        for head, layer in (('bbox', 'fc_cls'), ('mask', 'conv_logits'))
        for i in range(3) for kind in ('weight', 'bias')]),
    ('mmdet::detr/detr_r50_8xb2-150e_coco.py', ['bbox_head.fc_cls.weight', 'bbox_head.fc_cls.bias']),
    ('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py', [
        'panoptic_head.cls_embed.weight', 'panoptic_head.cls_embed.bias']),
    ('configs/mini/dla_l18_mini_shapes.py', ['head.fc.weight', 'head.fc.bias']),
])
def test_what_depends_on_the_classes(name, tensors):
    from mmengine.hub import get_config
    cfg = get_config(name) if '::' in name else Config.fromfile(name)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    with WithoutMemory():
        own = {key: value.shape for key, value in MODELS.build(deepcopy(cfg.model)).state_dict().items()}
        wider = start.shapes_with_one_more_class(cfg)
    assert [key for key in own if own[key] != wider[key]] == tensors


@pytest.mark.parametrize('own, wider, given, expected', [
    ((6, 8), (7, 8), (81, 8), True), ((6, 8), (7, 8), (81, 9), False), ((6, 8), (6, 8), (81, 8), False),
    ((6, 8), (7, 8), (81, ), False), ((6, 8), None, (6, 9), False)])
def test_shapes_that_differ_by_classes(own, wider, given, expected):
    assert start.differ_by_classes(own, wider, given) is expected


@pytest.mark.parametrize('change, words', [
    (lambda t: t.pop('neck.fpn_convs.0.conv.weight'), r'1 missing \(neck.fpn_convs.0.conv.weight\)'),
    (lambda t: t.pop(OF_CLASSES[0]), rf'1 missing \({OF_CLASSES[0]}\)'),
    (lambda t: t.update({'mask_head.x': torch.zeros(1)}), r'1 unknown \(mask_head.x\)'),
    (lambda t: t.update({OF_CLASSES[0]: torch.zeros(6, 9)}), r'1 of another shape .*fc_cls.weight'),
    (lambda t: t.update({'neck.fpn_convs.0.conv.bias': torch.zeros(9)}), '1 (unknown|of another shape)'),
    (lambda t: t.pop('backbone.conv1.weight'), r'does not fit DLAResNet-18, tensors: 1 missing'),
    (lambda t: [t.pop(k) for k in list(t) if k.startswith('backbone.')], r'has no tensors backbone\.\*'),
])
def test_what_does_not_fit_stops(plain, model, change, words):
    tensors = dict(plain[0]['state_dict'])
    change(tensors)
    cfg = read(DLA)
    with pytest.raises(UserError, match=words) as error:
        start.fit(model, cfg, dict(state_dict=tensors), 'train')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('options, words', [
    (dict(model__backbone__attention_init='scaled'), "set attention_init='zero' in the backbone"),
    (dict(model__backbone__attention_init='scaled', model__backbone__variant='base'),
     'it is of the plain network, without the attention of this backbone')])
def test_attention_that_does_not_start_at_zero(plain, options, words):
    cfg = read(DLA, **options)
    with pytest.raises(UserError, match=words):
        start.fit(build(cfg), cfg, plain[0], 'train')


def test_classes_without_a_setting(plain, model, monkeypatch):
    cfg = read(DLA)
    cfg.train_dataloader.dataset.metainfo.classes = CLASSES[::-1]
    monkeypatch.setattr(start, 'widen', lambda model: None)
    with pytest.raises(UserError, match='in another order, and nothing in the model depends'):
        start.fit(model, cfg, plain[0], 'train')


def test_a_plain_backbone_of_the_host_starts_too(plain):
    cfg = read(PLAIN, model__backbone__type='mmdet.ResNet')
    started = build(cfg)
    start.fit(started, cfg, plain[0], 'train').fill(started)
    assert all(torch.equal(value, plain[0]['state_dict'][name])
               for name, value in started.state_dict().items())


def test_a_classifier():
    cfg = read(SHAPES, model__backbone__attention_init='zero', model__head__num_classes=3,
               train_dataloader=None)
    before = read(SHAPES)
    before.model.backbone.update(type='mmdla.ResNet')
    before.model.backbone.pop('context_unit')
    checkpoint = dict(state_dict=trained(before).state_dict())
    started = build(cfg)
    taken = start.fit(started, cfg, checkpoint, 'train')
    taken.fill(started)
    assert taken.remade == ['head.fc.weight', 'head.fc.bias'] and taken.fresh
    assert started.head.fc.weight.shape[0] == 3


def test_another_normalisation_is_said(plain):
    cfg = read(DLA)
    text = cfg.pretty_text
    assert start.other_normalisation(cfg, dict(meta=dict(cfg=text))) == ''
    assert start.other_normalisation(cfg, plain[0]) == '' == start.other_normalisation(cfg, {})
    cfg.model.data_preprocessor.update(mean=[1.0, 2.0, 3.0], bgr_to_rgb=False)
    said = start.other_normalisation(cfg, dict(meta=dict(cfg=text)))
    assert 'bgr_to_rgb=True in the data_preprocessor, and this config has mean=[1.0, 2.0, 3.0]' in said


def test_the_runner_fills_the_model_once(tmp_path):
    """Once it is initialised, and hooks that copy the weights hear of it."""
    heard = []

    class Started(Runner):
        start = Start('trained.pth', dict(weight=torch.ones(4)), [], [], '')

        def call_hook(self, name, **kwargs):
            if name == 'after_load_checkpoint':
                heard.append(kwargs['checkpoint']['state_dict']['weight'].tolist())
            super().call_hook(name, **kwargs)

    runner = run(Started, tmp_path, epochs=1, lr=0.0)
    assert runner.model.weight.tolist() == [1.0] * 4 and heard == [[1.0] * 4]
    runner.load_or_resume()
    assert len(heard) == 1
