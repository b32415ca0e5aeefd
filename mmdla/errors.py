import errno
import logging
import os
import re
import sys
import time
import warnings
from typing import Callable, Optional

PATIENCE = 10  # seconds
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(ValueError):
    """A mistake in the input that its message explains in one sentence.

    The tools print the message alone, without a traceback, and exit with 1.
    """


class RunError(UserError):
    """A UserError that a run meets on its way, maybe in one of several processes only."""


def choose(name: str, value, options: dict):
    """``options[value]``, or one sentence that lists the options."""
    if value not in options:
        raise UserError(f'{name} must be one of {", ".join(map(repr, options))}; got {value!r}.')
    return options[value]


def is_full(error: BaseException) -> bool:
    """Whether an exception says that a disk is full, or a limit of the system reached."""
    return isinstance(error, OSError) and error.errno in FULL


def reason(error: BaseException) -> str:
    """An exception as one line: its type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0]}' if lines else type(error).__name__


def sentence(error: Exception) -> Optional[str]:
    """What a person is to read of an exception; None for one that is no user's mistake."""
    if isinstance(error, UserError):  # a data loader's worker puts its traceback in front
        return re.split(r'^mmdla\.errors\.\w+: ', str(error), flags=re.MULTILINE)[-1].strip()
    if is_full(error):
        return (f'{error.filename or "a file"} cannot be written ({error.strerror}): free disk space, '
                'or write to another disk.')
    return None


def printable(text: str) -> str:
    """A text without control characters, which names in a file may have and a terminal obeys."""
    return ''.join(character if character.isprintable() else '?' for character in text)


def run(main: Callable[[], None]) -> None:
    """Call a tool's ``main``; print a UserError as one sentence (once a machine) and exit with 1.

    With MMDLA_TRACEBACK=1 in the environment its traceback is shown.
    """
    os.environ.setdefault('LOCAL_RANK', '0')
    debugging = os.environ.get('MMDLA_TRACEBACK', '0') == '1'
    logging.raiseExceptions = debugging  # a log that cannot be written is not worth a traceback a line
    warnings.filterwarnings('ignore', message='faster_coco_eval')
    try:
        main()
    except Exception as error:
        text = sentence(error)
        if text is None or debugging:
            raise
        if os.environ['LOCAL_RANK'] != '0' and not isinstance(error, RunError):
            time.sleep(PATIENCE)  # the launcher ends this process once the first one has said it
        sys.exit(f'error: {printable(text)}')
    except KeyboardInterrupt as stop:
        if os.environ['LOCAL_RANK'] == '0':
            print(f'interrupted{": " if stop.args else ""}{"".join(stop.args)}', file=sys.stderr)
        sys.exit(130)
