"""tools/analysis/byte_model.py: the tables of docs/performance.md."""
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / 'docs' / 'performance.md'
TOOL = 'analysis/byte_model.py'


def test_the_tables_say_what_they_are():
    text = PAGE.read_text()
    begin, end = text.index('### What bytes predict'), text.index('<!-- end -->')
    section = text[begin:end]
    assert '**Computed, not measured.**' in section
    assert 'python tools/analysis/benchmark.py --device cuda' in section
    rows = [line.split(' | ') for line in section.splitlines()
            if re.match(r'\| (ResNet|MRLA|DLA)-', line)]
    assert len(rows) == 2 * (2 + 2 * 4 + 2 * 3)
    ratios = [float(row[4].split(' ')[0]) for row in rows if 'ResNet' not in row[0]]
    assert all(1 < ratio < 3 for ratio in ratios)


def test_without_triton(call, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    done = call(TOOL)
    assert done.returncode == 1 and re.fullmatch('error: triton is not installed, .*\n', done.stderr)


@pytest.mark.full
@pytest.mark.skipif(find_spec('triton') is None, reason='triton is not installed')
def test_the_tables_are_current(call):
    done = call(TOOL, '--check')
    assert done.returncode == 0, done.stderr
