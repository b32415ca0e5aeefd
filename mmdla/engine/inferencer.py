"""The hosts' inferencers."""
import os

from mmengine.config import Config

from mmdla.errors import UserError
from mmdla.pretrained import check_fit, read_checkpoint


def build_inferencer(config: str, checkpoint: str, device: str):
    """mmdet's DetInferencer or mmpretrain's ImageClassificationInferencer, by the config's scope.

    Raises:
        UserError: If a file is missing or the checkpoint does not fit the config's model.
    """
    for path in (config, checkpoint):
        if not os.path.isfile(path):
            raise UserError(f'{path} does not exist: check the path.')
    content = read_checkpoint(checkpoint)
    if Config.fromfile(config).get('default_scope') == 'mmdet':
        from mmdet.apis import DetInferencer
        inferencer = DetInferencer(config, checkpoint, device, show_progress=False)
    else:
        from mmpretrain import ImageClassificationInferencer
        inferencer = ImageClassificationInferencer(config, checkpoint, device)
    check_fit(inferencer.model, checkpoint, content)
    return inferencer
