"""A network is initialised when its constructor returns."""
import pytest
import torch
import torchvision
from mmdet.registry import MODELS as DETECTORS
from our_configs import load

from mmdla.errors import UserError
from mmdla.models import DLAResNet, MRLAResNet, ResNet
from mmdla.trunks import trunk

SMALL = dict(depth=18, base_channels=16, stem_channels=16)


def pretrained(path):
    return dict(type='Pretrained', checkpoint=str(path))


@pytest.fixture
def file(tmp_path):
    """A checkpoint of the plain trunk and its tensors."""
    tensors = ResNet(**SMALL).state_dict()
    torch.save(tensors, tmp_path / 'start.pth')
    return tmp_path / 'start.pth', tensors


@pytest.mark.parametrize('start, gamma', [('scaled', 2**-0.5), ('one', 1), ('zero', 0)])
def test_gammas(start, gamma, capfd):
    model = MRLAResNet(**SMALL, attention_init=start)
    gammas = [norm.weight for attention in model.attention for norm in attention.norms]
    for weight in gammas:
        torch.testing.assert_close(weight, torch.full_like(weight, gamma))
    stem, = (parameter for name, parameter in model.named_parameters() if name == 'conv1.weight')
    assert abs(stem.std() / (2 / (16 * 49))**0.5 - 1) < 0.1  # the host's, not PyTorch's
    assert capfd.readouterr() == ('', '')


def test_torchvisions_resnet_by_its_state_dict():
    theirs = torchvision.models.resnet18().eval()
    tensors = {name: t for name, t in theirs.state_dict().items() if not name.startswith('fc.')}
    model = DLAResNet(18, attention_init='zero').eval()
    assert not model.load_state_dict(tensors, strict=False).unexpected_keys
    x = torch.randn(2, 3, 64, 64)
    expected = torch.nn.Sequential(*list(theirs.children())[:-2])(x)
    assert torch.equal(model(x)[-1], expected)


def test_init_weights_changes_nothing(file, capfd):
    for init_cfg in (None, pretrained(file[0])):
        model = MRLAResNet(**SMALL, attention_init='zero', init_cfg=init_cfg)
        capfd.readouterr()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        assert model.is_init
        model.init_weights()
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        assert capfd.readouterr() == ('', '')


def test_a_file_is_loaded_by_the_constructor(file):
    path, tensors = file
    model = MRLAResNet(**SMALL, attention_init='zero', init_cfg=pretrained(path))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in tensors.items())


def test_a_file_that_does_not_fit(tmp_path):
    with pytest.raises(UserError, match='attention_init=\'zero\''):
        torch.save(ResNet(**SMALL).state_dict(), tmp_path / 'start.pth')
        MRLAResNet(**SMALL, init_cfg=pretrained(tmp_path / 'start.pth'))


@pytest.mark.parametrize('name', ['nothing.pth', 'torchvision://resnet18', 'https://example.org/a.pth'])
def test_what_is_no_file_is_missed(name, monkeypatch, recwarn):
    def fetch(*args):
        raise AssertionError('nothing is to be fetched')

    monkeypatch.setattr(trunk, 'load_backbone', fetch)
    model, x = MRLAResNet(**SMALL, init_cfg=pretrained(name)), torch.randn(2, 3, 64, 64)
    assert not model.is_init and not recwarn
    for _ in range(2):
        with pytest.raises(UserError, match=f'{name} of its init_cfg is not loaded: call init_weights'):
            model(x)
    with pytest.warns(UserWarning, match='random weights'):
        model.eval()(x)
    model(x)
    assert not recwarn


def test_it_is_not_missed_once_a_state_dict_is_loaded(recwarn):
    model = MRLAResNet(**SMALL, init_cfg=pretrained('nothing.pth'))
    whole = torch.nn.ModuleDict(dict(backbone=model))
    whole.load_state_dict(whole.state_dict())
    model(torch.randn(2, 3, 64, 64))
    assert not recwarn


def test_init_weights_loads_what_was_no_file(file):
    path, tensors = file
    model = MRLAResNet(**SMALL, attention_init='zero', init_cfg=pretrained(path.with_name('later.pth')))
    with pytest.raises(UserError, match='later.pth does not exist'):
        model.init_weights()
    path.rename(path.with_name('later.pth'))
    model.init_weights()
    assert model.is_init and torch.equal(model.conv1.weight, tensors['conv1.weight'])
    model(torch.randn(2, 3, 64, 64))


def test_a_detector_initialises_it_no_second_time():
    cfg = load('faster_rcnn_mrla_l50_1x_coco.py').model
    cfg.backbone.update(depth=18, base_channels=16, stem_channels=16, init_cfg=None)
    cfg.neck.in_channels = [16, 32, 64, 128]
    detector = DETECTORS.build(cfg)
    before = detector.backbone.conv1.weight.clone()
    detector.init_weights()
    assert torch.equal(detector.backbone.conv1.weight, before)
    assert not hasattr(detector.backbone, '_params_init_info')


def test_a_subclass_with_more_modules_is_initialised_whole():
    class Longer(MRLAResNet):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.extra = torch.nn.Conv2d(64, 64, 3)

    std = Longer(**SMALL).extra.weight.std()
    assert abs(std / (2 / (64 * 9))**0.5 - 1) < 0.1
