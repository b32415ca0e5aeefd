"""Several processes of a tool: what is said when one fails, and that the others end with it."""
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed import DistNetworkError

from mmdla.engine import launch
from mmdla.errors import UserError

ROOT = Path(__file__).parents[2]
TOOL = '''
import os, signal, sys, time
if os.environ['RANK'] == '1':
    time.sleep(60)
if sys.argv[1] == 'sentence':
    sys.exit('error: a sentence.')
elif sys.argv[1] == 'crash':
    1 / 0
elif sys.argv[1] == 'killed':
    os.kill(os.getpid(), signal.SIGKILL)
elif sys.argv[1] == 'stopped':
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
'''


def free_port():
    with socket.socket() as probe:
        probe.bind(('', 0))
        return probe.getsockname()[1]


def run(*command, **environment):
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=50,
        env={**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT), 'PORT': str(free_port()),
             **environment})


@pytest.mark.parametrize('way, code, first, last', [
    ('sentence', 1, 'error: a sentence.', 'error: a sentence.'),
    ('crash', 1, 'Traceback', 'ZeroDivisionError: division by zero'),
    ('killed', 1, 'error: process 0 was ended by SIGKILL', 'memory was full.'),
    ('stopped', 143, '', ''),
])
def test_what_a_failing_process_leaves(way, code, first, last, tmp_path):
    (tmp_path / 'tool.py').write_text(TOOL)
    begun = time.monotonic()
    done = run(sys.executable, '-m', 'mmdla.engine.launch', '2', tmp_path / 'tool.py', way)
    text = done.stderr.strip()
    assert done.returncode == code and text.startswith(first) and text.endswith(last), done.stderr
    assert text.count('Traceback') == (way == 'crash') and 'torch' not in text
    assert time.monotonic() - begun < 40


@pytest.fixture
def taken():
    with socket.socket() as server:
        server.bind(('', 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_in_use(taken):
    with pytest.raises(UserError, match=f'port {taken} of this machine is in use: set PORT to another'):
        launch.check_port(taken)
    launch.check_port(free_port())


@pytest.mark.parametrize('value', ['abc', '0', '65536', '-1', '1.5'])
def test_no_port(value, monkeypatch):
    monkeypatch.setenv('PORT', value)
    with pytest.raises(UserError, match='PORT must be a whole number from 1 to 65535; got'):
        launch.number('PORT', 29500, 1, 65535)


def test_machines_that_do_not_meet(monkeypatch):
    def torchrun(arguments):
        assert '--node_rank=1' in arguments
        raise DistNetworkError('timed out')

    monkeypatch.setattr(launch, 'torchrun', torchrun)
    monkeypatch.setattr(sys, 'argv', ['', '2', 'tool.py'])
    for name, value in (('NNODES', '2'), ('NODE_RANK', '1'), ('MASTER_ADDR', 'first'), ('PORT', '7')):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match='cannot meet at first:7 .*: set MASTER_ADDR'):
        launch.main()


@pytest.mark.full
def test_the_scripts_say_one_sentence(taken):
    for command, environment, words in (
            (('dist_train.sh', 'configs/none.py', '2'), {}, 'configs/none.py does not exist'),
            (('dist_test.sh', 'configs/none.py', 'none.pth', '2'), {}, 'does not exist'),
            (('dist_train.sh', 'configs/none.py', '2'), dict(PORT=str(taken)), 'is in use')):
        done = run('bash', f'tools/{command[0]}', *command[1:], **environment)
        assert done.returncode == 1 and words in done.stderr
        assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1, done.stderr
