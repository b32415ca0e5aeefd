"""Commands and configs of docs/ really run: as written there, on tiny data and for a few iterations."""
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_data
import torch
import torchvision

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'
SHORT = 'default_hooks.logger.interval=1'
FEW = ('train_dataloader.dataset.indices=2', 'val_dataloader.dataset.indices=2')
DETECTOR = 'configs/mini/faster_rcnn_dla_l18_mini.py work_dirs/faster_rcnn_dla_l18_mini/epoch_6.pth'
# page, beginning of a command there, what makes it short, what it writes
COMMANDS = (
    ('own_data.md', 'python tools/data/make_mini_coco.py data/mini_coco', '--train 6 --val 4',
     'data/mini_coco/annotations'),
    ('own_data.md', 'python tools/data/make_mini_shapes.py data/mini_shapes', '--train 20 --val 10',
     'data/mini_shapes/train'),
    ('train_and_test.md', 'python tools/train.py configs/mini/faster_rcnn_dla_l18_mini.py',
     '--cfg-options ' + ' '.join(FEW), 'work_dirs/faster_rcnn_dla_l18_mini/epoch_6.pth'),
    ('train_and_test.md', f'python tools/test.py {DETECTOR} --show-dir work_dirs/drawn', '',
     'work_dirs/faster_rcnn_dla_l18_mini/metrics.json'),
    ('train_and_test.md', 'python tools/analysis/picture_grid.py work_dirs/drawn', '', 'detections.png'),
    ('train_and_test.md', f'python tools/inference.py {DETECTOR} photo.jpg --out-dir', '',
     'work_dirs/inference/vis/photo.jpg'),
    ('visualise.md', f'python tools/analysis/layer_attention_map.py {DETECTOR}', '',
     'work_dirs/layer_attention/layer_attention.png'),
    ('visualise.md', 'python tools/train.py configs/mini/dla_l18_mini_shapes.py --work-dir',
     f'train_cfg.max_epochs=1 {SHORT}', 'work_dirs/dla_b34/epoch_1.pth'),
    ('visualise.md', 'python tools/analysis/get_flops.py', '', ''),
    ('visualise.md', 'python tools/analysis/saved_activations.py', '--batch 1', ''),
)


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A folder like a clone, with a ResNet-50 in place of torchvision's."""
    root = tmp_path_factory.mktemp('clone')
    for name in ('configs', 'tools'):
        (root / name).symlink_to(ROOT / name)
    tiny_data.make(root)
    folder = root / 'torch_home' / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    torch.save(torchvision.models.resnet50().state_dict(), folder / 'resnet50-0676ba61.pth')
    return root


def run(home, command):
    environment = {name: value for name, value in os.environ.items() if not name.endswith('_ROOT')}
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]], cwd=home, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment, 'PYTHONPATH': str(ROOT), 'TORCH_HOME': str(home / 'torch_home')})
    assert done.returncode == 0, f'{command}\n{done.stdout[-3000:]}'
    return done.stdout


def commands_of(page):
    text = (DOCS / page).read_text().replace('\\\n', ' ')
    return [' '.join(line.split()) for line in text.splitlines() if line.startswith('python ')]


@pytest.mark.full
def test_commands(home):
    for page, beginning, options, written in COMMANDS:
        found = [command for command in commands_of(page) if command.startswith(beginning)]
        assert found, f'{beginning} is not in {page}'
        run(home, f'{found[0]} {options}')
        assert not written or (home / written).exists(), written


@pytest.mark.full
def test_configs_for_your_own_data(home):
    """Each config of own_data.md trains an epoch and validates."""
    if not (home / 'data' / 'mini_coco').exists():
        run(home, 'python tools/data/make_mini_coco.py data/mini_coco --train 6 --val 4')
    text = (DOCS / 'own_data.md').read_text()
    configs = {name: block for block in re.findall(r'^```python\n(# \w+\.py.*?)^```', text, re.M | re.S)
               if '_base_' in block for name in re.findall(r'\A# (\w+)\.py', block)}
    assert set(configs) == {'my_detector', 'my_small_set', 'my_mask_rcnn', 'my_r18', 'my_voc',
                            'my_classifier'}
    for name, block in configs.items():
        (home / f'{name}.py').write_text(block)
    few = dict(my_voc='train_dataloader.dataset.times=1', my_classifier='', my_mask_rcnn=FEW[0])
    for name in configs:
        out = run(home, f'python tools/train.py {name}.py --auto-scale-lr --cfg-options '
                        f'train_cfg.max_epochs=1 train_cfg.val_interval=1 {SHORT} '
                        f'{few.get(name, " ".join(FEW))}')
        assert (home / 'work_dirs' / name / 'epoch_1.pth').is_file(), out
