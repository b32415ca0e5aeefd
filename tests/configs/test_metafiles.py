"""The metafiles and README tables, as tools/analysis/make_metafiles.py writes them."""
import json
import runpy
import shutil

import pytest
import yaml
from mmengine.config import Config
from our_configs import ALL, CONFIGS, ROOT, build, count

from mmdla.engine.complexity import complexity, usual_shape
from mmdla.errors import UserError

INDEX = Config.fromfile(ROOT / 'model-index.yml').Import
MODELS = {model['Config'].removeprefix('configs/'): model for path in INDEX
          for model in yaml.safe_load((ROOT / path).read_text())['Models']}
DETECTOR, CLASSIFIER = 'faster_rcnn_dla_l50_1x_coco.py', 'imagenet/dla_l50_8xb32_in1k.py'


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools' / 'analysis' / 'make_metafiles.py'))


@pytest.fixture
def copy(tmp_path):
    """A folder with some of our configs and what their tables are made of."""
    left_out = ('ablation', 'cifar', 'comparison', 'custom', 'mini', 'trunks', 'upgrade')
    shutil.copytree(CONFIGS, tmp_path / 'configs', ignore=shutil.ignore_patterns(*left_out))
    index = [line for line in (ROOT / 'model-index.yml').read_text().splitlines(keepends=True)
             if not any(f'/{folder}/' in line for folder in left_out)]
    (tmp_path / 'model-index.yml').write_text(''.join(index))
    page = [line for line in (ROOT / 'README.md').read_text().splitlines(keepends=True)
            if not any(f'](configs/{folder}/' in line for folder in left_out)]
    (tmp_path / 'README.md').write_text(''.join(page))
    (tmp_path / 'tools' / 'analysis').mkdir(parents=True)
    shutil.copy(ROOT / 'tools' / 'analysis' / 'paper_tables.yml', tmp_path / 'tools' / 'analysis')
    return tmp_path


def check(tool, root):
    tool['check'](root, tool['read_configs'](root), tool['read_metafiles'](root))


def test_they_list_every_config():
    assert sorted(MODELS) == ALL
    for path in INDEX:
        meta = Config.fromfile(ROOT / path)
        assert all((ROOT / model.Config).parent == (ROOT / path).parent for model in meta.Models)
        assert {model['In Collection'] for model in meta.Models} == {c.Name for c in meta.Collections}
        assert all((ROOT / c.README).is_file() for c in meta.Collections)


def test_they_are_current(call):
    done = call('analysis/make_metafiles.py', '--check')
    assert done.returncode == 0, done.stderr


@pytest.mark.full
@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('name', ALL)
def test_parameters(name):
    assert MODELS[name]['Metadata']['Parameters'] == count(build(name))


@pytest.mark.parametrize('name', ['cifar/dla_b20_b128_cifar10.py', *(
    pytest.param(name, marks=pytest.mark.full)
    for name in (CLASSIFIER, 'imagenet/mrla_b_deit_tiny_8xb128_in1k.py', 'cifar/se-r56_b128_cifar100.py',
                 'ablation/lii_lstm56_b128_cifar100.py', 'comparison/rla-r50_8xb32_in1k.py', DETECTOR,
                 'comparison/mask_rcnn_gc-r50_1x_coco.py', 'retinanet_dla_l50_1x_coco.py'))])
def test_flops(name):
    cfg = Config.fromfile(CONFIGS / name)
    assert MODELS[name]['Metadata']['FLOPs'] == complexity(cfg, usual_shape(cfg)).flops


def test_metadata():
    assert MODELS[DETECTOR]['Metadata'].items() >= {
        'Training Data': 'COCO 2017', 'Epochs': 12, 'Batch Size': 8}.items()
    assert MODELS[CLASSIFIER]['Metadata'].items() >= {
        'Training Data': 'ImageNet-1k', 'Epochs': 100, 'Batch Size': 256}.items()
    collections = {name: model['In Collection'] for name, model in MODELS.items()}
    assert collections[DETECTOR] == collections['imagenet/dla_l_deit_tiny_8xb128_in1k.py'] == 'DLA'
    assert collections['comparison/gc-r50_8xb32_in1k.py'] == 'GCNet'
    assert collections['comparison/resnet50_8xb32_in1k.py'] == 'ResNet'


def test_the_papers_figures():
    rows = (CONFIGS / 'cifar' / 'README.md').read_text().splitlines()
    assert [row.split(' | ')[4] for row in rows if 'dia56' in row] == ['top-1 93.88', 'top-1 73.87']


STALE = r'are stale \(.*\): run python tools/analysis/make_metafiles.py\.$'


@pytest.mark.parametrize('file, old, new', [
    (CLASSIFIER, 'depth=50', 'depth=101, excite=False'),
    ('_base_/schedule_1x.py', 'base_batch_size=8', 'base_batch_size=16'),
], ids=['network', 'recipe'])
def test_check_sees_changed_configs(tool, copy, file, old, new):
    path = copy / 'configs' / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=STALE):
        check(tool, copy)


def test_check_sees_changed_files(tool, copy):
    configs, kept = tool['read_configs'](copy), tool['read_metafiles'](copy)
    tool['check'](copy, configs, kept)
    for file, old, new in (('configs/imagenet/README.md', '27,169,492', '27,169,493'),
                           ('configs/metafile.yml', 'Epochs: 12', 'Epochs: 13'),
                           ('tools/analysis/paper_tables.yml', "box: '40.6'", "box: '40.7'"),
                           ('README.md', '| 43,365,516 |', '| 43,365,515 |'),
                           ('model-index.yml', '- configs/imagenet/metafile.yml\n', '')):
        text = (copy / file).read_text()
        assert old in text
        (copy / file).write_text(text.replace(old, new))
        with pytest.raises(UserError, match=STALE):
            tool['check'](copy, configs, kept)
        (copy / file).write_text(text)


def test_it_writes_what_it_checks(tool, copy, monkeypatch, capsys):
    """Of a new config with a network that is known nothing is counted, and results are kept."""
    shutil.copy(copy / 'configs' / DETECTOR, copy / 'configs' / 'faster_rcnn_mine_1x_coco.py')
    path = copy / 'configs' / 'metafile.yml'
    meta = yaml.safe_load(path.read_text())
    model = next(m for m in meta['Models'] if m['Config'].endswith(DETECTOR))
    model['Results'] = [dict(Task='Object Detection', Dataset='COCO', Metrics={'box AP': 12.3})]
    path.write_text(yaml.safe_dump(meta))
    monkeypatch.setattr('sys.argv', ['make_metafiles.py'])
    tool['main'](copy)
    check(tool, copy)
    assert 'counting' not in capsys.readouterr().out
    models = {m['Name']: m for m in yaml.safe_load(path.read_text())['Models']}
    assert models[DETECTOR[:-3]]['Results'] == model['Results']
    assert models['faster_rcnn_mine_1x_coco']['Metadata'] == model['Metadata']
    rows = (copy / 'configs' / 'README.md').read_text().splitlines()
    assert sum('box AP 12.3' in row for row in rows) == 1


def test_finished_runs_and_weights_are_in_the_tables(tool, copy, monkeypatch):
    folder = copy / 'docs' / 'evidence'
    folder.mkdir(parents=True)
    for seed, (status, ap) in enumerate((('finished', 0.4), ('finished', 0.41), ('stopped', 0.1))):
        (folder / f'x_seed{seed}.json').write_text(json.dumps(dict(
            config=f'configs/{DETECTOR}', seed=seed, epochs=12, options=[], status=status, attempts=[],
            metric='coco/bbox_mAP', val=[[1, 0.3], [12, ap]], loss=[], seconds_per_epoch=1.0)))
    (copy / 'weights').mkdir()
    (copy / 'weights' / f'{DETECTOR[:-3]}.safetensors').touch()
    monkeypatch.setattr('sys.argv', ['make_metafiles.py'])
    tool['main'](copy)
    check(tool, copy)
    models = yaml.safe_load((copy / 'configs' / 'metafile.yml').read_text())['Models']
    assert next(m['Results'] for m in models if m['Config'].endswith(DETECTOR)) == [
        dict(Task='Object Detection', Dataset='COCO 2017', Seeds=2, Metrics={'box AP': 40.5})]
    for page, path in (('README.md', 'weights'), ('configs/README.md', '../weights')):
        row, = (row for row in (copy / page).read_text().splitlines() if f'[{DETECTOR[:-3]}]' in row)
        assert '| box AP 40.5 (mean of 2 seeds), ' in row
        assert row.endswith(f', [weights of one seed]({path}/{DETECTOR[:-3]}.safetensors) |')


def test_a_row_of_no_config(tool, copy):
    page = copy / 'README.md'
    page.write_text(page.read_text().replace(DETECTOR, 'faster_rcnn_dla_l49_1x_coco.py'))
    with pytest.raises(UserError, match='README.md has a row of configs/faster_rcnn_dla_l49_1x_coco.py'):
        check(tool, copy)


@pytest.mark.parametrize('file, words', [
    ('se_r50_nowhere.py', 'does not end with a data set'), ('README.md', 'lacks the lines')])
def test_mistakes_get_one_sentence(tool, copy, monkeypatch, file, words):
    (copy / 'configs' / file).write_text((copy / 'configs' / DETECTOR).read_text())
    monkeypatch.setattr('sys.argv', ['make_metafiles.py'])
    with pytest.raises(UserError, match=words):
        tool['main'](copy)


def test_fields_that_mim_reads():
    """``mim download`` fetches what a model's weight ends in, and fails where no model has the field."""
    for model in MODELS.values():
        weight = model['Metadata'].get('Weight', model.get('Weights'))
        assert weight == 'none published/' or weight.startswith('https://')
    for path in INDEX:
        for collection in yaml.safe_load((ROOT / path).read_text())['Collections']:
            assert ', https://arxiv.org/abs/' in collection['Paper']
