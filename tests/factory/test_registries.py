"""The networks in the registries of timm and mmpretrain."""
import subprocess
import sys

import mmpretrain
import pytest
import torch

import mmdla
from mmdla.after_import import after_import

CODE = {
    'before': 'import mmdla, timm',
    'after': 'import timm, mmdla',
}


@pytest.mark.parametrize('order', CODE)
def test_timm_whichever_is_imported_first(order):
    pytest.importorskip('timm')
    code = (f'{CODE[order]}, sys\n'
            'assert "mmdla.models" not in sys.modules\n'
            'assert "mmdla_dla_l50" in timm.list_models("mmdla_*")\n'
            'assert "dla34" in timm.list_models()')
    subprocess.run([sys.executable, '-c', code], check=True)


def test_mmdla_imports_neither():
    code = 'import mmdla, sys; assert not {"timm", "mmpretrain", "mmdla.models"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)


def test_timm_creates_them():
    timm = pytest.importorskip('timm')
    assert {f'mmdla_{name}' for name in mmdla.list_models()} == set(timm.list_models('mmdla_*'))
    model = timm.create_model('mmdla_dla_l18', num_classes=5, in_chans=1).eval()
    assert model(torch.rand(1, 1, 64, 64)).shape == (1, 5)
    assert timm.data.resolve_model_data_config(model)['input_size'] == (3, 224, 224)
    model = timm.create_model('mmdla_dla_l20_cifar', features_only=True, out_indices=(0, 2))
    assert model.feature_info.channels() == [64, 256]
    with pytest.raises(ValueError, match='no weights of dla_l50 are published'):
        timm.create_model('mmdla_dla_l50', pretrained=True)


def test_mmpretrain_finds_our_configs():
    assert 'dla_l50_8xb32_in1k' in mmpretrain.list_models('dla_l50')
    assert not mmpretrain.list_models('faster_rcnn')
    model = mmpretrain.get_model('dla_l20_b128_cifar10', head=dict(num_classes=3)).eval()
    assert type(model.backbone) is mmdla.DLAResNet
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert mmpretrain.get_model('resnet50_8xb32_in1k').backbone.__module__.startswith('mmpretrain')


def test_after_import(tmp_path, monkeypatch):
    seen = []
    after_import('json', seen.append)
    assert [module.__name__ for module in seen] == ['json']
    (tmp_path / 'some_module.py').write_text('x = 1')
    monkeypatch.syspath_prepend(tmp_path)
    after_import('some_module', lambda module: seen.append(module.x))
    import some_module  # noqa: F401
    assert seen[1:] == [1]
    after_import('no_such_module', seen.append)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'"):
        import no_such_module  # noqa: F401
