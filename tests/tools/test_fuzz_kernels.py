"""tools/analysis/fuzz_kernels.py: random configurations of the operations, also under sanitizers."""
import re
import runpy
import subprocess
from pathlib import Path
from shutil import which

import pytest
import torch

from mmdla.engine import fuzz, fuzz_operations
from mmdla.ops import build
from mmdla.ops.backend import kernels

TOOL = 'analysis/fuzz_kernels.py'
needs_kernels = pytest.mark.skipif(kernels() is None, reason='the C++ kernels are not built')


@pytest.fixture(autouse=True)
def settings_of_torch():
    yield
    torch.use_deterministic_algorithms(False)


@needs_kernels
def test_twenty_configurations(call):
    done = call(TOOL, '--count', 20)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '20 configurations of seed 0, ' in done.stdout and 'WRONG' not in done.stdout


def test_configurations_cover_what_there_is():
    cases = [fuzz.case_of(0, number) for number in range(300)]
    assert {case.operation for case in cases} == set(fuzz.OPERATIONS)
    assert {case.dtype for case in cases} == set(fuzz.DTYPES)
    assert {case.settings.get('layers') for case in cases} == {None, 1, 2, 3, 4, 5}
    light = [case for case in cases if case.operation is fuzz_operations.Light]
    names = {'d', 'excite_weight', 'drop_path_scale'}
    assert len({(*sorted(names & case.tensors.keys()), case.settings['training'])
                for case in light}) == 2 ** 4
    maps = [case.tensors['x'].shape for case in light]
    assert {1, 2, 3, 4} == {shape[0] for shape in maps} and {1} < {shape[3] for shape in maps}
    assert any(not case.leaves for case in cases)
    again = fuzz.case_of(0, 7)
    assert again.name == cases[7].name and again.tensors.keys() == cases[7].tensors.keys()
    assert all(again.tensors[name].equal(value) for name, value in cases[7].tensors.items())


@needs_kernels
def test_a_wrong_value_is_found(call, monkeypatch):
    right = fuzz_operations.AddReluMean.fast

    def wrong(t, both):
        found, arguments = right(t, both)
        return {**found, 'y': found['y'] * 1.1}, arguments

    number = next(n for n in range(99) if fuzz.case_of(0, n).operation is fuzz_operations.AddReluMean)
    monkeypatch.setattr(fuzz_operations.AddReluMean, 'fast', wrong)
    done = call(TOOL, '--number', number)
    assert done.returncode == 1 and 'WRONG: y is wrong by 1.0e-01, the definition by ' in done.stdout
    assert f': {number}: AddReluMean' in done.stdout


@pytest.mark.parametrize('kind', ['none', 'no sanitizers'])
def test_without_a_compiler_or_its_sanitizers(call, monkeypatch, tmp_path, kind):
    if kind == 'none':
        monkeypatch.setenv('PATH', str(tmp_path))
        monkeypatch.delenv('CXX', raising=False)
        words = 'no C++ compiler was found'
    else:  # a compiler prints the bare name of a file that it does not have
        compiler = tmp_path / 'c++'
        compiler.write_text('#!/bin/sh\necho "${1#*=}"\n')
        compiler.chmod(0o755)
        monkeypatch.setenv('CXX', str(compiler))
        words = 'has no libasan.so'
    done = call(TOOL, '--sanitize')
    assert done.returncode == 1 and words in done.stderr and re.fullmatch('error: .*\n', done.stderr)


def test_not_built(call, monkeypatch):
    monkeypatch.setattr('mmdla.ops.backend.kernels', lambda: None)
    done = call(TOOL)
    assert done.returncode == 1 and 'not built: run python -m mmdla.ops.build' in done.stderr


def has_sanitizers():
    if not which('g++'):
        return False
    done = subprocess.run(['g++', '-print-file-name=libasan.so'], capture_output=True, text=True)
    return Path(done.stdout.strip()).is_absolute()


@pytest.mark.full
@pytest.mark.skipif(not has_sanitizers(), reason='g++ or its libasan is missing')
@pytest.mark.parametrize('planted', [False, True])
def test_sanitizers(call, planted):
    """Three minutes of compiling each."""
    done = call(TOOL, '--count', 20, '--sanitize', *['--planted'] * planted)
    assert done.returncode == planted, done.stdout + done.stderr
    assert ('ERROR: AddressSanitizer' in done.stdout) == planted
    assert ('no sanitizer spoke' in done.stdout) != planted


def test_the_planted_bound_is_there():
    name, right, wrong = runpy.run_path(str(Path(__file__).parents[2] / 'tools' / TOOL))['PLANTED']
    assert right in (build.CSRC / name).read_text() and right != wrong
