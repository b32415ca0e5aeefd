"""``--check-data``: every image and annotation of a run's data sets, opened before it starts."""
import json
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import mmcv
import numpy as np
from mmengine.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader

from mmdla.engine.coco_content import coco_problems, entries, size_of, unused_boxes
from mmdla.engine.data_config import (
    annotation_file,
    datasets_of,
    image_folder,
    is_coco,
    loads_masks,
    source,
)
from mmdla.engine.data_errors import load_dataset
from mmdla.errors import UserError, reason

MOST = 50
BATCH = 16
WORTH_WORKERS = 1000
HALF_DECODED = ('Corrupt JPEG data', 'Premature end of JPEG')
# some cameras write a few bytes after the last pixel; where the decoder lost its way, there are many
HARMLESS = re.compile(r': \d{1,2} extraneous bytes before marker 0xd9')


class Found(NamedTuple):
    """What a data set has: its pictures with the (width, height) that is said of them, if any."""

    pictures: Dict[str, Optional[Tuple[int, int]]]
    annotations: int = 0
    problems: List[str] = []
    unused: List[str] = []


def check_data(cfg: Config, splits: Sequence[str]) -> None:
    """Open every image and annotation of the splits, print what is wrong and say how many are sound.

    Args:
        cfg (Config): A detection or classification config.
        splits (sequence of str): Of 'train', 'val' and 'test'.

    Raises:
        UserError: If anything is wrong.
    """
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    found = []
    for dataset in different(dataset for _, dataset in datasets_of(cfg, splits)):
        console.print(f'reading {source(dataset)}', markup=False)
        found.append(look_into(dataset, cfg))
    pictures = {path: size for one in found for path, size in one.pictures.items()}
    annotations = sum(one.annotations for one in found)
    problems = [problem for one in found for problem in one.problems]
    problems += picture_problems(pictures, console)
    unused = [box for one in found for box in one.unused]
    if unused:
        console.print(f'note: {len(unused)} boxes are left out in training, the first in {unused[0]}',
                      markup=False)
    for problem in problems[:MOST]:
        console.print(problem, markup=False)
    if len(problems) > MOST:
        console.print(f'and {len(problems) - MOST} more')
    if problems:
        faults = f'{len(problems)} fault{"s" if len(problems) > 1 else ""}'
        raise UserError(f'--check-data found {faults} in the data, listed above, the first in '
                        f'{problems[0]}; mend or remove what is wrong.')
    also = f' and {annotations} annotations' if annotations else ''
    console.print(f'data: {len(pictures)} images{also} are sound')


def different(datasets: Iterator[dict]) -> List[dict]:
    """The data sets without those of the same files."""
    keys = ('type', 'data_root', 'ann_file', 'data_prefix', 'split')
    return list({str([d.get(key) for key in keys]): d for d in datasets}.values())


def look_into(dataset: dict, cfg: Config) -> Found:
    """Read a data set's annotations, and open no image."""
    if is_coco(dataset, cfg):
        return look_into_coco(dataset)
    whole = {key: value for key, value in dataset.items() if key != 'indices'}
    whole.setdefault('_scope_', cfg.get('default_scope'))
    loaded = load_dataset({**whole, 'pipeline': []})
    if not hasattr(loaded, 'get_data_info'):  # CIFAR: it checks itself
        return Found({})
    infos = (loaded.get_data_info(index) for index in range(len(loaded)))
    return Found({info['img_path']: None for info in infos if info.get('img_path')})


def look_into_coco(dataset: dict) -> Found:
    ann_file, folder = annotation_file(dataset), image_folder(dataset)
    try:
        with open(ann_file) as file:
            content = json.load(file)
    except (ValueError, OSError) as error:
        return Found({}, 0, [f'{ann_file}: it cannot be read ({reason(error)})'])
    problems = [f'{ann_file}: {problem}' for problem in coco_problems(content, loads_masks(dataset))]
    images = entries(content, 'images') if folder is not None else []
    pictures = {os.path.join(folder, image['file_name']): size_of(image) for image in images
                if isinstance(image.get('file_name'), str)}
    unused = [f'{ann_file}: {box}' for box in unused_boxes(content)]
    return Found(pictures, len(entries(content, 'annotations')), problems, unused)


def picture_problems(pictures: dict, console: Console) -> List[str]:
    """What is wrong with image files, found in several processes where there are many."""
    several = len(pictures) > WORTH_WORKERS
    loader = DataLoader(
        list(pictures.items()), batch_size=BATCH, collate_fn=problems_of,
        num_workers=min(8, processors()) if several else 0)
    bar = Progress(
        TextColumn('      {task.description}'), BarColumn(30), MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True), console=console, refresh_per_second=2,
        redirect_stdout=False, redirect_stderr=False, disable=not console.is_interactive)
    if bar.disable:
        console.print(f'checking {len(pictures)} images')
    problems = []
    with bar:
        task = bar.add_task('checking images', total=len(pictures))
        for batch in loader:
            problems += filter(None, batch)
            bar.advance(task, len(batch))
    return problems


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def problems_of(pictures: List[tuple]) -> List[Optional[str]]:
    """What is wrong with each (path, size) of a batch."""
    return [picture_problem(path, size) for path, size in pictures]


def picture_problem(path: str, size: Optional[Tuple[int, int]] = None) -> Optional[str]:
    """What is wrong with an image file, read as the hosts read it; None if nothing is.

    Args:
        path (str): The file.
        size (tuple, optional): The (width, height) that it should have.
    """
    try:
        with open(path, 'rb') as file:
            content = file.read()
    except OSError as error:
        return f'{path}: {error.strerror}'
    if not content:
        return f'{path}: it is an empty file'
    image, warnings = decode(content)
    if image is None:
        return f'{path}: it is no whole picture'
    partly = [line for line in warnings if line.startswith(HALF_DECODED) and not HARMLESS.search(line)]
    if partly:
        return f'{path}: it is decoded only in part ({partly[0]})'
    actual = image.shape[1::-1]
    if size and actual != size:
        return (f'{path}: it has {actual[0]} x {actual[1]} pixels and the annotation file says '
                f'{size[0]} x {size[1]}')
    return None


def decode(content: bytes) -> Tuple[Optional[np.ndarray], List[str]]:
    """An image's pixels, (H, W, 3), and the decoder's warnings, which it writes to descriptor 2."""
    with tempfile.TemporaryFile() as file:
        with descriptor_2_to(file.fileno()):
            image = mmcv.imfrombytes(content)
        file.seek(0)
        return image, file.read().decode(errors='replace').splitlines()


@contextmanager
def descriptor_2_to(target: int) -> Iterator[None]:
    """Have what C libraries print as errors go to another file descriptor."""
    kept = os.dup(2)
    try:
        os.dup2(target, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
