"""One name and one colour of a system in all figures."""
import pytest

from mmdla.engine.figure_style import COLOURS, NAMES, style


@pytest.mark.parametrize('system, label, key', [
    ('dla_l', 'DLA-L', 'dla_l'),
    ('dla_l_b128_cifar100', 'DLA-L b128 cifar100', 'dla_l'),
    ('DLA-L, seed 1', 'DLA-L, seed 1', 'dla_l'),
    ('resnet', 'ResNet', 'resnet'),
    ('se_b128_cifar100', 'SE b128 cifar100', 'se'),
])
def test_a_system(system, label, key):
    assert style(system) == dict(label=label, color=COLOURS[key])


@pytest.mark.parametrize('name', ['sender', 'ResNetless', 'my run'])
def test_another_name(name):
    assert style(name) == dict(label=name)


def test_colours_differ():
    assert COLOURS.keys() == NAMES.keys() and len(set(COLOURS.values())) == len(NAMES)
