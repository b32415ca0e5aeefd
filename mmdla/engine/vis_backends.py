"""Where a run's curves and pictures go: mistakes that mmengine finds after a part of the work."""
import importlib.util

from mmengine.config import Config

from mmdla.engine.data_config import type_name
from mmdla.errors import UserError

PACKAGES = dict(
    AimVisBackend='aim', ClearMLVisBackend='clearml', DVCLiveVisBackend='dvclive',
    MLflowVisBackend='mlflow', NeptuneVisBackend='neptune', TensorboardVisBackend='tensorboard',
    WandbVisBackend='wandb')


def check_backends(cfg: Config) -> None:
    """
    Raises:
        UserError: If ``visualizer.vis_backends`` is no list of dicts, or one needs a missing package.
    """
    backends = (cfg.get('visualizer') or {}).get('vis_backends') or []
    if not isinstance(backends, (list, tuple)) or isinstance(backends[0], str):
        raise UserError(f'visualizer.vis_backends={backends!r} is no list of dicts, which an option '
                        'cannot hold: write visualizer = dict(vis_backends=[dict('
                        'type=\'TensorboardVisBackend\')]) in a config, or change the first with '
                        '--cfg-options visualizer.vis_backends.0.type=TensorboardVisBackend.')
    for backend in backends:
        name = type_name(backend).rpartition('.')[2] if isinstance(backend, dict) else ''
        package = PACKAGES.get(name)
        if package and importlib.util.find_spec(package) is None:
            raise UserError(f'{name} of visualizer.vis_backends needs the package {package}, which is '
                            f'not installed: pip install {package}, or take it out.')
