import os
import sys
import warnings
from typing import Callable


class UserError(ValueError):
    """A mistake in the input that its message explains in one sentence.

    The tools print the message alone, without a traceback, and exit with 1.
    """


def choose(name: str, value, options: dict):
    """``options[value]``, or one sentence that lists the options."""
    if value not in options:
        raise UserError(f'{name} must be one of {", ".join(map(repr, options))}; got {value!r}.')
    return options[value]


def run(main: Callable[[], None]) -> None:
    """Call a tool's ``main``; print a UserError as one sentence (once a machine) and exit with 1."""
    os.environ.setdefault('LOCAL_RANK', '0')
    warnings.filterwarnings('ignore', message='faster_coco_eval')
    try:
        main()
    except UserError as error:
        sys.exit(f'error: {error}' if os.environ['LOCAL_RANK'] == '0' else 1)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(130)
