import subprocess
import sys


def test_a_config_needs_only_the_scope():
    """mmengine imports mmdla by itself for a type that begins with 'mmdla.'."""
    code = ('from mmengine.registry import MODELS\n'
            'model = MODELS.build(dict(type="mmdla.MRLAResNet", depth=18))\n'
            'assert type(model).__module__.startswith("mmdla.models")')
    subprocess.run([sys.executable, '-c', code], check=True)
