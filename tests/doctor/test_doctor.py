"""``python -m mmdla.doctor``: its output, its exit code and what it keeps."""
import json
import logging
import sys
from types import SimpleNamespace

import pytest
import torch

from mmdla import errors
from mmdla.doctor import __main__ as doctor
from mmdla.doctor import checks, environment, timing
from mmdla.doctor.checks import Check
from mmdla.doctor.report import Report, of_end
from mmdla.doctor.timing import Time, Workload, winner
from mmdla.ops import backend, tuned

KEYS = {'ok', 'failures', 'environment', 'checked', 'checks', 'not_checked', 'times', 'fastest'}

backend.kernels()  # loaded before a test moves the cache folder


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """The doctor on small maps and images, in this process."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(checks, 'SHAPES', ((2, 4, 3, 5), ))
    monkeypatch.setattr(checks, 'DRAWS', 1)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setitem(timing.WORKLOADS, 'cpu', (Workload('classification', 1, (32, 32), False), ))
    monkeypatch.setattr(timing, 'network', small_network)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['doctor', *args])
        code = 0
        try:
            errors.run(doctor.main)
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            logging.disable(logging.INFO)
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run


def small_network(plain, workload, device):
    return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3))


@pytest.fixture
def wrong(monkeypatch):
    """An operation of which one result is wrong."""

    def check(operation, case, device, how):
        return checks.failed(operation.name, str(case), 'out is off by 1, allowed are 0.1')

    monkeypatch.setattr(checks, 'check', check)


def test_a_healthy_machine(call):
    found = call()
    assert found.returncode == 0 and found.stdout.endswith('nothing wrong\n')
    lines = found.stdout.splitlines()
    assert len(lines) <= 50 and max(map(len, lines)) <= 140
    assert 'not checked: the Triton kernels: there is no GPU' in found.stdout
    assert not tuned.path().exists()


def test_what_is_wrong_is_said_and_fails(call, wrong):
    found = call()
    assert found.returncode == 1
    assert 'wrong: add_relu_mean (one mean) (float32, NCHW, 2 x 4 x 3 x 5): out is off' in found.stdout
    assert 'WRONG' in found.stdout and 'more (--json lists all)' in found.stdout
    assert 'nothing wrong' not in found.stdout


@pytest.mark.parametrize('is_wrong', [False, True])
def test_json_is_one_object_and_nothing_else(call, is_wrong, request):
    if is_wrong:
        request.getfixturevalue('wrong')
    found = call('--json')
    content = json.loads(found.stdout, parse_constant=pytest.fail)
    assert content.keys() == KEYS and content['ok'] is not is_wrong
    assert found.returncode == int(is_wrong) and bool(content['failures']) is is_wrong
    assert content['environment']['torch'] == torch.__version__
    assert content['times'][0]['how'] == 'plain' and content['times'][0]['ms'] > 0


def test_an_unknown_argument_is_one_sentence(call):
    found = call('--jsn')
    assert found.returncode == (
        'error: --jsn is no argument of python -m mmdla.doctor: it takes --json or none.')


@pytest.mark.parametrize('name, words', [('mmcv', 'mmcv is not installed'), ('timm', None)])
def test_missing_hosts(name, words, monkeypatch):
    find = environment.find_spec
    monkeypatch.setattr(environment, 'find_spec', lambda one: None if one == name else find(one))
    problems = environment.environment()['problems']
    assert problems == ([f'{words}.'] if words else [])


def test_a_host_that_cannot_be_imported(monkeypatch):
    def fail(name):
        raise AssertionError('MMCV==9 is used but incompatible')

    monkeypatch.setattr(environment, 'import_module', fail)
    problems = ' '.join(environment.environment()['problems'])
    assert 'mmdet cannot be imported (AssertionError: MMCV==9' in problems


def test_broken_cpu_kernels(monkeypatch, tmp_path):
    path = tmp_path / 'kernels.so'
    monkeypatch.setattr(environment, 'kernels', lambda: None)
    monkeypatch.setattr(environment, 'library', lambda: path)
    found = environment.environment()
    assert found['cpu_kernels'] == 'not built' and found['problems'] == []
    path.touch()
    found = environment.environment()
    assert found['cpu_kernels'] == 'broken' and 'delete it' in found['problems'][0]


def times(**ms):
    return [Time(f'{workload} training', how, value, problem=None if value else 'too little memory')
            for workload, pair in ms.items() for how, value in zip(('reference', 'triton'), pair)]


@pytest.mark.parametrize('pairs, expected', [
    (dict(a=(2.0, 1.0)), 'triton'), (dict(a=(1.0, 2.0)), 'reference'),
    (dict(a=(2.0, 1.0), b=(1.0, 1.5)), 'triton'), (dict(a=(2.0, 1.5), b=(1.0, 2.0)), 'reference'),
    (dict(a=(None, None), b=(2.0, 1.0)), 'triton'), (dict(a=(None, None)), None), ({}, None)])
def test_the_winner(pairs, expected):
    assert winner(times(**pairs)) == expected


def test_inference_does_not_decide_and_what_fails_does_not_win():
    found = times(a=(2.0, 1.0))
    slow = [Time('a inference', 'triton', 9.0), Time('a inference', 'reference', 1.0)]
    assert winner([*found, *slow]) == 'triton'
    failing = Time('b training', 'triton', problem='RuntimeError', wrong=True)
    assert winner([*found, failing]) == 'reference'


@pytest.mark.parametrize('check, expected', [
    (Check('one', 'case', 0.5), 'triton'), (Check('one', 'case', 2.0, 'one is wrong.'), 'reference'),
    (Check('one', 'case', unchecked='no memory'), 'triton')])
def test_only_what_is_correct_is_kept(check, expected, monkeypatch):
    kept = []
    monkeypatch.setattr(tuned, 'keep', lambda device, name: kept.append(name))
    report = Report(dict(problems=[]), 'triton', [check], times(a=(2.0, 1.0)), None)
    assert doctor.keep(report, torch.device('cuda', 0)) == expected and kept == [expected]
    assert expected in ' '.join(of_end(report._replace(fastest=expected)))
    assert ('no memory' in report.unchecked()) == bool(check.unchecked)


@pytest.mark.parametrize('error, wrong', [
    (torch.OutOfMemoryError('CUDA out of memory'), 0), (RuntimeError('illegal'), 1)])
def test_too_little_memory_is_not_wrong_and_an_error_is(error, wrong, monkeypatch):
    def step_of(model, images, workload, how):
        def step():
            if how == 'kernels':
                raise error
        return step

    monkeypatch.setattr(timing, 'network', small_network)
    monkeypatch.setattr(timing, 'step_of', step_of)
    workload = Workload('detection', 1, (8, 8))
    found = timing.measure(workload, ['reference', 'kernels'], torch.device('cpu'), 1)
    report = Report(dict(problems=[]), 'kernels', [], found, None)
    assert len(report.failures()) == wrong and len(report.unchecked()) == 1 - wrong
    assert {time.how for time in found if time.ms is not None} == {'plain', 'reference'}


def test_compilations_are_counted(monkeypatch):
    compile_model = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda model: compile_model(model, backend='eager'))
    monkeypatch.setattr(timing, 'network', small_network)
    found = timing.measure(Workload('classification', 1, (8, 8)), ['reference', 'compile'],
                           torch.device('cpu'), 1)
    assert [time.compilations for time in found] == [None, None, 1]
    assert timing.compilations('triton') in (0, None)


def test_a_workload_that_cannot_begin_is_not_timed(monkeypatch):
    monkeypatch.setattr(timing, 'network', lambda *args: 1 / 0)
    monkeypatch.setitem(timing.WORKLOADS, 'cpu', (Workload('detection', 1, (8, 8)), ))
    found, = timing.measure_all(['reference'], torch.device('cpu'))
    assert found.wrong and found.problem.startswith('ZeroDivisionError')


def test_cases_of_a_gpu_are_fewer_but_of_all_dtypes_and_layouts():
    found = {kind: checks.usual_cases(torch.device(kind)) for kind in ('cpu', 'cuda')}
    assert len(found['cuda']) == 16 < len(found['cpu'])
    for cases in found.values():
        assert {(case.dtype, case.layout) for case in cases} == {
            (dtype, layout) for dtype in checks.DTYPES for layout in checks.FORMATS}


def test_networks_of_a_workload():
    model = timing.network(False, Workload('detection', 1, (64, 64)), torch.device('cpu'))
    assert len(model(torch.zeros(1, 3, 64, 64))) == 4
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms) and model.training
