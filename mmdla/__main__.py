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


def find(name: str) -> str:
    """The script of that name: one of ours where it has no folder, else the file."""
    own = TOOLS / name
    return str(own.resolve()) if os.path.basename(name) == name and own.is_file() else name


def main() -> None:
    script = find(sys.argv[1]) if len(sys.argv) > 1 else ''
    if not script.endswith('.py') or not os.path.isfile(script):
        tools = ', '.join(sorted(path.name for path in TOOLS.glob('*.py')))
        sys.exit(f'usage: mmdla SCRIPT.py [ARGUMENTS] (or python -m mmdla ...): runs {tools} of mmdla '
                 'or, with its path, another script with mmdla imported first.')
    sys.argv[1] = script
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
