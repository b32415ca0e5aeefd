"""The installed package by itself, away from the clone: what tools/dev/ci.sh runs."""
import argparse
from importlib.metadata import metadata, requires
from pathlib import Path

import mmdla
from mmdla.registry import MODELS

import torch
from mmengine.config import Config


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    package = Path(mmdla.__file__).parent
    assert 'site-packages' in package.parts, f'{package} is not installed'
    for name in ('model-index.yml', 'configs/metafile.yml', 'configs/README.md', 'tools/train.py'):
        assert (package / '.mim' / name).is_file(), f'{name} is not in the package'
    assert list((package / 'ops' / 'csrc').glob('*.cpp')), 'no sources of the CPU kernels'
    assert metadata('mmdla')['Author'] and metadata('mmdla')['Keywords']
    assert not any(line.startswith('shapely') and 'extra' not in line for line in requires('mmdla'))
    model = mmdla.create_model('dla_l20_cifar', num_classes=10).eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    for name in ('faster_rcnn_dla_l50_1x_coco.py', 'imagenet/dla_l50_8xb32_in1k.py'):
        cfg = Config.fromfile(f'mmdla::{name}')
        assert type(MODELS.build(dict(cfg.model.backbone, init_cfg=None))) is mmdla.DLAResNet
    print(f'mmdla {mmdla.__version__} in {package}: fine')


if __name__ == '__main__':
    main()
