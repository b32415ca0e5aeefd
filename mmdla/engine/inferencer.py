"""The hosts' inferencers, and what is checked before they start."""
import os
from collections import Counter, defaultdict
from contextlib import closing, suppress
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple

import cv2
import numpy as np
import torch
from mmengine.config import Config

from mmdla.engine.data_config import datasets_of
from mmdla.engine.inputs import frames
from mmdla.engine.preflight import known_classes, lower, recorded_classes
from mmdla.engine.remarks import without_remarks
from mmdla.engine.start import leave_out_backbones
from mmdla.errors import UserError, reason
from mmdla.files import read_picture
from mmdla.pretrained import check_fit, read_checkpoint, shorten, state_dict_of


def build_inferencer(config: Config, checkpoint: str, device: str):
    """mmdet's DetInferencer or mmpretrain's ImageClassificationInferencer, by the config's scope.

    Raises:
        UserError: If the device is not there, or the checkpoint cannot be read or does not fit the
            config's model.
    """
    check_device(device)
    leave_out_backbones(config)
    content = read_checkpoint(checkpoint)
    state_dict_of(content, checkpoint)
    try:
        with without_remarks():
            inferencer = host_inferencer(config, checkpoint, device)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f'checkpoint {checkpoint} and the config make no inferencer ({reason(error)}): '
                        'use the config that it was trained with.') from error
    check_fit(inferencer.model, checkpoint, content)
    return inferencer


def host_inferencer(config: Config, checkpoint: str, device: str):
    if config.get('default_scope') == 'mmdet':
        from mmdet.apis import DetInferencer
        return DetInferencer(config, checkpoint, device, show_progress=False)
    from mmpretrain import ImageClassificationInferencer
    return ImageClassificationInferencer(config, checkpoint, device)


def check_device(device: str) -> None:
    """Refuse a device that PyTorch does not know, or that is not in this machine."""
    try:
        torch.zeros(1, device=device).item()
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise UserError(f'device {device} cannot be used here ({reason(error)}): name cpu, or cuda '
                        'where PyTorch sees a GPU.') from error


def other_classes(cfg: Config, checkpoint: str) -> str:
    """How the classes that a checkpoint was trained on differ from its config's; empty if they do not.

    Args:
        cfg (Config): With the test set, which need not be there.
        checkpoint (str): Whose names are those of the results.
    """
    recorded = recorded_classes(read_checkpoint(checkpoint))
    for _, dataset in datasets_of(cfg, ('test', )):
        with suppress(UserError):
            stated = known_classes(dataset, cfg)
            if recorded and stated and lower(stated) != lower(recorded):
                return (f'{checkpoint} was trained on {len(recorded)} classes ({shorten(recorded)}) and '
                        f'the config has {len(stated)} ({shorten(stated)}): the results have the names '
                        'of the checkpoint\'s.')
    return ''


def picture_sizes(images: Sequence[str]) -> Dict[Tuple[int, int], str]:
    """The heights and widths of pictures, each with one that has it.

    Raises:
        UserError: For the first that cannot be read.
    """
    return {read_picture(path).shape[:2]: path for path in images}


def video_sizes(videos: Sequence[str]) -> Dict[Tuple[int, int], str]:
    """As :func:`picture_sizes`, of videos."""
    sizes = {}
    for video in videos:
        with closing(frames(video)) as pictures:
            sizes[read_picture(next(pictures)).shape[:2]] = video
    return sizes


def check_sizes(inferencer, sizes: Dict[Tuple[int, int], str]) -> None:
    """Refuse pictures of which the test pipeline leaves no pixels."""
    for (height, width), path in sizes.items():
        try:
            next(iter(inferencer.preprocess([np.zeros((height, width, 3), np.uint8)])))
        except cv2.error as error:
            raise UserError(f'{path} has {width} x {height} pixels, and none where the config\'s test '
                            'pipeline has resized it: crop it or leave it out.') from error


def out_folders(images: Sequence[str], out_dir: str, stem: Callable[[str], str],
                alone: Sequence[str] = ()) -> Dict[str, List[str]]:
    """Folders for results and the pictures whose results go there.

    It is ``out_dir``, and a folder in it for each of the pictures that have one stem: their path below
    the folder that all pictures are in.

    Args:
        images (sequence[str]): Paths.
        out_dir (str): The folder for all.
        stem (callable): What a result's file is called, by the name of the picture.
        alone (sequence[str]): Those of the paths that get a folder of their own, as videos do.
    """
    paths = {path: os.path.abspath(path) for path in dict.fromkeys(images)}
    common = os.path.commonpath([os.path.dirname(path) for path in paths.values()])
    stems = Counter(stem(path) for path in paths if path not in alone)
    folders = defaultdict(list)
    for path, whole in paths.items():
        shared = path not in alone and stems[stem(path)] == 1
        folders[out_dir if shared else str(Path(out_dir) / os.path.relpath(whole, common))].append(path)
    return folders
