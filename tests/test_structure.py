"""The plan of the house, as far as a test can keep it."""
import ast
import re
from pathlib import Path

import pytest
from mmengine.utils import import_modules_from_strings

from mmdla.attention import Interaction
from mmdla.registry import MODELS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'mmdla'
SOURCES = [path for folder in ('mmdla', 'tools', 'tests', 'docs')
           for path in (ROOT / folder).rglob('*.py')]
EQUATIONS = {'MRLA Eq. 2', 'MRLA Eq. 3', 'DLA Eq. 6', 'DLA Eq. 7', 'DLA Eq. 8', 'DLA Eq. 9'}
# each imports only those above it, and its own
LAYERS = (
    ('errors', 'version', 'openmp', 'after_import', 'registry', 'literal_config', 'names_before',
     'namings'),
    ('files', ),
    ('hosts', 'ops'),
    ('gates', ),
    ('attention', ),
    ('recorded_config', ),
    ('pretrained', ),
    ('trunks', ),
    ('datasets', ),
    ('models', ),
    ('factory', ),
    ('engine', ),
    ('deploy', ),
    ('doctor', ),
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def package_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imports_of(path):
    """Parts of this package that a file imports."""
    inside = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(inside[:len(inside) + 1 - node.level]) if node.level else ''
            module = '.'.join(part for part in (base, node.module) if part)
            names = [f'{module}.{alias.name}' for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith('mmdla.') and name.split('.')[1] in RANKS:
                yield name.split('.')[1]


def test_files_are_short():
    long = {str(path.relative_to(ROOT)): count for path in SOURCES
            if (count := len(path.read_text().splitlines())) > 350}
    long.update({path.name: count for path in (PACKAGE / 'ops' / 'csrc').iterdir()
                 if (count := len(path.read_text().splitlines())) > 300})
    assert long == {}


@pytest.mark.parametrize(
    'path', sorted(PACKAGE.rglob('*.py')), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_runs_back_up(path):
    own = package_of(path)
    if own in ('__init__', '__main__'):
        return
    assert own in RANKS, 'give the new part its place in LAYERS'
    assert [name for name in imports_of(path) if name != own and RANKS[name] >= RANKS[own]] == []


def classes():
    """Every class of this package."""
    modules = ['.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
               for path in PACKAGE.rglob('*.py') if '__main__' not in path.name]
    found = {value for module in import_modules_from_strings(modules, allow_failed_imports=True)
             if module is not None for value in vars(module).values() if isinstance(value, type)}
    return {cls for cls in found if cls.__module__.split('.')[0] == 'mmdla'}


def test_no_class_has_more_than_three_ancestors_of_ours():
    ancestors = {cls: [base for base in cls.__mro__[1:] if base.__module__.split('.')[0] == 'mmdla']
                 for cls in classes()}
    assert len(ancestors) > 50
    assert {cls: bases for cls, bases in ancestors.items() if len(bases) > 3} == {}


def test_nobody_asks_which_interaction_it_has():
    """``isinstance`` of a registered interaction stands in its own file only."""
    names = {name for name, cls in MODELS.module_dict.items() if issubclass(cls, Interaction)}
    for path in [*PACKAGE.rglob('*.py'), *(ROOT / 'tools').rglob('*.py')]:
        tree = ast.parse(path.read_text())
        own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ('isinstance', 'issubclass'):
                asked = set(re.findall(r'\w+', ast.unparse(node.args[1])))
                assert not asked & (names - own), f'{path}:{node.lineno}'


def test_each_equation_stands_once_in_the_layers():
    found = []
    for path in (PACKAGE / 'attention').glob('*.py'):
        for line in path.read_text().splitlines():
            code, mark, comment = line.partition('  # ')
            if mark and re.match(r'(MRLA|DLA) Eq\. \d', comment):
                assert '=' in code or 'return' in code, line
                found.append(re.match(r'\w+ Eq\. \d', comment)[0])
    assert sorted(found) == sorted(EQUATIONS)
