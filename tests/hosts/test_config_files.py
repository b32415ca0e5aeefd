"""``mmdla::NAME.py``."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from our_configs import CONFIGS, build_classifier

import mmdla
from mmdla.engine import cli
from mmdla.errors import UserError

DETECTOR = 'faster_rcnn_dla_l50_1x_coco.py'


@pytest.mark.parametrize('name', [DETECTOR, 'cifar/dla_l20_b128_cifar10.py'])
def test_as_base_and_from_file(name, tmp_path):
    plain = Config.fromfile(CONFIGS / name)
    assert Config.fromfile(f'mmdla::{name}').to_dict() == plain.to_dict()
    path = tmp_path / 'mine.py'
    path.write_text(f'_base_ = "mmdla::{name}"\nmodel = dict(backbone=dict(frozen_stages=0))')
    mine = Config.fromfile(path)
    assert mine.model.backbone.pop('frozen_stages') == 0
    plain.model.backbone.pop('frozen_stages', None)
    assert mine.to_dict() == plain.to_dict()


def test_networks_of_it_are_built(tmp_path):
    (tmp_path / 'mine.py').write_text('_base_ = "mmdla::cifar/dla_l20_b128_cifar10.py"')
    assert type(build_classifier(Config.fromfile(tmp_path / 'mine.py')).backbone) is mmdla.DLAResNet


def test_the_hosts_own_names_are_as_before(tmp_path):
    (tmp_path / 'mine.py').write_text('_base_ = "mmdet::_base_/models/faster-rcnn_r50_fpn.py"')
    assert Config.fromfile(tmp_path / 'mine.py').model._scope_ == 'mmdet'


def test_mmengines_hub():
    assert get_config('mmdla::imagenet/dla_l50_8xb32_in1k.py').model.backbone.type == 'mmdla.DLAResNet'


@pytest.mark.parametrize('name', [DETECTOR, DETECTOR[:-3], f'mmdla::{DETECTOR}', Path(DETECTOR)])
def test_config_path(name):
    assert Path(mmdla.config_path(name)).samefile(CONFIGS / DETECTOR)


@pytest.mark.parametrize('name', ['mmdla::nothing.py', 'mmdla::../README.md', 'mmdla::../setup.py'])
def test_mistakes_get_one_sentence(name):
    with pytest.raises(UserError, match=r'there is no config .*\.py in mmdla'):
        Config.fromfile(name)


def test_the_tools_take_it_and_are_found(tmp_path):
    assert cli.read_config(f'mmdla::{DETECTOR}').model.backbone.type == 'mmdla.DLAResNet'
    with pytest.raises(UserError, match='config nothing.py does not exist: check the path; mmdla::NAME'):
        cli.read_config('nothing.py')
    done = subprocess.run(
        [sys.executable, '-m', 'mmdla', 'train.py', 'mmdla::mini/faster_rcnn_dla_l18_mini.py'],
        cwd=tmp_path, capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=str(CONFIGS.parent)))
    assert done.returncode == 1 and done.stderr.startswith('error: ') and 'mini_coco' in done.stderr
