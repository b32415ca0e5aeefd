"""Faults in the loading and converting of checkpoints."""
from .fault import Fault

LOADER = 'tests/test_pretrained.py'
NAMES = ('tests/test_names_before.py', 'loads_with_a_note')
WHOLE_MODEL = ('tests/test_names_before.py', 'whole_model')
CONFIG = ('tests/test_names_before.py', 'config_of')
CONVERTER = 'tests/tools/test_released_to_mmdla.py'
BEFORE = 'mmdla/names_before.py'
PRETRAINED = 'mmdla/pretrained.py'
RELEASED = 'tools/convert/released_to_mmdla.py'

FAULTS = [
    Fault('missing tensors accepted', PRETRAINED,
          "('missing', missing)", "('missing', [])", (LOADER, 'partial_match')),
    Fault('unknown tensors accepted', PRETRAINED,
          "('unknown', unknown)", "('unknown', [])", (LOADER, 'partial_match')),
    Fault('an ordinary ResNet accepted as a start', PRETRAINED,
          'trunk if plain and backbone.starts_plain else own', 'trunk if plain else own',
          (LOADER, 'ordinary_resnet')),
    Fault('backbone of a classifier not compared', PRETRAINED,
          "if prefix in ('', 'backbone.'):", "if prefix == '':", (LOADER, 'same_shapes')),

    # ------------------------------------------------------------------ names of mmdla 0.1
    Fault('attention of a stage under the next stage\'s name', BEFORE,
          '{int(m[2]) - 1}.', '{int(m[2])}.', NAMES),
    Fault('attention of a vision transformer without its stage', BEFORE,
          r"r'\1attention.0.\2'", r"r'\1attention.\2'", NAMES),
    Fault('output of RLA in the first stage', BEFORE,
          r"rf'\1attention.{last}.output.0.'", r"r'\1attention.0.output.0.'", NAMES),
    Fault('lambda_t not renamed', BEFORE, r"r'\1\2.lambda_l'", r"r'\1\2.lambda_t'", NAMES),
    Fault('initial context not renamed', BEFORE,
          r"r'\1\2.context.initial'", r"r'\1\2.initial_context'", NAMES),
    Fault('context unit of DLA not renamed', BEFORE, 'if dla:', 'if False:', NAMES),
    Fault('context unit of LII renamed', BEFORE, 'if dla:', 'if True:', NAMES),
    Fault('names inside a whole model not known', BEFORE, r"r'^(backbone\.|)'", "r'^()'", NAMES),
    Fault('names of 0.1 not known to load_state_dict', 'mmdla/trunks/trunk.py',
          'self._register_load_state_dict_pre_hook(rename_before_loading)', 'pass', WHOLE_MODEL),
    Fault('tensors beside the backbone renamed too', 'mmdla/trunks/trunk.py',
          'state_dict.update({prefix + name: value', 'state_dict.update({name: value', WHOLE_MODEL),
    Fault('gate of 0.1 misread', BEFORE,
          "dict(sigmoid='output', identity='context')", "dict(sigmoid='context', identity='output')",
          CONFIG),
    Fault('gates of 0.1 kept', BEFORE, "'form' if name == 'gates' else name", 'name', CONFIG),

    # ------------------------------------------------------------------ released checkpoints
    Fault('query and key mixed up by the converter', RELEASED,
          "q='query', k='key'", "q='key', k='query'", (CONVERTER, 'released_code and mrla_b20')),
    Fault('perceptrons mixed up by the converter', RELEASED,
          "ih='from_input', hh='from_context'", "ih='from_context', hh='from_input'",
          (CONVERTER, 'released_code and dia20')),
    Fault('refresh of the converted config', RELEASED,
          "config['refresh'] = 'tokens'", "config['refresh'] = 'features'",
          (CONVERTER, 'released_code and dla_b20')),
    Fault('dim_per_head of the converted config', RELEASED,
          '32 if cifar else 16', '16', (CONVERTER, 'released_code and mrla_b20')),
]
