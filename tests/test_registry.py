import subprocess
import sys


def test_a_config_needs_only_the_scope():
    """mmengine imports mmdla by itself for a type that begins with 'mmdla.'."""
    code = ('from mmengine.registry import MODELS\n'
            'model = MODELS.build(dict(type="mmdla.MRLAResNet", depth=18))\n'
            'assert type(model).__module__.startswith("mmdla.models")')
    subprocess.run([sys.executable, '-c', code], check=True)


def test_a_contract_suite_covers_every_registered_backbone_and_plugin():
    """In the default tier."""
    from models.backbones import test_layer_attention_resnet, test_layer_attention_vit

    from mmdla import models
    from mmdla.registry import MODELS
    for suite in (test_layer_attention_resnet, test_layer_attention_vit):
        for test in (suite.test_outputs_of_a_batch_are_those_of_its_samples, suite.test_autocast):
            assert 'full' not in [mark.name for mark in getattr(test, 'pytestmark', ())]
    configs = [config for suite in (test_layer_attention_resnet, test_layer_attention_vit)
               for config in suite.VARIANTS.values()]
    configs += [plugin['cfg'] for config in configs for plugin in config.get('plugins', ())
                if plugin['cfg']['type'].startswith('mmdla.')]
    covered = {config['type'].removeprefix('mmdla.') for config in configs}
    assert covered == set(MODELS.module_dict) - {'CIFARDataPreprocessor'}
    for cls in (models.DLAResNet, models.MRLAResNet):
        tested = {config.get('variant', 'light')
                  for config in test_layer_attention_resnet.VARIANTS.values()
                  if config['type'] == f'mmdla.{cls.__name__}'}
        assert tested == set(cls.variants)
