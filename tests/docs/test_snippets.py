"""Every command and snippet of README.md and docs/, run in a short form, or named with the reason.

The blocks of a page run in their order, in one folder and one namespace. A new block either runs or
needs a line in NOT_RUN; blocks of ``text`` are output. Commands of our tools are parsed by the tool's
own parser, their configs loaded and their options checked; those of LIVE are run in ``--full``.
"""
import argparse
import contextlib
import glob
import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
import tiny_data
import torch
import torchvision
from mmengine.registry import DATASETS, DefaultScope, init_default_scope
from mmengine.registry import MODELS as ROOT_MODELS

from mmdla.engine import cli, preflight
from mmdla.engine.complexity import build
from mmdla.engine.data_config import datasets_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'weights' / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
FENCE = re.compile(r'^( *)```(\w*)[^\n]*\n(.*?)^\1```', re.M | re.S)
OUTPUT = ('text', 'bibtex', 'json', 'yaml')
LAUNCHERS = {'dist_train.sh': ('train.py', 1), 'dist_test.sh': ('test.py', 2),
             'slurm_train.sh': ('train.py', 0), 'slurm_test.sh': ('test.py', 0)}
# the beginning of a command, and why it is not run
NOT_RUN = {
    'pip install': 'network',
    'pip list': 'of the shell',
    'git clone': 'network',
    'export ': 'sets a variable in the shell',
    'mkdocs ': 'tests/docs/test_site.py builds the site',
    'tensorboard ': 'a server; not a dependency',
    'wandb ': 'needs an account',
    'tar ': 'unpacks a downloaded file',
    'wget ': 'network',
    'curl ': 'network',
    'for name in ': 'an hour of training; the commands in it are those of docs/pretrain.md',
    'for seed in ': 'days of training; the command in it is that of docs/pretrain.md',
    '. .venv/bin/activate': 'of a shell',
    'unset ': 'of a shell',
    'mim ': 'needs openmim, which is no dependency',
    'jupyter ': 'needs Jupyter; tests/docs/test_first_look.py runs the notebook\'s cells',
    'sbatch ': 'needs Slurm',
    'cd ': 'of a shell',
    'docker ': 'needs docker',
    'mkdir ': 'of a shell',
    'python -m venv': 'makes an environment',
}
# a word of a Python block that it cannot do without, and what it waits for
NEEDS = {
    'TimmAttention': (importlib.util.find_spec('timm') is not None, 'timm'),
    'import timm': (importlib.util.find_spec('timm') is not None, 'timm'),
    'mmseg::': (importlib.util.find_spec('mmseg') is not None, 'mmsegmentation'),
    "Detector('model.onnx')": (False, 'an exported detector, as in tests/tools/test_export_onnx.py'),
    'quant_pre_process(': (False, 'a trained classifier and onnxconverter-common'),
    'torch.onnx.export(': (importlib.util.find_spec('onnxscript') is not None, 'onnxscript'),
    'import onnxruntime': (importlib.util.find_spec('onnxruntime') is not None, 'onnxruntime'),
}


class Parsed(BaseException):
    """The arguments of a tool, which then does not begin."""


def blocks(page):
    """Language and text of each fenced block."""
    for match in FENCE.finditer(page.read_text()):
        indent, language, text = match.groups()
        yield language, re.sub(rf'^{indent}', '', text, flags=re.M)


def commands(text):
    """The commands of a shell block, comments and prompts left out; a loop is one command."""
    lines = re.sub(r'\\\n', ' ', text)
    lines = re.sub(r'^(for .*?^done)', lambda m: m[1].replace('\n', ' '), lines, flags=re.M | re.S)
    for line in lines.splitlines():
        line = re.sub(r'(^|\s)#.*', '', line).strip()
        if line:
            yield ' '.join(line.split())


def reason_not_to_run(command):
    command = re.sub(r'^(\w+=\S* )+', '', command)
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), None)


@pytest.fixture(scope='module')
def torch_home(tmp_path_factory):
    """A ResNet-50 in place of torchvision's, which would be downloaded."""
    home = tmp_path_factory.mktemp('torch_home')
    folder = home / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    torch.save(torchvision.models.resnet50().state_dict(), folder / 'resnet50-0676ba61.pth')
    return home


@pytest.fixture
def workspace(tmp_path, torch_home, mini_root, monkeypatch, fresh_registry):
    """A folder with the tools, configs, data and files that the pages speak of."""
    for name in ('configs', 'tools', 'docs', 'weights', 'requirements', 'setup.py', 'hubconf.py'):
        (tmp_path / name).symlink_to(ROOT / name)
    tiny_data.make(tmp_path)
    (tmp_path / 'data' / 'mini_coco').symlink_to(mini_root)
    torchvision_file = torch_home / 'hub' / 'checkpoints' / 'resnet50-0676ba61.pth'
    (tmp_path / 'checkpoints' / 'resnet50-0676ba61.pth').symlink_to(torchvision_file)
    monkeypatch.setenv('TORCH_HOME', str(torch_home))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / 'docs' / 'examples'))
    monkeypatch.chdir(tmp_path)
    matplotlib.use('Agg')
    return tmp_path


def parsed(tool, arguments, monkeypatch):
    """What a tool makes of its arguments."""

    def stop(parser, args=None, namespace=None):
        raise Parsed(original(parser, args, namespace))

    original = argparse.ArgumentParser.parse_args
    with monkeypatch.context() as patch, pytest.raises(Parsed) as info:
        patch.setattr(argparse.ArgumentParser, 'parse_args', stop)
        patch.setattr(sys, 'argv', [tool, *arguments])
        runpy.run_path(str(ROOT / tool), run_name='__main__')
    return info.value.args[0]


def check_tool(tool, arguments, monkeypatch):
    args = parsed(tool, arguments, monkeypatch)
    for word in arguments:
        assert not word.startswith('configs/') or '{' in word or glob.glob(word), word
    if getattr(args, 'config', '').endswith('.py'):
        if Path(args.config).exists() or args.config.startswith(('configs/', 'mmdla::')):
            cli.read_config(args.config, getattr(args, 'cfg_options', None))
        else:
            assert args.config.startswith('work_dirs/'), f'{args.config} is nowhere'


def check_script(script, arguments, monkeypatch):
    path = ROOT / script
    subprocess.run(['bash', '-n', path], check=True)
    if path.name in LAUNCHERS:
        tool, number = LAUNCHERS[path.name]
        slurm = path.name.startswith('slurm')
        rest = arguments[2:] if slurm else arguments[:number] + arguments[number + 1:]
        assert slurm or arguments[number].isdigit()
        check_tool(f'tools/{tool}', rest, monkeypatch)
        return
    for word in arguments:
        assert word in path.read_text() or not word.startswith('-') or 'pytest' in path.read_text(), word


def check_command(command, monkeypatch):
    """Run a command in its short form: parse it, and load what it names."""
    words = shlex.split(command)
    while words and re.match(r'\w+=', words[0]):
        words.pop(0)
    words = [word for word in words if word != '&']
    program, *rest = words
    if program == 'bash' and rest[0].startswith('tools/'):
        check_script(rest[0], rest[1:], monkeypatch)
    elif program == 'python' and rest[0] == '-m' and rest[1].startswith('mmdla'):
        assert importlib.util.find_spec(rest[1])
    elif program == 'python' and rest[0] == '-m' and rest[1] == 'pytest':
        pass
    elif program == 'python' and rest[0] == '-c':
        exec(compile(rest[1], 'command', 'exec'), {})
    elif program == 'mmdla':
        check_tool(f'tools/{rest[0]}', rest[1:], monkeypatch)
    elif program == 'python' and rest[0].startswith('tools/'):
        check_tool(rest[0], rest[1:], monkeypatch)
    elif program == 'python' and Path(rest[0]).is_file():
        compile(Path(rest[0]).read_text(), rest[0], 'exec')
    else:
        pytest.fail(f'how is this run? {command}: say so in check_command or in NOT_RUN')


def build_config(path):
    """Load a config as the tools do, build its model, start its backbone, read an image of its data."""
    cfg = cli.read_config(str(path))
    cli.import_datasets(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    cfg.model.data_preprocessor = cfg.get('data_preprocessor') or cfg.model.get('data_preprocessor')
    model = build(cfg)
    start = str((cfg.model.backbone.get('init_cfg') or {}).get('checkpoint'))
    if start.startswith('torchvision://'):
        model.backbone.init_weights()
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        roots = [inner.get('data_root') for _, inner in datasets_of(cfg, [split])]
        if all(root and Path(root).exists() for root in roots):
            sample = DATASETS.build(dataset)[0]
            assert sample['inputs'].shape[0] == 3
    there = all(root and Path(root).exists() for root in roots)
    if there and start.startswith(('torchvision://', 'None')):
        preflight.check(cfg, ('train', 'val'))


def run_python(text, name, namespace):
    """A config is loaded and built, a fragment of one too; a file is imported later; the rest is run."""
    first = re.match(r'# (\w+\.py)\b', text)
    path = Path(first[1] if first else 'snippet.py')
    if re.search(r'^_base_ = ', text, re.M):
        path.write_text(text)
        with fresh_scope():
            build_config(path)
    elif first and not path.name.startswith('run_'):
        path.write_text(text)
        importlib.invalidate_caches()
    else:
        exec(compile(text, name, 'exec'), namespace)
        if re.match(r'(import \w+\n+)?(backbone|model) = dict\(', text):
            backbone = namespace['model' if 'model = dict(' in text else 'backbone']
            with fresh_scope():
                ROOT_MODELS.build(backbone.get('backbone', backbone))


@contextlib.contextmanager
def fresh_scope():
    try:
        yield
    finally:
        DefaultScope._instance_dict.clear()


def missing(text):
    return [what for word, (there, what) in NEEDS.items() if word in text and not there]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page, workspace, monkeypatch):
    namespace, waits = {'__name__': '__main__'}, set()
    for number, (language, text) in enumerate(blocks(page), 1):
        name = f'{page.name}, block {number}'
        if language == 'python':
            lacking = missing(text)
            waits.update(lacking)
            compile(text, name, 'exec')
            if not lacking:
                run_python(text, name, namespace)
        elif language in ('bash', ''):
            for command in commands(text):
                if not reason_not_to_run(command):
                    check_command(command, monkeypatch)
        else:
            assert language in OUTPUT, f'{name}: what is {language}?'
    if waits:
        pytest.skip(f'all but the blocks that wait for {", ".join(sorted(waits))}')
