"""What a person reads of an error."""
import errno

import pytest

from mmdla import errors
from mmdla.errors import RunError, UserError


def raising(error):
    def main():
        raise error
    return main


def test_a_worker_processs_traceback_is_left_out():
    text = ('Caught RunError in DataLoader worker process 0.\n'
            'Original Traceback (most recent call last):\n'
            '  File "x.py", line 1\nKeyError: \'bbox\'\n\nThe above exception was the direct cause:\n\n'
            'mmdla.errors.RunError: image a.png cannot be prepared (KeyError: \'bbox\').\n')
    assert errors.sentence(RunError(text)) == "image a.png cannot be prepared (KeyError: 'bbox')."


def test_control_characters_do_not_reach_the_terminal():
    with pytest.raises(SystemExit) as stop:
        errors.run(raising(UserError('tensor \x1b]0;x\x07 is unknown')))
    assert stop.value.code == 'error: tensor ?]0;x? is unknown'


def test_a_full_disk_is_one_sentence():
    with pytest.raises(SystemExit, match='error: a.png cannot be written .No space left on device.'):
        errors.run(raising(OSError(errno.ENOSPC, 'No space left on device', 'a.png')))


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        errors.run(raising(ZeroDivisionError()))


def test_the_traceback_of_a_sentence_on_request(monkeypatch):
    monkeypatch.setenv('MMDLA_TRACEBACK', '1')
    with pytest.raises(UserError):
        errors.run(raising(UserError('x')))


def test_one_process_speaks_and_the_others_wait(monkeypatch):
    waited = []
    monkeypatch.setattr(errors.time, 'sleep', waited.append)
    for rank, error, seconds in (('0', UserError('x'), []), ('1', UserError('x'), [errors.PATIENCE]),
                                 ('1', RunError('x'), [])):
        monkeypatch.setenv('LOCAL_RANK', rank)
        waited.clear()
        with pytest.raises(SystemExit, match='error: x'):
            errors.run(raising(error))
        assert waited == seconds


def test_an_interrupt_says_how_to_go_on(capsys):
    with pytest.raises(SystemExit) as stop:
        errors.run(raising(KeyboardInterrupt('--resume goes on from a.pth.')))
    assert stop.value.code == 130
    assert capsys.readouterr().err == 'interrupted: --resume goes on from a.pth.\n'
