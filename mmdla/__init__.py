"""Cross-layer attention backbones (DLA, MRLA) for OpenMMLab.

What a config names as ``mmdla.X`` is an attribute of the package, too (``mmdla.DLAResNet``). Beside it
there are ``list_models`` and ``create_model`` for networks by name, ``load_backbone`` for checkpoints,
and ``config_path`` for the configs. They are imported when they are asked for.

Once timm is imported, before or after, the networks are in its registry as ``mmdla_NAME``
(``timm.create_model('mmdla_dla_l50')``; timm's own ``dla34`` is another DLA), and the classification
configs in mmpretrain's (``mmpretrain.get_model('dla_l50_8xb32_in1k')``). Neither is imported for that.
"""
from importlib import import_module

from mmdla import openmp

openmp.spin_briefly()  # before the next lines load torch

try:
    from mmdla.hosts import checkpoints, config_files, mmcv_ext
except ModuleNotFoundError as error:
    missing = (error.name or '').split('.')[0]
    if missing not in ('mmcv', 'mmengine'):
        raise
    raise ModuleNotFoundError(
        f'mmdla needs the OpenMMLab packages, of which {missing} is missing: pip install '
        '"mmdla[onedl]", the maintained ones, or "mmdla[openmmlab]", the original ones.',
        name=missing) from None

from mmdla.after_import import after_import  # noqa: E402
from mmdla.version import __version__  # noqa: E402

mmcv_ext.register()
checkpoints.register()
config_files.register()

HOME_OF = {
    'create_model': 'mmdla.factory.create',
    'list_models': 'mmdla.factory.create',
    'load_backbone': 'mmdla.pretrained',
    'config_path': 'mmdla.hosts.config_files',
}
__all__ = ['__version__', *HOME_OF]


def __getattr__(name: str):
    home = HOME_OF.get(name, 'mmdla.models' if name[0].isupper() else None)
    if home is not None and hasattr(import_module(home), name):
        return getattr(import_module(home), name)
    raise AttributeError(f'module \'mmdla\' has no attribute {name!r}')


def __dir__() -> list:
    return sorted({*globals(), *__all__, *import_module('mmdla.models').__all__})


def _register_with(module) -> None:
    import_module('mmdla.factory.registries').register(module)


after_import('timm.models', _register_with)
after_import('mmpretrain.apis.model', _register_with)
