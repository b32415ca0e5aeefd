"""Run a tool of this package from anywhere, or another one with mmdla imported first.

    mmdla train.py CONFIG                                  # tools/train.py; python -m mmdla is the same
    mmdla path/to/mmdet/.mim/tools/test.py CONFIG CHECKPOINT

mmdet's own test.py imports mmdet's models, and with them mmcv's operators, before it reads the
config and its ``custom_imports``. Its train.py does not.
"""
import os
import runpy
import sys
from pathlib import Path

TOOLS = Path(__file__).parent / '.mim' / 'tools'


def main() -> None:
    own = TOOLS / (sys.argv[1] if len(sys.argv) > 1 else '')
    if len(sys.argv) > 1 and not os.path.isfile(sys.argv[1]) and own.is_file():
        sys.argv[1] = str(own.resolve())
    if len(sys.argv) < 2 or not os.path.isfile(sys.argv[1]):
        sys.exit('usage: mmdla SCRIPT.py [ARGUMENTS] (or python -m mmdla ...): runs a tool of mmdla, '
                 'such as train.py, or another script with mmdla imported first.')
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
