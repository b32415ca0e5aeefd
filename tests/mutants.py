"""How strong the tests are: plants one-line faults, one at a time, and names those not caught.

Not part of the suite. Each fault is planted in a copy of the package, in a temporary folder, and
the tests that should notice it run there; faults in C++ are compiled first, about a minute each.
All of them take half an hour on one core (``--jobs 1``). Needs the C++ kernels, whose absence would
skip tests (``python -m mmdla.ops.build``).

    python tests/mutants.py             # all
    python tests/mutants.py DSU border  # those with one of these words in their name
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

ROOT = Path(__file__).parents[1]
COPIED = ('mmdla', 'tests', 'configs', 'tools', 'model-index.yml', 'setup.py', 'setup.cfg',
          'pyproject.toml', 'pytest.ini')
# addopts: what the default options leave out runs here too
PYTEST = ('-x', '-q', '--disable-warnings', '-p', 'no:cacheprovider', '-o', 'addopts=')
START = """
import sys
import mmdla, pytest
from mmdla.ops.backend import kernels
if not mmdla.__file__.startswith(sys.argv[1]):
    sys.exit(f'{mmdla.__file__} is not the copy to test')
if kernels() is None:
    sys.exit('there are no C++ kernels: build them with python -m mmdla.ops.build')
sys.exit(pytest.main(sys.argv[2:]))
"""


class Fault(NamedTuple):
    name: str
    file: str  # or a folder, for the one file in it that has the text
    old: str
    new: str
    tests: Tuple[str, str]  # a file, and which of its tests, as for pytest's -k

    @property
    def compiled(self) -> bool:
        return 'csrc' in self.file


LAYERS = 'mmdla/models/layers'
BACKBONES = 'mmdla/models/backbones'
CSRC = 'mmdla/ops/csrc'

EQUATIONS = 'tests/models/layers/test_interaction.py'
MRLA = (EQUATIONS, 'mrla_is_equations')
DLA_LIGHT = (EQUATIONS, 'dla_light_is_equations')
DLA_BASE = (EQUATIONS, 'dla_base_rewrites')
LII = (EQUATIONS, 'test_lii')
COMPARISON = 'tests/models/layers/test_comparison_systems.py'
SYSTEMS = (COMPARISON, 'test_layers')
BRIDGE = (COMPARISON, 'test_bridge_attention')
AUGMENTED = (COMPARISON, 'test_attention_augmented')
RLA = (COMPARISON, 'test_rla')
CONTRACT = 'tests/models/backbones/test_layer_attention_resnet.py'
PLUGINS = 'tests/models/backbones/test_plugins.py'
TRANSFORMER = 'tests/models/backbones/test_layer_attention_vit.py'
TOKENS = (TRANSFORMER, 'is_the_equations')
OPS = 'tests/ops/test_layer_attention.py'
AUTOGRAD = 'tests/ops/test_autograd.py'
MEANS = 'tests/ops/test_means.py'
FAST = (OPS, 'every_path_is_the_definition')
FOLDED = (OPS, 'every_path_is_the_definition and folded')
KERNELS = (OPS, 'every_path_is_the_definition and kernels')
DROPPED = (OPS, 'drop_path_drops')
LOADER = 'tests/test_pretrained.py'
CONVERTER = 'tests/tools/test_released_to_mmdla.py'
PAPER_TOOLS = 'tests/tools/test_paper_tools.py'

FAULTS = [
    # ------------------------------------------------------------------ context units
    Fault('sigmoid dropped in the output of the DSU', f'{LAYERS}/context_unit.py',
          'return state[1].sigmoid()', 'return state[1]', DLA_LIGHT),
    Fault('normaliser of the DSU dropped', f'{LAYERS}/context_unit.py',
          'return self.normalizer(c), c', 'return c, c', DLA_LIGHT),
    Fault('h and y swapped in the concatenation of the DSU', f'{LAYERS}/context_unit.py',
          '[h.expand_as(y), y]', '[y, h.expand_as(y)]', DLA_LIGHT),
    Fault('ReLU dropped in the joint DSU', f'{LAYERS}/context_unit.py',
          'torch.relu(self.squeeze(torch.cat([h.expand_as(y), y], -1)))',
          'self.squeeze(torch.cat([h.expand_as(y), y], -1))', DLA_LIGHT),
    Fault('first step of the split DSU not zeroed', f'{LAYERS}/context_unit.py',
          'return zeros if c is None and not self.joint else self.normalizer(c_0), c_0',
          'return self.normalizer(c_0), c_0', DLA_BASE),
    Fault('gates i and f of the LSTM swapped', f'{LAYERS}/context_unit.py',
          'i, f, g, o = (self', 'f, i, g, o = (self', LII),
    Fault('tanh for sigmoid in the output of DIA', f'{LAYERS}/context_unit.py',
          'cell_output = staticmethod(torch.sigmoid)', 'cell_output = staticmethod(torch.tanh)', LII),
    Fault('initial context of the RNN not read as h', f'{LAYERS}/context_unit.py',
          'return c, c\n\n    def forward(self', 'return torch.zeros_like(c), c\n\n    def forward(self',
          DLA_BASE),
    Fault('bottleneck of the units rounded up', f'{LAYERS}/context_unit.py',
          'return channels // reduction', 'return -(-channels // reduction)',
          ('tests/configs/test_counts.py', 'backbone_parameters')),
    Fault('initial context not used', f'{LAYERS}/interaction.py',
          'self.context_unit.initial_state(y, self.initial_context)',
          'self.context_unit.initial_state(y)', DLA_BASE),

    # ------------------------------------------------------------------ DLA and LII
    Fault('context of sample 0 for the whole batch, light form', f'{LAYERS}/interaction.py',
          'd = self.backward_path(z, state)',
          'd = self.backward_path(z, tuple(s[:1].expand_as(s) for s in state))', DLA_LIGHT),
    Fault('context of sample 0 for the whole batch, base form', f'{LAYERS}/interaction.py',
          'state = tuple(s[:, None] for s in state)', 'state = tuple(s[:1, None] for s in state)',
          DLA_BASE),
    Fault('context of sample 0 for the whole batch, seen by the contract', f'{LAYERS}/interaction.py',
          'd = self.backward_path(z, state)',
          'd = self.backward_path(z, tuple(s[:1].expand_as(s) for s in state))',
          (CONTRACT, 'outputs_of_a_batch and dla_l')),
    Fault('context forgotten from layer to layer', f'{LAYERS}/interaction.py',
          '        if state is None:\n            state = self',
          '        if True:\n            state = self', DLA_LIGHT),
    Fault('refresh by the means of x, not of o', f'{LAYERS}/interaction.py',
          'd = self.backward_path(z, state)', 'd = self.backward_path(y, state)', DLA_LIGHT),
    Fault('first layer of a stage not refreshed', f'{LAYERS}/interaction.py',
          'd = self.backward_path(z, state)', 'd = self.backward_path(z, state)**bool(index)',
          DLA_LIGHT),
    Fault('context itself for the output of the unit', f'{LAYERS}/interaction.py',
          "dict(sigmoid='output', identity='context')", "dict(sigmoid='output', identity='output')",
          DLA_BASE),
    Fault('S_t not multiplied into the weights', f'{LAYERS}/interaction.py',
          'return self.scores(layer, query, keys) * factors', 'return self.scores(layer, query, keys)',
          DLA_BASE),
    Fault('S_t of the last refresh alone', f'{LAYERS}/interaction.py',
          'means, factors = means * d, factors * d\n', 'means, factors = means * d, d\n', DLA_BASE),
    Fault('refresh after the keys instead of before', f'{LAYERS}/interaction.py',
          'join(self.keys_of(means), key)', 'join(self.keys_of(past[0]), key)', DLA_BASE),
    Fault('gates of keys and values swapped', f'{LAYERS}/interaction.py',
          'd_k, d_v = self', 'd_v, d_k = self', (EQUATIONS, 'dla_base_rewrites and tokens')),
    Fault('refreshes of the keys do not compound', f'{LAYERS}/interaction.py',
          'return keys, factors, (keys, means, factors)',
          'return keys, factors, (join(past and past[0], key), means, factors)',
          (EQUATIONS, 'dla_base_rewrites and tokens')),
    Fault('LII after the sum instead of before', f'{LAYERS}/interaction.py',
          'scaled = scale(branch, self.context_unit.output(state))',
          'scaled = scale(branch + shortcut, self.context_unit.output(state)) - shortcut', LII),
    Fault('LII reads the block output', f'{LAYERS}/interaction.py',
          'y = gap(branch)', 'y = gap(branch + shortcut)', LII),

    # ------------------------------------------------------------------ MRLA
    Fault('query and key swapped', f'{LAYERS}/mrla.py',
          'torch.cat([self.query.weight, self.key.weight])',
          'torch.cat([self.key.weight, self.query.weight])', MRLA),
    Fault('softmax over the heads', f'{LAYERS}/mrla.py', 'scores.softmax(1)', 'scores.softmax(2)', MRLA),
    Fault('heads of the base form repeated in the wrong order', f'{LAYERS}/mrla.py',
          '.repeat_interleave(dim_per_head, -1)', '.repeat(1, 1, dim_per_head)', MRLA),
    Fault('kernel size rounded down', f'{LAYERS}/mrla.py',
          't if t % 2 else t + 1', 't if t % 2 else t - 1', (EQUATIONS, 'kernel_size')),
    Fault('sqrt(C) for sqrt(D)', 'mmdla/ops/means.py',
          'math.sqrt(dim_per_head)', 'math.sqrt(query.shape[-1])', MRLA),
    Fault('heads of the light form repeated in the wrong order', 'mmdla/ops/means.py',
          '.sigmoid().repeat_interleave(dim_per_head, -1)', '.sigmoid().repeat(1, dim_per_head)',
          (MEANS, 'self_score')),
    Fault('sigmoid of the score dropped', 'mmdla/ops/means.py',
          '.sigmoid().repeat_interleave', '.repeat_interleave', (MEANS, 'self_score')),
    Fault('channels padded on one side alone', 'mmdla/ops/means.py',
          'F.pad(y, (width // 2, width // 2))', 'F.pad(y, (width - 1, 0))',
          (MEANS, 'channel_convolution')),
    Fault('gates i and f of the DSU swapped', f'{LAYERS}/context_unit.py',
          'i, f, g = pre', 'f, i, g = pre', DLA_LIGHT),
    Fault('tanh of the candidate dropped', f'{LAYERS}/context_unit.py',
          'c = f.sigmoid() * c + i.sigmoid() * g.tanh()\n        return self',
          'c = f.sigmoid() * c + i.sigmoid() * g\n        return self', DLA_LIGHT),
    Fault('context of another batch given to the kernel of the DSU', 'mmdla/ops/means.py',
          'pre.dim() in (2, 3)\n            and pre.shape[0] == c.shape[0])', 'pre.dim() in (2, 3))',
          (MEANS, 'refuses_other_shapes')),

    # ------------------------------------------------------------------ last step of a layer
    Fault('lambda on one term only', f'{LAYERS}/interaction.py',
          'past = past + F.conv2d(o, excite_weight,',
          'past = past + F.conv2d(o, excite_weight / lambda_l[:, None, None, None],', DLA_LIGHT),
    Fault('lambda on one term only, folded', 'mmdla/ops/light.py',
          '+ excite_weight.flatten(1)', '+ excite_weight.flatten(1) / lambda_l[:, None]', FOLDED),
    Fault('E reads the refreshed o', f'{LAYERS}/interaction.py',
          'F.conv2d(o, excite_weight,', 'F.conv2d(past, excite_weight,', DLA_LIGHT),
    Fault('refresh applied after lambda and E instead of before', f'{LAYERS}/interaction.py',
          'return scale(past, lambda_l) +',
          'return scale(past, lambda_l * (1 if d is None else d)) +', TOKENS),
    Fault('border row of the folded convolution', 'mmdla/ops/light.py',
          'return out.view(x.shape)', 'return F.pad(out.view(x.shape)[..., :-1, :], (0, 0, 0, 1))',
          FOLDED),
    Fault('identity at the wrong tap of the folded kernel', 'mmdla/ops/light.py',
          'F.pad(torch.ones_like(kernel_x[..., :1]), (4, 4))',
          'F.pad(torch.ones_like(kernel_x[..., :1]), (3, 5))', FOLDED),
    Fault('DropPath on the shortcut too', 'mmdla/ops/light.py',
          'return x + drop_path(norm(convolve(', 'return drop_path(x + norm(convolve(',
          (OPS, 'drop_path_drops and folded')),
    Fault('statistics of another count', 'mmdla/ops/light.py',
          'update_running_stats(norm, mean, var, x.numel() // x.shape[1])',
          'update_running_stats(norm, mean, var, x.numel())', KERNELS),
    Fault('ReLU of the base form dropped', f'{LAYERS}/interaction.py',
          'F.relu(norm(weighted_sum(weights, values)))', 'norm(weighted_sum(weights, values))', MRLA),
    Fault('newest value in the place of the oldest', f'{LAYERS}/interaction.py',
          'values = (*values, value(x))', 'values = (value(x), *values)', MRLA),
    Fault('value of the layer before', f'{LAYERS}/interaction.py',
          'light_sum(o, value(x), *factors)', 'light_sum(o, value(o), *factors)', DLA_LIGHT),
    Fault('values of the sum one layer off', 'mmdla/ops/maps.py',
          'zip(others, values[1:])', 'zip(others, values)', FAST),
    Fault('running variance biased', 'mmdla/ops/norm.py',
          'var * (count / (count - 1))', 'var', FAST),
    Fault('momentum of the running statistics reversed', 'mmdla/ops/norm.py',
          'running.lerp_(new.to(running.dtype), momentum)',
          'running.lerp_(new.to(running.dtype), 1 - momentum)', FAST),
    Fault('cumulative statistics with a momentum', 'mmdla/ops/norm.py',
          'momentum = 1 / float(norm.num_batches_tracked)', 'momentum = 0.1',
          (OPS, 'unusual_batch_norms')),
    Fault('eps left out of frozen norms', 'mmdla/ops/norm.py',
          '(norm.running_var.to(dtype) + norm.eps).rsqrt()', 'norm.running_var.to(dtype).rsqrt()', FAST),
    Fault('beta of a folded norm dropped', 'mmdla/ops/norm.py',
          ' + self.beta.to(x.dtype)[:, None, None]', '',
          ('tests/engine/test_fuse.py', 'outputs_stay')),
    Fault('DropPath not scaled', 'mmdla/ops/norm.py',
          'accumulator(x.dtype))).flatten()', 'accumulator(x.dtype))).flatten().sign()', DROPPED),
    Fault('DropPath drops in evaluation', 'mmdla/ops/norm.py',
          'if not (drop_path.training and drop_path.drop_prob):',
          'if not drop_path.train().drop_prob:', (CONTRACT, 'attention_drop_path and mrla')),
    Fault('DropPath leaves the beta of a frozen norm', 'mmdla/ops/norm.py',
          'factor[:, None] * affine.beta', 'affine.beta[None]', DROPPED),
    Fault('channel means over the batch too', 'mmdla/ops/maps.py',
          'return x.mean((2, 3))', 'return x.mean((0, 2, 3)).expand(x.shape[:2])', LII),
    Fault('means of the shortcut are those of x', 'mmdla/ops/add_relu_mean.py',
          'gap(shortcut) if both', 'gap(x) if both', FAST),
    Fault('plain sum without ReLU', 'mmdla/ops/add_relu_mean.py',
          'return F.relu(writable(branch).add_(shortcut), inplace=True)',
          'return writable(branch).add_(shortcut)', FAST),
    Fault('sum in the place of what nobody may overwrite', 'mmdla/ops/add_relu_mean.py',
          'return branch.clone() if protected', 'return branch if protected',
          (AUTOGRAD, 'leaves_are_not or values_that_autograd')),
    Fault('sum in the place of what autograd reads', 'mmdla/ops/add_relu_mean.py',
          "protected or hasattr(type(branch.grad_fn), '_saved_result') else", 'protected else',
          (PLUGINS, 'may_end_in_anything')),
    Fault('x overwritten where one gradient of several is recorded', 'mmdla/ops/backend.py',
          'any(t is not None and t.requires_grad', 'all(t is None or t.requires_grad',
          (OPS, 'one_gradient_of_several')),
    Fault('channels_last maps given to the kernels', 'mmdla/ops/backend.py',
          "first.device.type != 'cpu' or not all(m.is_contiguous() for m in maps)",
          "first.device.type != 'cpu'", (OPS, 'other_layouts')),
    Fault('kernels hidden from torch.func', 'mmdla/ops/backend.py',
          'or torch._C._functorch.peek_interpreter_stack() is not None', '',
          (AUTOGRAD, 'transforms_see')),
    Fault('kernels under forward-mode derivatives', 'mmdla/ops/backend.py',
          'or forward_ad._current_level >= 0', '', (AUTOGRAD, 'forward_mode')),

    # ------------------------------------------------------------------ C++ kernels
    Fault('tap beyond the upper border', CSRC,
          'right += inside.only(inside.above, load<A>(up + 1)) * taps[2];',
          'right += load<A>(up + 1) * taps[2];', KERNELS),
    Fault('lambda on one term only, in C++', CSRC,
          'excite_weight ? lambda_l[c] * excite_weight[9 * c + t]',
          'excite_weight ? excite_weight[9 * c + t]', KERNELS),
    Fault('unbiased variance normalises in C++', CSRC,
          'return {mean, squares / (B * area)};', 'return {mean, squares / (B * area - 1)};', KERNELS),
    Fault('sign in the gradient through the norm, in C++', CSRC,
          'times * load<A>(g + n) - (level + load<A>(u + n) * tilt)',
          'times * load<A>(g + n) - (level - load<A>(u + n) * tilt)', KERNELS),
    Fault('gradient of the base kernel from the last sample alone, in C++', CSRC,
          'sums[t] += part[t]', 'sums[t] = part[t]', KERNELS),
    Fault('gradient through the means of the shortcut missing, in C++', CSRC,
          '[n] + through_z + through_relu', '[n] + through_relu', KERNELS),
    Fault('gradient of a frozen norm without DropPath, in C++', CSRC,
          'constant = normalize ? A(1) : scale * slope;', 'constant = normalize ? A(1) : slope;',
          (OPS, 'drop_path_drops and kernels')),
    Fault('gradient to a shared context not added up, in C++', CSRC,
          'tc[at + n] += g[n] * f;', 'tc[at + n] = g[n] * f;', (MEANS, 'test_dsu_update')),

    # ------------------------------------------------------------------ comparison systems
    Fault('sigmoid missing in SE', f'{LAYERS}/channel_attention.py',
          'bottleneck(in_channels, reduction), bias=False)',
          "bottleneck(in_channels, reduction), bias=False, act_cfg=dict(type='ReLU'))", SYSTEMS),
    Fault('sigmoid missing in ECA', f'{LAYERS}/channel_attention.py',
          '[:, 0].sigmoid()', '[:, 0]', SYSTEMS),
    Fault('mean for the largest value in CBAM', f'{LAYERS}/cbam.py',
          'self.mlp(u.amax((2, 3)))', 'self.mlp(u.mean((2, 3)))', SYSTEMS),
    Fault('descriptors of CBAM swapped', f'{LAYERS}/cbam.py',
          '[u.amax(1, keepdim=True), u.mean(1, keepdim=True)]',
          '[u.mean(1, keepdim=True), u.amax(1, keepdim=True)]', SYSTEMS),
    Fault('second gate of CBAM starts at random', f'{LAYERS}/cbam.py',
          'constant_init(self.norm, 0)', 'constant_init(self.norm, 1)', (COMPARISON, 'test_starts')),
    Fault('any plugin taken for one that starts as the identity', f'{BACKBONES}/interaction_resnet.py',
          'if torch.equal(layer.eval()(x), x):', 'if layer.eval()(x).shape == x.shape:',
          (PLUGINS, 'does_not_start_from_a_plain')),
    Fault('BA reads the last bridge alone', f'{LAYERS}/bridge_attention.py',
          'squeeze(gap(f)) for squeeze, f in zip(self.squeezes, (*hidden, u))',
          'squeeze(gap(f)) * (f is u) for squeeze, f in zip(self.squeezes, (*hidden, u))',
          BRIDGE),
    Fault('bridges of BA in reverse', f'{LAYERS}/bridge_attention.py',
          '(*hidden, u)))', '(*hidden[::-1], u)))', BRIDGE),
    Fault('gathering of A2 over the descriptors', f'{LAYERS}/double_attention.py',
          'self.gathering(x).flatten(2).softmax(2)', 'self.gathering(x).flatten(2).softmax(1)', SYSTEMS),
    Fault('logits of AA scaled by all heads', f'{LAYERS}/attention_augmented_conv.py',
          'q = q * q.shape[2]**-0.5', 'q = q * self.dk**-0.5', AUGMENTED),
    Fault('distances of AA reversed', f'{LAYERS}/attention_augmented_conv.py',
          'position - position[:, None] + length', 'position[:, None] - position + length', AUGMENTED),
    Fault('strided AA averages its padding', f'{LAYERS}/attention_augmented_conv.py',
          'count_include_pad=False', 'count_include_pad=True', AUGMENTED),
    Fault('shared convolution of RLA left out', f'{LAYERS}/rla.py',
          'self.recurrent(torch.tanh(', '(torch.tanh(', RLA),
    Fault('norm of RLA shared', f'{LAYERS}/rla.py', 'self.norms[index](h', 'self.norms[0](h', RLA),
    Fault('x and h of RLA swapped', f'{LAYERS}/rla.py',
          'torch.cat([x, h], 1)', 'torch.cat([h, x], 1)', RLA),
    Fault('hidden map of RLA not carried on', f'{BACKBONES}/rla_resnet.py',
          'x, h = stage.run(x, h)', 'x, h = stage.run(x, torch.zeros_like(h))', RLA),

    # ------------------------------------------------------------------ backbones
    Fault('frozen stages whose norms train', f'{BACKBONES}/interaction_resnet.py',
          'super().train(mode)', 'nn.Module.train(self, mode)',
          (CONTRACT, 'frozen_stages_are_frozen and dla_l')),
    Fault('frozen stages that train() sets free', f'{BACKBONES}/interaction_resnet.py',
          'super().train(mode)\n        return self',
          'super().train(mode)\n        return self.requires_grad_()',
          (CONTRACT, 'frozen_stages_are_frozen and dla_l')),
    Fault('norm_eval without the norms of the attention', f'{BACKBONES}/interaction_resnet.py',
          'super().train(mode)',
          'super().train(mode)\n        [stage.attention.train(mode) for stage in self.stages]',
          (CONTRACT, 'test_norm_eval and dla_b')),
    Fault('gammas scaled by the number of stages', f'{BACKBONES}/layer_attention_resnet.py',
          '(len(stage))', '(len(self.stages))', (CONTRACT, 'random_init_keeps and 34')),
    Fault("attention_init='zero' that is not zero", f'{BACKBONES}/layer_attention_resnet.py',
          'zero=lambda n: 0.0', 'zero=lambda n: 0.1', (CONTRACT, 'zero_init_starts and 18')),
    Fault('first layer of a stage not initialised', f'{BACKBONES}/layer_attention_resnet.py',
          'in stage.attention.norms:', 'in stage.attention.norms[1:]:',
          (CONTRACT, 'zero_init_starts and 18')),
    Fault('attention_drop_path ignored', f'{BACKBONES}/layer_attention_resnet.py',
          "interaction_cfg['drop_path_rate'] = attention_drop_path",
          "interaction_cfg['drop_path_rate'] = 0.0", (CONTRACT, 'attention_drop_path and mrla')),
    Fault('out_indices off by one', f'{BACKBONES}/rla_resnet.py',
          'if index in self.out_indices', 'if index + 1 in self.out_indices',
          (CONTRACT, 'out_indices and rla')),
    Fault('mmdet\'s position of a plugin after the block', f'{BACKBONES}/plugins.py',
          "{'after_conv3': 'after_branch'}", "{'after_conv3': 'after_block'}",
          (PLUGINS, 'is_mmdets_resnet')),
    Fault('arguments of the stage before', f'{BACKBONES}/plugins.py',
          'return values[stage]', 'return values[stage - 1]', (PLUGINS, 'arguments_by_stage')),

    # ------------------------------------------------------------------ vision transformers
    Fault('extra tokens are the shortcut\'s', f'{LAYERS}/token_interaction.py',
          'torch.cat([z[:, :z', 'torch.cat([past[:, :z', TOKENS),
    Fault('class token refreshed as if it were a patch', f'{LAYERS}/token_interaction.py',
          'return tokens[:, tokens.shape[1] - h * w:]', 'return tokens[:, :h * w]', TOKENS),
    Fault('patches column by column', f'{LAYERS}/token_interaction.py',
          '.unflatten(2, (h, w))', '.unflatten(2, (w, h)).transpose(2, 3)', TOKENS),
    Fault('GELU dropped', f'{LAYERS}/token_interaction.py',
          'F.gelu(self.layers[index].value(x))', 'self.layers[index].value(x)', TOKENS),
    Fault('groups of three blocks', f'{LAYERS}/token_interaction.py', 'group = 4', 'group = 3', TOKENS),
    Fault('refresh of tokens by the means of x', f'{LAYERS}/token_interaction.py',
          'z = gap(o)', 'z = gap(x)', TOKENS),
    Fault('eps of the layer norms', f'{BACKBONES}/layer_attention_vit.py', 'eps=1e-6', 'eps=1e-5',
          TOKENS),
    Fault('a frozen block whose attention trains', f'{BACKBONES}/layer_attention_vit.py',
          '< self.frozen_stages:', '< self.frozen_stages - 1:', (TRANSFORMER, 'frozen_stages')),
    Fault('out_indices of blocks off by one', f'{BACKBONES}/layer_attention_vit.py',
          'if index in self.out_indices', 'if index + 1 in self.out_indices', (TRANSFORMER, 'any_size')),

    # ------------------------------------------------------------------ loading and converting
    Fault('missing tensors accepted', 'mmdla/pretrained.py',
          "('missing', missing)", "('missing', [])", (LOADER, 'partial_match')),
    Fault('unknown tensors accepted', 'mmdla/pretrained.py',
          "('unknown', unknown)", "('unknown', [])", (LOADER, 'partial_match')),
    Fault('an ordinary ResNet accepted as a start', 'mmdla/pretrained.py',
          "trunk if plain and attention_init == 'zero' else own", 'trunk if plain else own',
          (LOADER, 'ordinary_resnet')),
    Fault('dim_per_head not compared', f'{BACKBONES}/arguments.py',
          "told = ('drop_path_rate',", "told = ('dim_per_head', 'drop_path_rate',",
          (LOADER, 'same_shapes')),
    Fault('backbone of a classifier not compared', 'mmdla/pretrained.py',
          "if prefix in ('', 'backbone.'):", "if prefix == '':", (LOADER, 'same_shapes')),
    Fault('query and key mixed up by the converter', 'tools/convert/released_to_mmdla.py',
          "q='query', k='key'", "q='key', k='query'", (CONVERTER, 'released_code and mrla_b20')),
    Fault('perceptrons mixed up by the converter', 'tools/convert/released_to_mmdla.py',
          "ih='from_input', hh='from_context'", "ih='from_context', hh='from_input'",
          (CONVERTER, 'released_code and dia20')),
    Fault('refresh of the converted config', 'tools/convert/released_to_mmdla.py',
          "config['refresh'] = 'tokens'", "config['refresh'] = 'features'",
          (CONVERTER, 'released_code and dla_b20')),
    Fault('dim_per_head of the converted config', 'tools/convert/released_to_mmdla.py',
          '32 if cifar else 16', '16', (CONVERTER, 'released_code and mrla_b20')),

    # ------------------------------------------------------------------ operators, data and tools
    Fault('offset of NMS ignored', 'mmdla/hosts/mmcv_ext.py',
          '[0, 0, offset, offset]', '[0, 0, 0, 0]', ('tests/hosts/test_mmcv_ext.py', 'test_nms')),
    Fault('RoIAlign never aligned', 'mmdla/hosts/mmcv_ext.py',
          'aligned_height, aligned_width, sampling_ratio, aligned))\n\n',
          'aligned_height, aligned_width, sampling_ratio, False))\n\n',
          ('tests/hosts/test_mmcv_ext.py', 'test_roi_align')),
    Fault('weights of the focal loss ignored', 'mmdla/hosts/mmcv_ext.py',
          'if weight.numel() else loss', 'if False else loss',
          ('tests/hosts/test_mmcv_ext.py', 'focal')),
    Fault('crops never at the last offset', 'mmdla/models/cifar_preprocessor.py',
          'torch.randint(2 * padding + 1,', 'torch.randint(2 * padding,',
          ('tests/datasets/test_cifar.py', 'crop_and_flip')),
    Fault('colours of CIFAR reversed', 'mmdla/models/cifar_preprocessor.py',
          'images.flip(1)', 'images', ('tests/datasets/test_cifar.py', 'inference_on_a_picture')),
    Fault('FLOPs of an einsum without the summed index', 'mmdla/engine/complexity.py',
          'return prod(sizes.values())', "return prod(sizes[i] for i in equation.partition('->')[2])",
          (PAPER_TOOLS, 'flops_of_attention_over_positions')),
    Fault('FLOPs of attention without the values', 'mmdla/engine/complexity.py',
          '* (q[-1] + v[-1])', '* q[-1]', (PAPER_TOOLS, 'flops_of_attention_over_positions')),
    Fault('attention map filled from the end', 'mmdla/engine/attention_map.py',
          '(0, 0, 0, end - first - row.shape[1])', '(0, 0, end - first - row.shape[1], 0)',
          (PAPER_TOOLS, 'maps_of_the_base_forms')),
    Fault('attention map with the scale of the wrong layer', 'mmdla/engine/attention_map.py',
          'scale_of(module.norms[index - 1])', 'scale_of(module.norms[index])',
          (PAPER_TOOLS, 'maps_of_the_light_forms')),
]


def place_of(fault: Fault, root: Path) -> Path:
    """The file with the fault's old text, which must be there once."""
    path = root / fault.file
    files = [path] if path.is_file() else [p for p in path.rglob('*') if p.is_file()]
    found = [p for p in files for _ in range(p.read_text().count(fault.old))]
    if len(found) != 1:
        raise LookupError(f'{fault.name}: its old text is there {len(found)} times in {fault.file}')
    return found[0]


class Laboratory:
    """Runs tests in copies of the package, each in a folder of its own below ``folder``."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        self.running, self.closed = set(), False

    def test(self, file: str, which: str, fault: Optional[Fault] = None) -> Tuple[str, str, float]:
        """'passed', 'failed' or 'error', the test that failed or the last line, and seconds."""
        start = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            outcome, said = self.try_out(copied(Path(name)), file, which, fault)
        return outcome, said, time.monotonic() - start

    def try_out(self, copy: Path, file: str, which: str, fault: Optional[Fault]) -> Tuple[str, str]:
        env = {}
        if fault:
            path = place_of(fault, copy)
            path.write_text(path.read_text().replace(fault.old, fault.new))
        if fault and fault.compiled:
            env['XDG_CACHE_HOME'] = str(copy / 'cache')
            code, lines = self.call(copy, '-m', 'mmdla.ops.build', **env)
            if code:
                return 'error', lines[-1]
        code, lines = self.call(copy, '-c', START, str(copy), *PYTEST, file, '-k', which, **env)
        failed = [line for line in lines if line.startswith('FAILED ')]
        if code == 1 and failed:
            return 'failed', failed[0].removeprefix('FAILED ').partition(' - ')[0]
        return 'error' if code else 'passed', f'exit code {code}, {lines[-1] if lines else "silent"}'

    def call(self, copy: Path, *args: str, **env: str) -> Tuple[int, List[str]]:
        """Exit code and output of a Python that imports from a copy."""
        if self.closed:
            raise KeyboardInterrupt
        env = {**os.environ, 'PYTHONPATH': str(copy), 'TMPDIR': str(copy / 'tmp'),
               'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE', **env}
        with subprocess.Popen([sys.executable, *args], cwd=copy, env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:
            self.running.add(process)
            text, _ = process.communicate()
            self.running.discard(process)
        return process.returncode, text.splitlines()

    def close(self) -> None:
        """Interrupt what runs, so that it ends what it has started itself."""
        self.closed = True
        for process in list(self.running):
            os.killpg(process.pid, signal.SIGINT)
        for process in list(self.running):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def copied(folder: Path) -> Path:
    """The folder, with a copy of the package and its tests."""
    for source in filter(Path.exists, (ROOT / name for name in COPIED)):
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(source, folder)
    (folder / 'tmp').mkdir()
    return folder


def without_faults(faults: List[Fault], lab: Laboratory, pool: ThreadPoolExecutor) -> bool:
    """Whether the tests of these faults pass as things are, file by file."""
    wanted = {}
    for file, which in dict.fromkeys(fault.tests for fault in faults):
        wanted.setdefault(file, []).append(f'({which})')
    jobs = {pool.submit(lab.test, file, ' or '.join(which)): file for file, which in wanted.items()}
    passed = []
    for job in as_completed(jobs):
        outcome, said, seconds = job.result()
        passed.append(outcome == 'passed')
        print(f'{outcome:7} {seconds:4.0f} s  without a fault: {jobs[job]} ({said})', flush=True)
    return all(passed)


def with_faults(faults: List[Fault], lab: Laboratory, pool: ThreadPoolExecutor) -> Dict[str, List[str]]:
    """Names of the faults by what became of them."""
    jobs = {pool.submit(lab.test, *fault.tests, fault): fault.name for fault in faults}
    found = dict(failed=[], passed=[], error=[])
    for job in as_completed(jobs):
        outcome, said, seconds = job.result()
        found[outcome].append(jobs[job])
        word = dict(failed='caught', passed='MISSED', error='ERROR')[outcome]
        print(f'{word:7} {seconds:4.0f} s  {jobs[job]}: {said}', flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('words', nargs='*', help='plant the faults with one of these in their name')
    parser.add_argument('--jobs', type=int, default=min(os.cpu_count() or 1, 8),
                        help='faults at a time, each on one thread (default: %(default)s)')
    args = parser.parse_args()
    faults = [f for f in FAULTS if any(word in f.name for word in args.words or [''])]
    if not faults:
        parser.error('no fault has one of these words in its name')
    try:
        for fault in faults:
            place_of(fault, ROOT)
    except LookupError as error:
        parser.error(str(error))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='mmdla_mutants_') as folder:
        lab = Laboratory(folder)
        with ThreadPoolExecutor(args.jobs) as pool:
            try:
                if not without_faults(faults, lab, pool):
                    print('these tests must pass before a fault can show anything')
                    return 2
                found = with_faults(faults, lab, pool)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                lab.close()
                raise
    caught, missed, errors = found['failed'], found['passed'], found['error']
    print(f'{len(caught)} of {len(faults)} caught in {time.monotonic() - start:.0f} s; '
          f'not caught: {", ".join(missed) or "none"}')
    if errors:
        print(f'errors of the table: {", ".join(errors)}')
    return 1 if missed else 2 if errors else 0


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit('stopped')
