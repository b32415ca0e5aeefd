"""Drawing a test's predictions, each picture to a file of its own."""
import os
from collections import Counter
from pathlib import Path
from typing import Sequence

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


class DrawHook(Hook):
    """Has the host's hook draw every image of a test.

    The hosts' hooks name a picture after the image, without its folder. Where two images of a data set
    have one name, as in folders of classes, the pictures go to folders as the images do.

    Args:
        hook (dict): Config of mmdet's DetVisualizationHook or mmpretrain's VisualizationHook.
        folder (str): To draw to.
    """

    def __init__(self, hook: dict, folder: str) -> None:
        self.detection = 'DetVisualizationHook' in str(hook['type'])
        self.config = {**hook, **(dict(draw=True) if self.detection else dict(enable=True, interval=1))}
        self.folder, self.drawn = Path(folder).absolute(), 0

    def before_test(self, runner) -> None:
        self.hook = HOOKS.build(self.config)
        dataset = runner.test_dataloader.dataset
        images = [dataset.get_data_info(i).get('img_path') for i in range(len(dataset))
                  ] if hasattr(dataset, 'get_data_info') else []
        self.common = common_folder([image for image in images if image])

    def after_test_iter(self, runner, batch_idx: int, data_batch: dict, outputs: Sequence) -> None:
        for image, sample in zip(data_batch['inputs'], outputs):
            folder = self.folder
            if self.common:
                folder = folder / os.path.relpath(os.path.dirname(sample.img_path), self.common)
            setattr(self.hook, 'test_out_dir' if self.detection else 'out_dir', str(folder))
            self.hook.after_test_iter(runner, self.drawn, dict(inputs=[image]), [sample])
            self.drawn += 1


def common_folder(images: Sequence[str]) -> str:
    """The folder that images with equal names are all in; empty where all names differ."""
    names = Counter(os.path.basename(image) for image in images)
    alike = max(names.values(), default=1) > 1
    return os.path.commonpath([os.path.dirname(image) for image in images]) if alike else ''
