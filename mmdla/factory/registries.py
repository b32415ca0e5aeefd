"""This package's networks in the registries of timm and mmpretrain."""
from functools import partial
from types import ModuleType

from mmdla.hosts.config_files import CONFIGS

from .architectures import Architecture, architectures

PREFIX = 'mmdla_'
CLASSIFIERS = ('_in1k.py', '_cifar10.py', '_cifar100.py', '_shapes.py')
OF_TIMM = ('pretrained_cfg', 'pretrained_cfg_overlay', 'cache_dir', 'scriptable', 'exportable')


def register(module: ModuleType) -> None:
    """Register with ``timm.models`` or with ``mmpretrain.apis.model``, which was just imported."""
    if module.__name__ == 'timm.models':
        register_with_timm(module)
    else:
        register_with_mmpretrain(module.ModelHub)


def register_with_timm(timm: ModuleType) -> None:
    """Add every network as ``mmdla_NAME``.

    ``num_classes``, ``in_chans``, ``features_only``, ``out_indices`` and ``checkpoint_path`` are those
    of ``timm.create_model``; other arguments are the backbone's.
    """
    for name, architecture in architectures().items():
        function = partial(create_for_timm, name, architecture)
        function.__name__, function.__module__ = PREFIX + name, __name__
        function.__doc__ = f'{name} of mmdla, see mmdla.create_model.'
        timm.register_model(function)


def create_for_timm(name: str, architecture: Architecture, pretrained=False, **kwargs):
    """``mmdla.create_model`` with what timm's passes."""
    from .create import create_model
    kwargs = {key: value for key, value in kwargs.items() if key not in OF_TIMM}
    if 'in_chans' in kwargs:
        kwargs['in_channels'] = kwargs.pop('in_chans')
    model = create_model(name, pretrained, **kwargs)
    size = architecture.image_size
    model.pretrained_cfg = model.default_cfg = dict(
        architecture=PREFIX + name, input_size=(3, size, size), num_classes=architecture.num_classes,
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation='bicubic', crop_pct=0.875,
        classifier='head.layers.head' if architecture.token else 'head.fc')
    return model


def register_with_mmpretrain(hub: type) -> None:
    """Add the classification configs by their file names, when somebody first asks for a name.

    A name that mmpretrain has, too, stays its own: ``resnet50_8xb32_in1k``.
    """
    register_hosts = hub._register_mmpretrain_models
    pending = [CONFIGS.parent / 'model-index.yml']

    def _register_mmpretrain_models() -> None:
        register_hosts()
        if pending:
            add_classifiers(hub, pending.pop())

    hub._register_mmpretrain_models = staticmethod(_register_mmpretrain_models)


def add_classifiers(hub: type, index_path) -> None:
    from modelindex.load_model_index import load
    index = load(str(index_path))
    index.build_models_with_collections()
    for model in index.models:
        if model.config.endswith(CLASSIFIERS):
            model.config = str(index_path.parent / model.config)
            hub._models_dict.setdefault(model.name.lower(), model)
