"""Every bad input gets one sentence, before any work, and an exit status that says so."""
import shlex

import pytest
from robustness.cases import CASES


@pytest.mark.parametrize('case', CASES, ids=[case.name for case in CASES])
def test_one_sentence(case, inputs, call, monkeypatch):
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value.format(**vars(inputs)))
    if case.make:
        case.make(inputs)
    done = call(case.tool, *shlex.split(case.arguments.format(**vars(inputs))))
    assert done.returncode == case.code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert case.words in lines[-1] and (case.code == 2 or lines[-1].startswith('error: ')), done.stderr
    assert 'Traceback' not in done.stderr and done.stderr.count('error: ') == 1
