"""What configs inherit from, and which classifiers detectors start from."""
import re

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from our_configs import ALL, CONFIGS

SYSTEMS = sorted((CONFIGS / '_base_' / 'models').glob('*.py'))


def bases(path):
    """As they are written, and their paths."""
    return {base: Config._get_cfg_path(base, str(path))[0] for base in Config._get_base_files(str(path))}


def depth(path):
    """Files on the longest way to a config without a base, the hosts' counted."""
    return 1 + max(map(depth, bases(path).values()), default=0)


@pytest.mark.parametrize('name', ALL)
def test_three_files_deep(name):
    assert depth(CONFIGS / name) <= 3


@pytest.mark.parametrize('name', ALL)
def test_no_config_is_a_patch_of_another(name):
    assert all('::' in base or '_base_/' in base for base in bases(CONFIGS / name))


@pytest.mark.parametrize('path', SYSTEMS, ids=lambda path: path.stem)
def test_every_system_is_stated_whole(path):
    assert all('::' in base for base in bases(path))


def shapes(path, **changes):
    cfg = Config.fromfile(path).model.backbone
    return {name: value.shape for name, value in MODELS.build({**cfg, **changes}).state_dict().items()}


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('name', [
    n for n in ALL if n.endswith('_1x_coco.py') and not n.startswith('trunks/')])
def test_a_detector_starts_from_the_classifier_of_its_name(name):
    start = Config.fromfile(CONFIGS / name).model.backbone.init_cfg.checkpoint
    system = re.fullmatch(r'checkpoints/(.*)_in1k.pth', start)
    if system is None:
        assert start.startswith('torchvision://resnet')
        return
    assert f'_{system[1]}_1x_coco.py' in name
    folder = 'comparison' if name.startswith('comparison/') else 'imagenet'
    classifier = shapes(CONFIGS / folder / f'{system[1]}_8xb32_in1k.py')
    # RLA's last hidden map goes to the classifier alone
    assert shapes(CONFIGS / name, init_cfg=None) == {
        key: shape for key, shape in classifier.items() if '.output.' not in key}
