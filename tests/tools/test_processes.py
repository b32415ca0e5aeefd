"""Tools in processes of their own; the other tests run them where everything is imported already."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.full
@pytest.mark.parametrize('tool', sorted(str(p.relative_to(ROOT)) for p in ROOT.glob('tools/**/*.py')))
def test_a_tool_starts_by_itself(tool):
    done = subprocess.run([sys.executable, tool, '--help'], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith(f'usage: {Path(tool).name}'), done.stderr
