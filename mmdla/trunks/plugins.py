"""Attention inside the blocks of a ResNet: its argument ``plugins``.

Each plugin is ``dict(cfg=dict(type=..., ...), position=..., stages=..., blocks=..., per_stage=...)``,
of which mmdet's ResNet knows the first three:

- ``cfg``: the layer. It is built with these arguments and ``in_channels``. Norms inside it are
  its own ``norm_cfg``'s, not the trunk's.
- ``position``: where it is put,

  - 'after_branch' (default; mmdet's 'after_conv3'): ``u <- layer(u)`` on the residual branch after
    its last norm, before the sum: SE, ECA, CBAM, GC;
  - 'bridge': the same, ``u <- layer(u, hidden)`` with the outputs of the block's earlier ReLUs,
    built with ``hidden_channels`` too: BA;
  - 'after_block': ``x <- layer(x)`` on the block's output, after the sum and the layer attention:
    NL, A2;
  - 'conv2': the layer, which takes the arguments of nn.Conv2d, replaces the block's second
    convolution: AA.

- ``stages``: a bool for each stage; all by default. Or ``blocks``: the indices of the blocks in
  each stage, which may count from the end, as in ``((), (), (-2, ), ())``.
- ``per_stage``: arguments of the layer that differ from stage to stage, as in
  ``dict(kernel_size=(5, 5, 5, 7))``.
"""
from typing import Callable, Iterator, List, Sequence, Tuple

from mmdla.errors import UserError, choose
from mmdla.registry import MODELS

from .arguments import defaults_of

KEYS = ('cfg', 'position', 'stages', 'blocks', 'per_stage')
POSITIONS = {
    name: name for name in ('after_branch', 'bridge', 'after_block', 'conv2')
} | {'after_conv3': 'after_branch'}


def plugins_of_stage(plugins: Sequence[dict], stage: int,
                     num_blocks: int) -> Iterator[Tuple[str, dict, List[int]]]:
    """What a stage gets.

    Args:
        plugins (Sequence[dict]): See above.
        stage (int): Its index, from 0.
        num_blocks (int): Its blocks.

    Yields:
        tuple: Of each plugin the position, the layer's config and the blocks that have it.

    Raises:
        UserError: For an unknown key or position, or where stage or block are not there.
    """
    if not isinstance(plugins, (list, tuple)):
        raise UserError(f'plugins is a list of dicts; got {plugins!r}.')
    for plugin in plugins:
        if (not isinstance(plugin, dict) or not isinstance(plugin.get('cfg'), dict)
                or not set(plugin) <= set(KEYS) or {'stages', 'blocks'} <= set(plugin)):
            raise UserError('a plugin is a dict with cfg, a dict, and may have position, per_stage, and '
                            f'stages or blocks; got {plugin!r}.')
        position = choose('position', plugin.get('position', 'after_branch'), POSITIONS)
        every = {'stages': plugin.get('stages'), 'blocks': plugin.get('blocks'),
                 **plugin.get('per_stage', {})}
        here = {name: of_stage(name, values, stage) for name, values in every.items()
                if values is not None}
        blocks = here.pop('blocks', range(num_blocks) if here.pop('stages', True) else ())
        if isinstance(blocks, int):
            raise UserError('blocks of a plugin holds the indices of each stage, as in ((), (1, ), (), '
                            f'()); got {plugin["blocks"]!r}.')
        if not all(-num_blocks <= index < num_blocks for index in blocks):
            raise UserError(f'blocks={tuple(blocks)} of stage {stage} do not exist in a stage of '
                            f'{num_blocks} blocks: choose another depth or other blocks.')
        yield position, {**plugin['cfg'], **here}, [index % num_blocks for index in blocks]


def build_layer(build: Callable, cfg: dict, *args, **kwargs):
    """``build(cfg, ...)``, one of mmcv's functions; a UserError for an unknown type or argument."""
    try:
        return build(cfg, *args, **kwargs)
    except KeyError as error:
        raise UserError(f'there is no layer {cfg.get("type")!r} for a plugin: check the name (those of '
                        'this package begin with mmdla.) and that its module is imported.') from error
    except TypeError as error:
        raise UserError(f'the layer {cfg["type"]} does not take these arguments ({error}): see its '
                        'documentation, and that the plugin\'s position is the layer\'s.') from error


def of_stage(name: str, values: Sequence, stage: int):
    """``values[stage]``; a UserError where there is no such value."""
    if not isinstance(values, (list, tuple)) or len(values) <= stage:
        raise UserError(f'{name}={values!r} of a plugin has no value for stage {stage}: give one '
                        'for each stage.')
    return values[stage]


def plugin_arguments(cfg: dict) -> dict:
    """A layer's config with its defaults, without norm_cfg, which each task chooses for itself."""
    layer = MODELS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    return {name: value for name, value in {**defaults_of(layer), **cfg}.items() if name != 'norm_cfg'}
