"""The networks for ``torch.hub``.

    torch.hub.load('OWNER/mmdla', 'dla_l50', num_classes=10)
    torch.hub.load('/path/to/mmdla', 'dla_l50', source='local', features_only=True)

Every name of ``mmdla.list_models()`` is an entry; arguments are those of ``mmdla.create_model``.
"""
from functools import partial, update_wrapper

from mmdla.factory.create import create_model
from mmdla.factory.create import list_models as _list_models

dependencies = ['torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain']

globals().update({name: update_wrapper(partial(create_model, name), create_model)
                  for name in _list_models()})
