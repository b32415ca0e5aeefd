"""What inference is asked to look at: pictures, folders, patterns and videos."""
import glob
import os
import tempfile
from pathlib import Path
from typing import Iterator, List, NamedTuple, Sequence

import cv2

from mmdla.errors import UserError
from mmdla.files import write_picture

PICTURES = ('.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')


class Inputs(NamedTuple):
    """Paths of files, each once.

    Attributes:
        pictures (list[str]): Of pictures.
        videos (list[str]): Of videos.
    """

    pictures: List[str]
    videos: List[str]


def inputs_of(names: Sequence[str]) -> Inputs:
    """The files that are meant.

    Args:
        names (sequence of str): Pictures, videos, folders with some anywhere below, and patterns such
            as ``'frames/*.png'`` (``**`` for folders of any depth).

    Raises:
        UserError: For a name without any file.
    """
    paths = {}
    for path in (path for name in names for path in files_of(name)):
        paths.setdefault(os.path.abspath(path), path)
    videos = [path for path in paths.values() if path.lower().endswith(VIDEOS)]
    return Inputs([path for path in paths.values() if path not in videos], videos)


def files_of(name: str) -> List[str]:
    if os.path.isfile(name):
        return [name]
    if os.path.isdir(name):
        return below(name)
    if not glob.has_magic(name):
        raise UserError(f'{name} does not exist: check the path.')
    found = sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))
    if not found:
        raise UserError(f'{name} matches no file: check the pattern.')
    return found


def below(folder: str) -> List[str]:
    """The pictures and videos anywhere in a folder, in order."""
    found = sorted(os.path.join(place, file) for place, _, files in os.walk(folder, followlinks=True)
                   for file in files if file.lower().endswith((*PICTURES, *VIDEOS)))
    if not found:
        raise UserError(f'{folder} has no picture or video ({", ".join((*PICTURES, *VIDEOS))}): name '
                        'another folder.')
    return found


def frames(video: str) -> Iterator[str]:
    """The frames of a video as pictures, one at a time: ``000000.png``, which is gone with the next.

    Raises:
        UserError: If it has none that can be read.
    """
    capture = cv2.VideoCapture(video)
    try:
        with tempfile.TemporaryDirectory() as folder:
            number, (there, frame) = 0, capture.read()
            if not there:
                raise UserError(f'{video} cannot be read as a video: replace it or leave it out.')
            while there:
                path = Path(folder) / f'{number:06d}.png'
                write_picture(path, frame)
                yield str(path)
                path.unlink()
                number, (there, frame) = number + 1, capture.read()
    finally:
        capture.release()
