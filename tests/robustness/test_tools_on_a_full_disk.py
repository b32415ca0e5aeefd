"""A file that cannot be written whole is one sentence, and nothing of it stays."""
import resource

import cv2
import numpy as np
import pytest
import torch
from torchvision.models import resnet18


@pytest.fixture
def source(tmp_path):
    """Pictures, and a released checkpoint."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'noise.png'), noise)
    torch.save(resnet18().state_dict(), tmp_path / 'released.pth')
    return tmp_path


@pytest.mark.parametrize('tool, arguments', [
    ('data/make_mini_coco.py', '{out}/set --train 2 --val 1'),
    ('data/make_mini_shapes.py', '{out}/set --train 5 --val 5'),
    ('convert/released_to_mmdla.py', '{source}/released.pth {out}/x.pth'),
    ('analysis/picture_grid.py', '{source} {out}/grid.png'),
    ('analysis/plot_benchmark.py', 'docs/benchmarks/depth.json --against depth --out {out}/b.png'),
])
def test_full_disk(tool, arguments, call, source, tmp_path):
    out = tmp_path / 'out'
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        done = call(tool, *arguments.format(source=source, out=out).split())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and lines[-1].startswith('error: '), done.stderr
    assert 'cannot be written (File too large)' in lines[-1] and 'Traceback' not in done.stderr
    assert 'wrote' not in done.stdout and list(out.iterdir()) == []
