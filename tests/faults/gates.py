"""Faults in gates and other layers inside the blocks."""
from .fault import Fault

GATES = 'mmdla/gates'
COMPARISON = 'tests/gates/test_comparison_systems.py'
SYSTEMS = (COMPARISON, 'test_layers')
BRIDGE = (COMPARISON, 'test_bridge_attention')
AUGMENTED = (COMPARISON, 'test_attention_augmented')

FAULTS = [
    Fault('bottleneck of the units rounded up', f'{GATES}/bottleneck.py',
          'return channels // reduction', 'return -(-channels // reduction)',
          ('tests/configs/test_counts.py', 'backbone_parameters')),
    Fault('kernel size rounded down', f'{GATES}/eca.py',
          't if t % 2 else t + 1', 't if t % 2 else t - 1',
          ('tests/attention/test_equations.py', 'kernel_size')),
    Fault('sigmoid missing in SE', f'{GATES}/se.py',
          'bottleneck(in_channels, reduction), bias=False)',
          "bottleneck(in_channels, reduction), bias=False, act_cfg=dict(type='ReLU'))", SYSTEMS),
    Fault('sigmoid missing in ECA', f'{GATES}/eca.py', '[:, 0].sigmoid()', '[:, 0]', SYSTEMS),
    Fault('mean for the largest value in CBAM', f'{GATES}/cbam.py',
          'self.mlp(u.amax((2, 3)))', 'self.mlp(u.mean((2, 3)))', SYSTEMS),
    Fault('descriptors of CBAM swapped', f'{GATES}/cbam.py',
          '[u.amax(1, keepdim=True), u.mean(1, keepdim=True)]',
          '[u.mean(1, keepdim=True), u.amax(1, keepdim=True)]', SYSTEMS),
    Fault('second gate of CBAM starts at random', f'{GATES}/cbam.py',
          'constant_init(self.norm, 0)', 'constant_init(self.norm, 1)', (COMPARISON, 'test_starts')),
    Fault('BA reads the last bridge alone', f'{GATES}/bridge_attention.py',
          'squeeze(gap(f)) for squeeze, f in zip(self.squeezes, (*hidden, u))',
          'squeeze(gap(f)) * (f is u) for squeeze, f in zip(self.squeezes, (*hidden, u))', BRIDGE),
    Fault('bridges of BA in reverse', f'{GATES}/bridge_attention.py',
          '(*hidden, u)))', '(*hidden[::-1], u)))', BRIDGE),
    Fault('gathering of A2 over the descriptors', f'{GATES}/double_attention.py',
          'self.gathering(x).flatten(2).softmax(2)', 'self.gathering(x).flatten(2).softmax(1)', SYSTEMS),
    Fault('logits of AA scaled by all heads', f'{GATES}/attention_augmented_conv.py',
          'q = q * q.shape[2]**-0.5', 'q = q * self.dk**-0.5', AUGMENTED),
    Fault('distances of AA reversed', f'{GATES}/attention_augmented_conv.py',
          'position - position[:, None] + length', 'position[:, None] - position + length', AUGMENTED),
    Fault('strided AA averages its padding', f'{GATES}/attention_augmented_conv.py',
          'count_include_pad=False', 'count_include_pad=True', AUGMENTED),
]
