"""Run another tool with mmdla imported first, so that the operators are there in time.

    python -m mmdla path/to/mmdet/.mim/tools/test.py CONFIG CHECKPOINT
    mmdla path/to/mmdet/.mim/tools/test.py CONFIG CHECKPOINT               # the same

mmdet's own test.py imports mmdet's models, and with them mmcv's operators, before it reads the
config and its ``custom_imports``. Its train.py does not.
"""
import os
import runpy
import sys


def main() -> None:
    if len(sys.argv) < 2 or not os.path.isfile(sys.argv[1]):
        sys.exit('usage: mmdla SCRIPT.py [ARGUMENTS] (or python -m mmdla ...): runs a script with mmdla '
                 'imported first.')
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
