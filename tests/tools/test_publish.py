"""tools/convert/publish.py."""
import hashlib

import pytest
import torch
from mmengine.config import Config
from our_configs import CONFIGS

import mmdla
from mmdla.pretrained import read_checkpoint


@pytest.fixture
def trained(tmp_path):
    """A checkpoint as a run leaves it."""
    cfg = Config.fromfile(CONFIGS / 'cifar' / 'dla_l20_b128_cifar100.py')
    cfg.model.head.init_cfg = dict(type='Pretrained', checkpoint='/home/me/x.pth')
    model = mmdla.create_model('dla_l20_cifar')
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(
        state_dict=model.state_dict(), optimizer=dict(state={0: torch.zeros(9)}), message_hub={},
        meta=dict(cfg=cfg.pretty_text, epoch=1, iter=9, dataset_meta=dict(classes=['a', 'b']))), path)
    return path


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_what_is_written_is_the_model_alone(suffix, trained, call, tmp_path):
    out = tmp_path / 'new' / f'x{suffix}'
    done = call('convert/publish.py', trained, out)
    assert done.returncode == 0, done.stderr
    data = out.read_bytes()
    assert f'sha256 {hashlib.sha256(data).hexdigest()}' in done.stdout
    content, before = read_checkpoint(str(out)), torch.load(trained)['state_dict']
    assert set(content) == {'state_dict', 'meta'} and content['state_dict'].keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in content['state_dict'].items())
    assert content['meta']['dataset_meta'] == dict(classes=('a', 'b')) and content['meta']['epoch'] == 1
    assert 'data_root' not in content['meta']['cfg'] and b'optimizer' not in data
    assert b'/home/me' not in data
    model = mmdla.create_model('dla_l20_cifar', pretrained=str(out))
    assert torch.equal(model.backbone.conv1.weight, before['backbone.conv1.weight'])
    assert call('convert/publish.py', trained, out).returncode == 0 and out.read_bytes() == data


def test_half(trained, call, tmp_path):
    done = call('convert/publish.py', trained, tmp_path / 'x.safetensors', '--half')
    assert done.returncode == 0, done.stderr
    tensors = read_checkpoint(str(tmp_path / 'x.safetensors'))['state_dict']
    assert tensors['head.fc.weight'].dtype == torch.float16
    assert tensors['backbone.bn1.num_batches_tracked'].dtype == torch.int64
    model = mmdla.create_model('dla_l20_cifar', pretrained=str(tmp_path / 'x.safetensors'))
    before = torch.load(trained)['state_dict']['head.fc.weight']
    assert model.head.fc.weight.dtype == torch.float32
    assert torch.equal(model.head.fc.weight, before.half().float())


def large(content, folder):
    content['state_dict']['backbone.bn1.running_var'][0] = 1e5
    torch.save(content, folder / 'large.pth')
    return folder / 'large.pth'


def test_mistakes(trained, call, tmp_path):
    content = torch.load(trained)
    torch.save(content['state_dict'], tmp_path / 'bare.pth')
    done = call('convert/publish.py', large(content, tmp_path), tmp_path / 'x.pth', '--half')
    assert done.returncode == 1 and 'beyond the range of float16' in done.stderr
    for source, out, words in ((trained, trained, 'is the checkpoint itself'),
                               (trained, tmp_path / 'x.onnx', 'must end in .safetensors or .pth'),
                               (tmp_path / 'no.pth', tmp_path / 'x.pth', 'does not exist'),
                               (tmp_path / 'bare.pth', tmp_path / 'x.pth', 'does not hold the config')):
        done = call('convert/publish.py', source, out)
        assert done.returncode == 1 and words in done.stderr
    assert not (tmp_path / 'x.pth').exists()
