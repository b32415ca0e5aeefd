"""What the README's two commands say before they start anything."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
SCRIPTS = ('quickstart.sh', 'run_tests.sh')


@pytest.fixture
def run(tmp_path):
    """Run a script in a folder that holds nothing but the scripts; PYTHON is unset unless given."""
    (tmp_path / 'tools').mkdir()
    for name in (*SCRIPTS, 'environment.sh'):
        shutil.copy(TOOLS / name, tmp_path / 'tools')

    def runner(script, *args, **env):
        given = {key: value for key, value in os.environ.items() if key != 'PYTHON'}
        return subprocess.run(['bash', f'tools/{script}', *args], cwd=tmp_path, env={**given, **env},
                              capture_output=True, text=True)

    return runner


def error(done):
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_unknown_option(run):
    done = run('quickstart.sh', '--fast')
    assert done.returncode == 2 and done.stderr.startswith('usage: bash tools/quickstart.sh')


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_python_that_is_not_there(run, script):
    message = error(run(script, PYTHON='/nowhere/python'))
    assert message.startswith('error: PYTHON=/nowhere/python does not run')


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_python_without_the_packages(run, script, tmp_path):
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'bare'], check=True)
    message = error(run(script, PYTHON='bare/bin/python'))
    assert message.startswith('error: PYTHON=') and ' lacks torch, ' in message
    assert ('xdist' in message) == (script == 'run_tests.sh')


@pytest.mark.parametrize('script', SCRIPTS)
def test_an_environment_of_somebody_else_is_left_alone(run, script, tmp_path):
    (tmp_path / '.venv' / 'bin').mkdir(parents=True)
    assert error(run(script)).startswith('error: .venv is there and was not made by this script')
    assert (tmp_path / '.venv' / 'bin').is_dir()


def test_what_has_not_begun_in_time_is_skipped():
    pytest_run = [sys.executable, '-m', 'pytest', '-rs', '--minutes=-1', 'tests/test_errors.py']
    done = subprocess.run(pytest_run, cwd=TOOLS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert 'not begun within -1 minutes' in done.stdout and ' passed' not in done.stdout
