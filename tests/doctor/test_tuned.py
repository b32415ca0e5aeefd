"""The small file that keeps the fastest implementation of a GPU."""
import logging

import pytest
import torch
from engine.toy_run import Toy, run

from mmdla import attention
from mmdla.engine import runner as runners
from mmdla.engine.runner import Runner
from mmdla.errors import UserError
from mmdla.ops import backend, tuned

GPU = torch.device('cuda', 0)
pytestmark = pytest.mark.usefixtures('gpu')


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    """What the file needs of a GPU, which there need not be."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('MMDLA_TRITON', raising=False)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'GPU of a test')
    monkeypatch.setattr(tuned, 'triton_version', lambda: '3.6.0')
    tuned.fastest.cache_clear()
    backend._triton_asked.cache_clear()
    yield
    tuned.fastest.cache_clear()
    backend._triton_asked.cache_clear()


def fresh():
    tuned.fastest.cache_clear()
    return tuned.fastest(GPU)


def test_what_is_kept_is_read():
    assert fresh() is None
    tuned.keep(GPU, 'triton')
    assert tuned.fastest(GPU) == 'triton'
    tuned.keep(GPU, 'reference')
    assert tuned.fastest(GPU) == 'reference'
    assert [path.name for path in tuned.path().parent.iterdir()] == ['fastest.json']
    assert tuned.fastest(torch.device('cpu')) is None


@pytest.mark.parametrize('change', [
    lambda patch: patch.setattr(torch.cuda, 'get_device_name', lambda device: 'another'),
    lambda patch: patch.setattr(torch, '__version__', '9.9'),
    lambda patch: patch.setattr(tuned, 'triton_version', lambda: '9.9'),
    lambda patch: patch.setattr(tuned, 'source', lambda: 'another')])
def test_another_gpu_version_or_source_is_not_known(change, monkeypatch):
    tuned.keep(GPU, 'triton')
    with monkeypatch.context() as patch:
        change(patch)
        assert fresh() is None
        tuned.keep(GPU, 'reference')
        assert fresh() == 'reference'
    assert fresh() == 'triton', 'the others are kept'


def test_the_source_is_that_of_the_triton_kernels(tmp_path, monkeypatch):
    before = tuned.source()
    (tmp_path / 'kernel.py').write_text('pass')
    monkeypatch.setattr(tuned, 'SOURCE', tmp_path)
    one = tuned.source()
    (tmp_path / 'kernel.py').write_text('passed')
    assert len({before, one, tuned.source()}) == 3


@pytest.mark.parametrize('content', [
    b'', b'{', b'[]', b'3', b'\xff\xfe', b'[' * 100000, b'{"KEY": "magic"}', b'{"KEY": ["triton"]}',
    b'{"KEY": {}}'])
def test_a_broken_file_counts_as_none(content):
    tuned.path().parent.mkdir(parents=True, exist_ok=True)
    tuned.path().write_bytes(content.replace(b'KEY', tuned.key(GPU).encode()))
    assert fresh() is None
    tuned.keep(GPU, 'triton')
    assert fresh() == 'triton'


def test_a_folder_in_its_place_is_said_when_it_is_written():
    tuned.path().mkdir(parents=True)
    assert fresh() is None
    with pytest.raises(UserError, match='cannot be written'):
        tuned.keep(GPU, 'triton')


def test_only_known_implementations_are_kept():
    with pytest.raises(UserError, match='implementation must be one of'):
        tuned.keep(GPU, 'folded')


def test_without_triton_nothing_is_known(monkeypatch):
    tuned.keep(GPU, 'triton')
    monkeypatch.setattr(tuned, 'triton_version', lambda: None)
    assert fresh() is None and tuned.advice(GPU) is None


@pytest.mark.parametrize('asked, kept, expected', [
    (None, None, False), (None, 'triton', True), (None, 'reference', False), ('1', 'reference', True),
    ('0', 'triton', False), ('', 'triton', True)])
def test_the_environment_wins_over_the_file(asked, kept, expected, monkeypatch):
    monkeypatch.setattr(backend, 'find_spec', lambda name: True)
    if asked is not None:
        monkeypatch.setenv('MMDLA_TRITON', asked)
    if kept:
        tuned.keep(GPU, kept)
    assert backend.triton_wanted(GPU) is expected


def test_torch_compile_does_not_take_what_was_timed_without_it():
    tuned.keep(GPU, 'triton')
    seen = []

    @torch.compile(backend='eager', fullgraph=True)
    def step(x):
        return x + 1 if backend.triton_wanted(GPU) else x

    seen.append(step(torch.zeros(1)).item())
    assert seen == [0.0] and backend.triton_wanted(GPU)


def test_advice_is_one_sentence_where_nothing_is_known(monkeypatch):
    text = tuned.advice(GPU)
    assert text.startswith('python -m mmdla.doctor') and 'GPU of a test' in text and '\n' not in text
    assert tuned.advice(torch.device('cpu')) is None
    monkeypatch.setenv('MMDLA_TRITON', '0')
    assert tuned.advice(GPU) is None
    monkeypatch.delenv('MMDLA_TRITON')
    tuned.keep(GPU, 'reference')
    assert tuned.advice(GPU) is None


class Layered(Toy):
    """A run with layer attention in its model."""

    def __init__(self):
        super().__init__()
        layer = attention.MRLALight(4, 1, dict(type='BN'), dim_per_head=4)
        self.attention = torch.nn.ModuleList([layer])


@pytest.mark.parametrize('model, main, expected',
                         [(Layered, True, 1), (Toy, True, 0), (Layered, False, 0)])
def test_a_training_log_says_it_once(model, main, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(runners, 'advice', lambda device: tuned.advice(GPU))
    monkeypatch.setattr(runners, 'is_main_process', lambda: main)
    logging.disable(logging.NOTSET)
    run(Runner, tmp_path / 'work', epochs=1, model=model())
    log, = (tmp_path / 'work').rglob('*.log')
    assert log.read_text().count('python -m mmdla.doctor') == expected


def test_a_training_log_on_a_cpu_does_not(tmp_path):
    logging.disable(logging.NOTSET)
    run(Runner, tmp_path / 'work', epochs=1, model=Layered())
    log, = (tmp_path / 'work').rglob('*.log')
    assert 'doctor' not in log.read_text()
