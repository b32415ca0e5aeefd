"""Writing files whole or not at all, and saying beforehand where that is impossible."""
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, Optional, Tuple, Union

from mmdla.errors import UserError

Name = Union[str, Path]
FIGURES = ('.png', '.jpg', '.svg', '.pdf')


def cannot_write(path: Name, error: OSError) -> UserError:
    return UserError(f'{path} cannot be written ({error.strerror or error}): name another place, or '
                     'free disk space.')


def check_folder(path: Name) -> Path:
    """Make a folder unless it is there, and check that files can be made in it.

    Raises:
        UserError: If not.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error
    return Path(path)


def check_output(path: Name, *suffixes: str) -> Path:
    """Check that a file can be written to ``path``; its folder may be missing, and is not made.

    Args:
        path (str or Path): The file, which may exist.
        suffixes (str): Those that it may have; any if none is given.

    Raises:
        UserError: If not.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise UserError(f'{path} must end in {" or ".join(suffixes)}: name another file.')
    if path.is_dir():
        raise UserError(f'{path} is a folder: name a file to write.')
    check_place(path.parent, path)
    return path


def check_place(folder: Name, path: Optional[Name] = None) -> None:
    """Check that files can be made in a folder, or in what there is above it.

    Args:
        folder (str or Path): It need not exist, and is not made.
        path (str or Path, optional): To call it in the error. Default: the folder.

    Raises:
        UserError: If not.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise cannot_write(path or folder, error) from error


@contextmanager
def written(path: Name) -> Iterator[Path]:
    """A temporary file beside ``path`` to write to, which takes its place at the end of the context.

    Whatever happens, even a crash of the machine, ``path`` holds all of its old content or all of the
    new.

    Raises:
        UserError: If it cannot be written; nothing is left behind then.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f'{path.name}.', suffix='.partial', dir=path.parent)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            with open(partial, 'rb') as file:
                os.fsync(file.fileno())
            os.chmod(partial, 0o666 & ~umask())
            os.replace(partial, path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def sync_folder(path: Path) -> None:
    """Have the disk know the folder's new names, on file systems that can."""
    with suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def umask() -> int:
    """The process's umask, which is known only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Name, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written(path) as partial:
        partial.write_bytes(text.encode())


def marks(tool: str) -> Tuple[str, str]:
    """The lines of a page between which ``tool`` writes."""
    return f'<!-- written by {tool} -->', '<!-- end -->'


def with_part(path: Name, tool: str, part: str) -> str:
    """A page's text with another part between the lines that mark what a tool writes.

    Args:
        path (str): Of the page.
        tool (str): The tool's path, as in the first of these lines.
        part (str): The text between them.

    Raises:
        UserError: If the page lacks the lines.
    """
    begin, end = marks(tool)
    path = Path(path)
    before, begins, rest = (path.read_text(encoding='utf-8') if path.is_file() else '').partition(begin)
    _, ends, after = rest.partition(end)
    if not (begins and ends):
        raise UserError(f'{path} lacks the lines {begin} and {end}: write them where the table belongs.')
    return f'{before}{begin}\n{part}\n{end}{after}'


def read_picture(path: Name):
    """A picture as BGR (H, W, 3).

    Raises:
        UserError: If the file is none.
    """
    import cv2
    picture = cv2.imread(str(path))
    if picture is None:
        raise UserError(f'{path} cannot be read as a picture: replace it or leave it out.')
    return picture


def encode_picture(path: Name, picture) -> bytes:
    """A BGR picture (H, W, 3) as the content of a file with this name's suffix.

    Raises:
        UserError: If the suffix is not that of a picture format.
    """
    import cv2
    try:
        return cv2.imencode(Path(path).suffix, picture)[1].tobytes()
    except cv2.error as error:
        raise UserError(f'{path} has no suffix of a picture format: end it in .png or .jpg.') from error


def write_picture(path: Name, picture) -> None:
    """Write a BGR picture (H, W, 3) in the format of the name's suffix, whole or not at all."""
    content = encode_picture(path, picture)
    with written(path) as partial:
        partial.write_bytes(content)


def write_figure(path: Name, figure, **metadata: str) -> None:
    """Write a figure of matplotlib, whole or not at all; its suffix is one of ``FIGURES``.

    ``metadata`` is kept in the file, where its format has such fields.
    """
    with written(path) as partial:
        figure.savefig(partial, dpi=110, format=Path(path).suffix[1:].lower(), metadata=metadata or None)


def check_new(path: Name) -> Path:
    """Check that a folder can be made, and that nothing has its name.

    Raises:
        UserError: If not.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise UserError(f'{path} exists already: remove it or name another folder.')
    check_place(path.parent, path)
    return path


@contextmanager
def new_folder(path: Name) -> Iterator[Path]:
    """A folder to write to, which becomes ``path`` at the end: there is all of it or nothing.

    Raises:
        UserError: If ``path`` exists or cannot be made.
    """
    path = check_new(path)
    parent = check_folder(path.absolute().parent)
    partial = Path(tempfile.mkdtemp(prefix=f'{path.name}.', suffix='.partial', dir=parent))
    try:
        yield partial
        os.chmod(partial, 0o777 & ~umask())
        os.rename(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
