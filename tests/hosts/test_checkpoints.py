"""Every address that mmengine knows leads to the one reader."""
import functools
import http.server
import os
import threading

import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_external_models, get_mmcls_models, get_torchvision_models

from mmdla.errors import UserError
from mmdla.hosts import checkpoints


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path, )


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves a folder; files go to a cache of this test."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    served = tmp_path / 'served'
    served.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield served, f'http://127.0.0.1:{running.server_port}'
        running.shutdown()


def test_from_the_web(server, tmp_path):
    folder, address = server
    torch.save(dict(a=torch.ones(2)), folder / 'good.pth')
    torch.save(dict(a=Bomb(tmp_path / 'exploded')), folder / 'bad.pth')
    for _ in range(2):  # fetched, then from the cache
        assert CheckpointLoader.load_checkpoint(f'{address}/good.pth', 'cpu')['a'].tolist() == [1, 1]
    with pytest.raises(UserError, match=f'checkpoint {address}/bad.pth is refused: it would run posix'):
        CheckpointLoader.load_checkpoint(f'{address}/bad.pth', 'cpu')
    assert not (tmp_path / 'exploded').exists()


def test_no_connection(server, tmp_path):
    """Both ways on work: the file in the cache, and its name for the one asked for."""
    folder, address = server
    with pytest.raises(UserError, match='resnet-0123abcd.pth cannot be fetched .*HTTPError') as error:
        CheckpointLoader.load_checkpoint(f'{address}/resnet-0123abcd.pth', 'cpu')
    cached = tmp_path / 'home/hub/checkpoints/resnet-0123abcd.pth'
    assert f'put it to {cached}, or name its place' in str(error.value)
    assert str(error.value).endswith('init_cfg.checkpoint=/path/to/resnet-0123abcd.pth.')
    torch.save(dict(a=torch.ones(2)), cached)
    assert 'a' in CheckpointLoader.load_checkpoint(f'{address}/resnet-0123abcd.pth', 'cpu')


def test_files_of_one_name_in_different_places(server):
    folder, address = server
    for place in ('a', 'b'):
        (folder / place).mkdir()
        torch.save(dict(place=place), folder / place / 'epoch_1.pth')
    for place in ('a', 'b'):
        read = CheckpointLoader.load_checkpoint(f'{address}/{place}/epoch_1.pth', 'cpu')
        assert read['place'] == place


@pytest.mark.parametrize('name, address', [
    ('torchvision://resnet50', get_torchvision_models()['resnet50']),
    ('modelzoo://resnet18', get_torchvision_models()['resnet18']),
    ('open-mmlab://detectron2/resnet50_caffe', get_external_models()['detectron2/resnet50_caffe']),
    ('openmmlab://detectron2/resnet50_caffe', get_external_models()['detectron2/resnet50_caffe']),
    ('mmcls://vgg11', get_mmcls_models()['vgg11']),
])
def test_names_of_model_zoos(name, address, monkeypatch):
    asked = []
    tensors = {'backbone.a': torch.ones(1), 'head.b': torch.ones(1)}
    monkeypatch.setattr(checkpoints, 'load_from_http',
                        lambda url, map_location=None: asked.append(url) or dict(state_dict=tensors))
    read = CheckpointLoader.load_checkpoint(name, 'cpu')
    assert asked == [address]
    assert list(read['state_dict']) == (['a'] if name.startswith('mmcls') else list(tensors))


@pytest.mark.parametrize('address', ['s3://bucket/x.pth', 'petrel://x.pth', 'pavi://x.pth'])
def test_storage_services(address, tmp_path, monkeypatch):
    path = tmp_path / 'x.pth'
    torch.save(dict(a=Bomb(tmp_path / 'exploded')), path)
    with pytest.raises(UserError, match='cannot be fetched'):
        CheckpointLoader.load_checkpoint(address, 'cpu')

    class Service:
        def get(self, url):
            return path.read_bytes()

    monkeypatch.setattr(checkpoints, 'get_file_backend', lambda url, backend_args: Service())
    with pytest.raises(UserError, match=f'checkpoint {address} is refused'):
        CheckpointLoader.load_checkpoint(address, 'cpu')
    assert not (tmp_path / 'exploded').exists()


def test_safetensors(tmp_path):
    content = dict(meta=dict(backbone=dict(depth=18, strides=(1, 2)), epoch=3),
                   state_dict={'a': torch.rand(2, 3), 'b': torch.rand(4, 2).t(), 'c': torch.tensor(7)})
    path = tmp_path / 'x.safetensors'
    path.write_bytes(checkpoints.as_bytes(content, '.safetensors'))
    assert checkpoints.as_bytes(content, '.safetensors') == path.read_bytes()
    read = CheckpointLoader.load_checkpoint(str(path), 'cpu')
    assert read['meta'] == content['meta']
    for name, value in content['state_dict'].items():
        assert torch.equal(read['state_dict'][name], value)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match='x.safetensors cannot be read'):
        checkpoints.load(str(path))


def test_bare_safetensors(tmp_path):
    """As timm and Hugging Face write them."""
    import safetensors.torch
    safetensors.torch.save_file(dict(a=torch.ones(2)), tmp_path / 'x.safetensors')
    assert checkpoints.load(str(tmp_path / 'x.safetensors'))['a'].tolist() == [1, 1]
