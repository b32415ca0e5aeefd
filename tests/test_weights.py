"""The files in weights/."""
import hashlib
from pathlib import Path

import pytest
from mmengine.config import Config
from our_configs import CONFIGS, build

from mmdla.pretrained import check_fit, read_checkpoint

FOLDER = Path(__file__).parents[1] / 'weights'
FILES = sorted(FOLDER.glob('*.safetensors'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_a_file_fits_its_config_and_is_described(path):
    config, = (config for config in CONFIGS.rglob('*.py') if config.stem == path.stem)
    content = read_checkpoint(str(path))
    check_fit(build(str(config.relative_to(CONFIGS))), str(path), content)
    row, = (line for line in (FOLDER / 'README.md').read_text().splitlines() if f'({path.name})' in line)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in row and path.stat().st_size < 10e6
    assert Config.fromfile(config).model.type in content['meta']['cfg']


def test_there_are_some_and_no_others():
    assert FILES and {path.name for path in FOLDER.iterdir()} == {'README.md', *(p.name for p in FILES)}
