"""What pip, an import without the hosts, and the workflow make of this package."""
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
import yaml

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize('missing', ['mmengine', 'mmcv'])
def test_without_the_hosts_one_sentence_names_the_extra(missing):
    code = f'import sys; sys.modules["{missing}"] = None; import mmdla, mmdla.models'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    if missing == 'mmengine':
        assert done.stderr.splitlines()[-1] == (
            'ModuleNotFoundError: mmdla needs the OpenMMLab packages, of which mmengine is missing: pip '
            'install "mmdla[onedl]", the maintained ones, or "mmdla[openmmlab]", the original ones.')
    assert done.returncode == 1 and missing in done.stderr.splitlines()[-1]


@pytest.fixture
def setup(monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **arguments: given.update(arguments))
    runpy.run_path(str(ROOT / 'setup.py'))
    return given


def test_metadata(setup):
    assert setup['author'] and setup['keywords'] and setup['project_urls']
    assert 'Programming Language :: Python :: 3.11' in setup['classifiers']
    assert not any('shapely' in line for line in setup['install_requires'])
    assert setup['entry_points'] == {'console_scripts': ['mmdla = mmdla.__main__:main']}


def test_the_workflow_runs_steps_of_the_script():
    jobs = yaml.safe_load((ROOT / '.github' / 'workflows' / 'ci.yml').read_text())['jobs']
    matrix = jobs['test']['strategy']['matrix']['include']
    assert {entry['stack'] for entry in matrix} == {'onedl', 'openmmlab'}
    assert len({entry['python'] for entry in matrix}) == len({entry['torch'] for entry in matrix}) == 2
    steps = [word for job in jobs.values() for word in job['steps'][-1]['run'].split()]
    script = (ROOT / 'tools' / 'dev' / 'ci.sh').read_text()
    for step in ('wheel', 'tests', 'docs', 'lint'):
        assert step in steps and f'\n{step}() {{' in script


def test_the_script_refuses_what_it_does_not_know():
    done = subprocess.run(['bash', str(ROOT / 'tools' / 'dev' / 'ci.sh'), '--nonsense'],
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith('error: --nonsense is no option and no step')
