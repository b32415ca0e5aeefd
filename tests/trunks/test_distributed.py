"""DistributedDataParallel, which stops at parameters without a gradient, on every trunk."""
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from zoo import TRUNKS, build, total


@pytest.fixture(scope='module')
def group(tmp_path_factory):
    """A group of this process alone."""
    path = tmp_path_factory.mktemp('group') / 'store'
    dist.init_process_group('gloo', init_method=f'file://{path}', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures('group')
@pytest.mark.parametrize('frozen', [True, pytest.param(False, marks=pytest.mark.full)])
@pytest.mark.parametrize('form', ['dla_l', pytest.param('dla_b', marks=pytest.mark.full)])
@pytest.mark.parametrize('trunk', TRUNKS)
def test_two_steps_without_unused_parameters(trunk, form, frozen):
    frozen = frozen and 'Pyramid' not in trunk  # mmdet's PVT has no frozen_stages
    first = 0 if trunk == 'SwinTransformer' else 1
    model = build(trunk, form, **(dict(frozen_stages=first) if frozen else {}))
    model = DistributedDataParallel(model)
    for _ in range(2):
        total(model(torch.randn(2, 3, 64, 64))).backward()
