import subprocess
import sys

import pytest
import vision_transformers
import zoo
from trunks import test_product, test_resnet, test_vision_transformer

from mmdla.attention import ContextUnit, Interaction
from mmdla.models import RLA, DLAResNet, TIMMBackbone
from mmdla.registry import MODELS


def test_a_config_needs_only_the_scope():
    """mmengine imports mmdla by itself for a type that begins with 'mmdla.'."""
    code = ('from mmengine.registry import MODELS\n'
            'model = MODELS.build(dict(type="mmdla.MRLAResNet", depth=18))\n'
            'assert type(model).__module__ == "mmdla.trunks.systems"')
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize('scope', ['mmdet', 'mmpretrain'])
def test_builds_from_either_hosts_registry(scope):
    from mmengine.registry import MODELS as root
    with root.switch_scope_and_registry(scope) as registry:
        assert isinstance(registry.build(dict(type='mmdla.DLAResNet', depth=18)), DLAResNet)


def classes_in(variants, **arguments):
    """The registered classes that these networks are made of."""
    return {type(module) for config in variants.values()
            for module in MODELS.build({**config, **arguments}).modules()
            if type(module) in MODELS.module_dict.values()}


def registered(base=object):
    return {cls for cls in MODELS.module_dict.values() if issubclass(cls, base)}


def test_the_contract_suites_cover_everything_registered():
    """In the default tier."""
    for suite in (test_resnet, test_vision_transformer, test_product):
        for test in (suite.test_outputs_of_a_batch_are_those_of_its_samples, suite.test_autocast):
            assert 'full' not in [mark.name for mark in getattr(test, 'pytestmark', ())]
    resnets = classes_in(test_resnet.VARIANTS, depth=50, base_channels=16)
    transformers = classes_in(vision_transformers.VARIANTS, **vision_transformers.SMALL)
    trunks = {type(zoo.build(trunk, 'plain')) for trunk in zoo.TRUNKS}
    others = registered() - resnets - transformers - trunks - {TIMMBackbone}
    assert {cls.__name__ for cls in others} == {'CIFARDataPreprocessor'}
    assert registered(Interaction) <= resnets and registered(ContextUnit) <= resnets
    assert registered(Interaction) - transformers == {RLA}
