"""The tools that set our systems beside the paper's."""
import json
import re
import runpy
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config

from mmdla.engine.attention_map import AttentionRecorder
from mmdla.engine.complexity import Complexity, complexity
from mmdla.errors import UserError
from mmdla.gates.eca import adaptive_kernel_size
from mmdla.models import DLAResNet, DLAVisionTransformer, MRLAResNet, MRLAVisionTransformer, ResNet

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
TABLES = yaml.safe_load((ROOT / 'tools' / 'analysis' / 'paper_tables.yml').read_text())
ROWS = [row for table in TABLES['tables'] for row in table['rows']]


@pytest.fixture
def fails(call):
    def check(words, tool, *args):
        done = call(f'analysis/{tool}', *args)
        assert done.returncode == 1 and words in done.stderr
        assert re.fullmatch(r'error: .*\n', done.stderr)

    return check


def classifier(**backbone):
    cfg = Config.fromfile(CONFIGS / 'comparison' / 'resnet50_8xb32_in1k.py')
    cfg.model.backbone.update(backbone)
    return complexity(cfg, (224, 224)).flops


MAPS = [(256, 56**2, 3), (512, 28**2, 4), (1024, 14**2, 6), (2048, 7**2, 3)]
RESNET_50 = 4_111_512_576


def test_flops_of_resnet_50():
    """4.089 billion in convolutions and the classifier, two a number for inference BN."""
    assert classifier() == RESNET_50
    done = subprocess.run([sys.executable, 'tools/analysis/get_flops.py',
                           'configs/comparison/resnet50_8xb32_in1k.py'],
                          capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and 'FLOPs       4,111,512,576 (4.112 G)' in done.stdout
    assert 'parameters  25,557,032 (25.56 M)' in done.stdout


def test_flops_of_light_attention():
    """Every operation of Eq. 3, and of DLA's, once."""
    mrla = dla = 0
    for channels, pixels, layers in MAPS:
        # GAP, depthwise 3x3, lambda * o, sigmoid(s) * v, and inference BN
        maps = (1 + 9 + 1 + 1 + 2) * channels * pixels
        # q and k, and their product
        means = 2 * adaptive_kernel_size(channels) * channels + channels
        mrla += layers * (maps + means)
        # GAP of o, d * o, E
        refresh = (1 + 1 + 9) * channels * pixels
        hidden = channels // 20
        # W1 and W2, f * c and i * c~, on the forward and the backward path
        unit = 2 * ((2 * channels * hidden + hidden * 3 * channels) + 2 * channels)
        dla += layers * (maps + means + refresh + unit)
    assert classifier(type='mmdla.MRLAResNet') - RESNET_50 == mrla
    assert classifier(type='mmdla.DLAResNet') - RESNET_50 == dla


def test_flops_of_attention_over_positions():
    def aa(channels, positions, dv):
        qkv = channels * (2 * 160 + dv) * positions
        content, rows_and_columns = 160 * positions**2, 2 * 160 * positions * positions**0.5
        return qkv + 160 * positions + content + rows_and_columns + dv * positions**2 + dv**2 * positions

    plugins = [dict(cfg=dict(type='mmdla.AAConv2d', size=7), position='conv2',
                    blocks=((), (), (), (1, 2)))]
    # the attention's channels are no longer the convolution's
    expected = 2 * (aa(512, 49, 48) - 9 * 512 * 48 * 49)
    assert classifier(plugins=plugins) - RESNET_50 == expected
    deit = Config.fromfile(CONFIGS / 'imagenet' / 'mrla_b_deit_tiny_8xb128_in1k.py')
    assert 1.25e9 < complexity(deit, (224, 224)).flops < 1.28e9


@pytest.mark.parametrize('name', ['faster_rcnn_dla_l50', 'comparison/mask_rcnn_rla-r50',
                                  'retinanet_dla_l50', 'cascade_rcnn_dla_l50'])
def test_flops_of_detectors(name):
    cfg = Config.fromfile(CONFIGS / f'{name}_1x_coco.py')
    before = cfg.to_dict()
    counted = complexity(cfg, (64, 96))
    assert counted.flops > 1e9 and counted.parameters > counted.trained
    assert cfg.to_dict() == before


def test_get_flops_sees_what_the_test_pipeline_makes(call):
    config = 'configs/mini/faster_rcnn_dla_l18_mini.py'
    assert 'image       3 x 256 x 320\n' in call('analysis/get_flops.py', config).stdout
    assert 'image       3 x 64 x 96\n' in call('analysis/get_flops.py', config, '--shape', 64, 96).stdout


def test_get_flops_refuses(fails):
    fails('does not exist', 'get_flops.py', 'configs/nowhere.py')
    fails('must be positive', 'get_flops.py', 'configs/imagenet/dla_l50_8xb32_in1k.py', '--shape', 0, 7)


def test_the_tables_name_configs_and_reasons():
    for row in ROWS:
        assert (CONFIGS / row['config']).is_file(), row
        assert {row.get('why', row.get('fits', 'joint'))} <= set(TABLES['reasons'])
    named = {row['config'] for row in ROWS}
    assert {str(p.relative_to(CONFIGS)) for p in (CONFIGS / 'comparison').rglob('*.py')} <= named


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools' / 'analysis' / 'compare_paper.py'))


@pytest.mark.parametrize('row, words', [
    (dict(printed=dict(params='2.1')), 'match'),
    (dict(printed=dict(params='2.0')), r'\*\*differs\*\*: not explained'),
    (dict(printed=dict(params='2.0'), fits='trained'), r'differs, explained: only what is .* \(1.96\)'),
    (dict(printed=dict(params='2.2'), fits='unit'), r'differs, explained: .*1.048576.* \(2.20\)'),
    (dict(printed=dict(params='2.5'), why='gcnet_open'), r'\*\*differs\*\*: the printed row'),
    (dict(why='joint'), "the paper's equations"),
])
def test_verdicts(tool, row, words):
    counted = Complexity(2_100_000, trained=1_960_000, frozen_plugins=0, statistics=0, flops=0)
    assert re.match(words, tool['verdict'](row, counted, None, TABLES['reasons']))


def test_half_a_digit_may_go_either_way(tool):
    assert tool['rounds_to'](2_250_000, '2.2') and tool['rounds_to'](2_250_000, '2.3')
    assert not tool['rounds_to'](2_250_001, '2.2')
    assert tool['rounds_to'](Decimal('25813872') * tool['UNIT'], '27.1')


def work_dir(root, name, depth, values, config=None, metric='accuracy/top1'):
    """A run of two epochs as mmengine leaves it, broken off in the middle of a line."""
    folder = root / name
    (folder / '1' / 'vis_data').mkdir(parents=True)
    if config is None:
        config = Config(dict(model=dict(type='ImageClassifier', backbone=dict(depth=depth))))
    config.merge_from_dict({'train_cfg.max_epochs': 2})
    config.dump(folder / f'{name.partition("_seed")[0]}.py')
    lines = [{metric: value, 'step': epoch + 1} for epoch, value in enumerate(values)]
    text = '\n'.join([*map(json.dumps, lines), '{"loss": 1'])
    (folder / '1' / 'vis_data' / 'scalars.json').write_text(text)


@pytest.mark.full
def test_compare_paper_fills_in_runs(call, tmp_path):
    name = 'dla_l110_split-r4_b128_cifar100'
    config = Config.fromfile(CONFIGS / 'cifar' / f'{name}.py')
    for seed, values in enumerate(([1.0, 76.0], [1.0, 77.0], [1.0])):
        work_dir(tmp_path, f'{name}_seed{seed}', 110, values, config.copy())
    config.model.backbone.context_unit.form = 'joint'
    work_dir(tmp_path, f'{name}_seed3', 110, [1.0, 70.0], config)
    out = tmp_path / 'tables.md'
    done = call('analysis/compare_paper.py', '--table', 4, '--runs', tmp_path, '--markdown', out)
    assert done.returncode == 0, done.stderr
    rows = [line.split(' | ') for line in out.read_text().splitlines() if line.startswith('| ')]
    assert len({len(row) for row in rows}) == 1
    dsu = next(row for row in rows if name in row[1])
    assert dsu[2:4] == ['1,414,668', '1.39'] and 'count with 10 classes (1.39)' in dsu[4]
    assert dsu[-1].startswith('76.50 ± 0.71 (2)')
    assert out.read_text() in done.stdout
    assert f'{name}_seed2 is left out: it is at epoch 1 of 2.' in done.stdout
    assert f'{name}_seed3 is left out: its network is not that of configs/cifar/{name}.py' in done.stdout


def test_compare_paper_refuses(fails, tmp_path):
    fails('nowhere does not exist', 'compare_paper.py', '--runs', 'nowhere')
    fails('is a folder', 'compare_paper.py', '--markdown', tmp_path)


def test_plot_depth(call, tmp_path):
    for depth, values in ((20, (70.0, 71.0)), (56, (75.0, ))):
        for seed, value in enumerate(values):
            work_dir(tmp_path, f'dla_l{depth}_b128_cifar100_seed{seed}', depth, [1.0, value])
    work_dir(tmp_path, 'se-r20_b128_cifar100', 20, [50.0, 66.0])
    work_dir(tmp_path, 'se-r56_b128_cifar100', 56, [50.0])
    for name, text in (('broken', 'x = ('), ('evil', f'open({str(tmp_path / "ran")!r}, "w")')):
        work_dir(tmp_path, name, 20, [50.0, 99.0])
        (tmp_path / name / f'{name}.py').write_text(text)
    picture, numbers = tmp_path / 'new' / 'depth.png', tmp_path / 'depth.json'
    done = call('analysis/plot_depth.py', tmp_path, '--out', picture, '--json', numbers)
    assert done.returncode == 0, done.stderr
    assert json.loads(numbers.read_text()) == {
        'dla_l_b128_cifar100': {'20': [70.0, 71.0], '56': [75.0]}, 'se_b128_cifar100': {'20': [66.0]}}
    assert '| dla_l_b128_cifar100 | 20 | 2 | 70.50 | 0.71 |' in done.stdout
    assert 'se-r56_b128_cifar100 is left out: it is at epoch 1 of 2.' in done.stdout
    assert 'broken is left out: broken.py is no config that tools/train.py wrote' in done.stdout
    assert 'evil is left out: evil.py is no config' in done.stdout and not (tmp_path / 'ran').exists()
    assert picture.stat().st_size > 5000


def test_plot_depth_of_no_runs(fails, tmp_path):
    fails('no run with accuracy/top1', 'plot_depth.py', tmp_path, '--out', tmp_path / 'x.png')
    assert not (tmp_path / 'x.png').exists()


def recorded(model, images):
    recorder = AttentionRecorder(model.double().eval())
    with torch.no_grad():
        for image in images:
            model(image[None])
    return recorder.maps()


@pytest.mark.parametrize('build', [
    lambda: MRLAResNet(34, 'base', base_channels=16, stem_channels=16),
    lambda: DLAResNet(34, 'base', base_channels=16, stem_channels=16, context_unit=dict(reduction=4))])
def test_maps_of_the_base_forms_are_softmax_scores(build):
    maps = recorded(build(), torch.randn(3, 3, 64, 64).double())
    shapes = {name: tuple(m.shape) for name, m in maps.items()}
    assert shapes == {f'stage {i + 1}': (3, n, n, 2**i, 16) for i, n in enumerate((3, 4, 6, 3))}
    for weights in maps.values():
        torch.testing.assert_close(weights.sum(2), torch.ones_like(weights.sum(2)))
        assert not weights.triu(1).permute(1, 2, 0, 3, 4).masked_select(
            torch.ones(weights.shape[1:3]).triu(1).bool()[..., None, None, None]).any()


def test_maps_of_groups_of_transformer_blocks():
    model = MRLAVisionTransformer('deit-tiny', 'base', img_size=32, patch_size=8)
    maps = recorded(model, torch.randn(2, 3, 32, 32).double())
    assert [name.split(' of ')[1] for name in maps] == [
        'blocks 1 to 4', 'blocks 5 to 8', 'blocks 9 to 12']
    assert all(m.shape == (2, 4, 4, 12, 16) for m in maps.values())
    assert len(recorded(DLAVisionTransformer('deit-tiny', img_size=32, patch_size=8),
                        torch.randn(2, 3, 32, 32).double())) == 1


def watch(attention, seen):
    """Have the score, lambda and refresh of each layer of a light form written down."""
    def score(layer):
        def watched(y, original=layer.score):
            seen.append([original(y).detach(), layer.lambda_l.detach(), 1])
            return original(y)
        return watched

    for layer in attention.layers:
        layer.score = score(layer)
    if hasattr(attention, 'context'):
        original = attention.context.backward_path
        refreshes = []

        def backward_path(*args):
            refreshes.append(original(*args).detach()[0])
            return original(*args)

        attention.context.backward_path = backward_path
        forward = attention.forward

        def forward_and_note(*args):
            result = forward(*args)
            seen[-1][2] = refreshes[-1]
            return result

        attention.forward = forward_and_note


@pytest.mark.parametrize('cls', [MRLAResNet, DLAResNet])
def test_maps_of_the_light_forms_unroll_eq_3(cls):
    """o_l of values of one number a channel, with each BN's scale on the way to the next layer."""
    model = cls(34, base_channels=32, stem_channels=32).double().eval()
    attention, seen = model.attention[2], []
    for norm in attention.norms:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    watch(attention, seen)
    maps = recorded(model, torch.randn(1, 3, 64, 64).double())['stage 3'].flatten(3)[0].double()
    values = torch.randn(6, 128).double()
    o = torch.zeros(128).double()
    for layer, (score, lambda_l, d) in enumerate(seen):
        if layer:
            norm = attention.norms[layer - 1]
            o = o * norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        o = lambda_l * o * d + score[0] * values[layer]
        unrolled = (maps[layer] * values).sum(0)
        torch.testing.assert_close(unrolled, o, rtol=1e-5, atol=1e-6)


def test_a_model_without_layer_attention_has_no_map():
    with pytest.raises(UserError, match='no layer attention'):
        AttentionRecorder(ResNet(18))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A classifier, its checkpoint and two pictures."""
    root = tmp_path_factory.mktemp('maps')
    cfg = Config.fromfile(CONFIGS / 'mini' / 'dla_l18_mini_shapes.py')
    cfg.model.backbone.variant = 'base'
    cfg.dump(root / 'config.py')
    from mmdla.engine.complexity import build
    torch.save(dict(state_dict=build(cfg).state_dict()), root / 'checkpoint.pth')
    (root / 'pictures').mkdir()
    for i in range(2):
        picture = np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(root / 'pictures' / f'{i}.png'), picture)
    return root


def test_layer_attention_map(call, trained, tmp_path):
    done = call('analysis/layer_attention_map.py', trained / 'config.py', trained / 'checkpoint.pth',
                trained / 'pictures', trained / 'pictures' / '1.png', '--out-dir', tmp_path / 'out',
                '--per-head', '--device', 'cpu')
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / 'out' / 'layer_attention.json').read_text())
    assert len(numbers['images']) == 3 and numbers['kind'] == 'softmax score'
    stage = numbers['stages']['stage 4']
    assert stage['mean'][0] == [1, 0] and sum(stage['mean'][1]) == pytest.approx(1)
    assert np.allclose(np.mean(stage['heads'], 0), stage['mean'])
    pictures = sorted(p.name for p in (tmp_path / 'out').glob('*.png'))
    assert pictures == ['layer_attention.png', *(f'stage_{i}_heads.png' for i in range(1, 5))]
    assert re.search(r'stage 4: last layer over layers 1 to 2: 0\.\d+, 0\.\d+\n', done.stdout)


def test_inference_of_a_classifier(trained, tmp_path):
    done = subprocess.run(
        [sys.executable, 'tools/inference.py', trained / 'config.py', trained / 'checkpoint.pth',
         trained / 'pictures' / '0.png', '--out-dir', tmp_path / 'out', '--device', 'cpu'],
        capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert '0.png: ' in done.stdout and list((tmp_path / 'out' / 'vis').glob('*.png'))


def test_layer_attention_map_refuses(fails, trained, tmp_path):
    config, checkpoint = trained / 'config.py', trained / 'checkpoint.pth'
    fails('is no picture and no folder', 'layer_attention_map.py', config, checkpoint, 'nowhere.png')
    fails('does not exist', 'layer_attention_map.py', config, 'nowhere.pth', trained / 'pictures')
    light = CONFIGS / 'mini' / 'dla_l18_mini_shapes.py'
    fails('does not fit', 'layer_attention_map.py', light, checkpoint, trained / 'pictures')
