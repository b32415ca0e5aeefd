"""What every trunk hands from block to block: the equations of tests/literal*.py, in float64.

The ResNets' stages and the vision transformer are written out whole in test_equations.py and
test_vision_transformer.py.
"""
import literal
import literal_vit
import pytest
import torch
from literal import below
from zoo import PRE_NORM, TRUNKS, build

CONNECTED = [name for name in TRUNKS
             if 'Res' not in name and name not in ('RegNet', 'VisionTransformer')]


def randomize(model):
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.double().eval()


def recorded(model, images):
    """Input and output of every block as maps (B, C, H, W), by stage and layer."""
    seen = {}

    def hook(block, inputs, output, place=None):
        maps = []
        for x in (inputs[0], output):
            if len(inputs) > 1:  # tokens and their size
                x = x.transpose(1, 2).unflatten(2, tuple(inputs[1]))
            elif type(model).__name__ == 'ViTSAM':
                x = x.permute(0, 3, 1, 2)
            maps.append(x.clone())
        seen[place] = maps

    for stage, attention in enumerate(model.attention):
        for layer in range(attention.num_layers):
            block = model.get_submodule(model.block_name(stage, layer))
            block.register_forward_hook(
                lambda *args, place=(stage, layer): hook(*args, place=place))
    model(images)
    return seen


def post_norm(attention, index, x, o, state, form):
    """The next block's input for one sample (C, H, W), from the block's output and shortcut."""
    params = dict(attention.named_parameters())
    layer, dim = below(params, f'layers.{index}.'), attention.dim_per_head
    if form == 'mrla_b':
        state.append((literal.conv1d(literal.gap(x), layer['key.weight'][0, 0]),
                      literal.depthwise(x, layer['value.weight'])))
        q = literal.conv1d(literal.gap(x), layer['query.weight'][0, 0])
        normed = attention.norms[index](literal.base_attention(q, *zip(*state), dim)[None])[0]
        return x + normed * (normed > 0)
    if form == 'dla_l':
        dyn = literal.Unit(below(params, 'context.unit.'), 'DSU')
        state[:] = [dyn.step(literal.gap(x), state[0] if state else None)]
        d, _ = dyn.step(literal.gap(o), state[0])
        o = o * d[:, None, None] + literal.depthwise(o, params['excite.weight'])
    return x + attention.norms[index](literal.light_attention(x, o, layer, dim)[None])[0]


def pre_norm(attention, index, x, o, state, form):
    """The same in MRLA's form for transformers."""
    params = dict(attention.named_parameters())
    layer, dim, grid = below(params, f'layers.{index}.'), attention.dim_per_head, x.shape[1:]

    def normed(part, norms):
        tokens = literal_vit.layer_norm(literal_vit.as_tokens(part), below(params, f'{norms}.{index}.'),
                                        attention.norms[index].eps)
        return literal_vit.as_map(tokens, *grid)

    z = normed(x, 'norms')
    if form == 'mrla_b':
        if index % attention.group == 0:
            state[:] = [[], []]
        return x + literal_vit.base(z, layer, dim, *state)
    o = normed(o, 'shortcut_norms')
    if form == 'dla_l':
        dyn = literal.Unit(below(params, 'context.unit.'), 'DSU')
        state[:] = [dyn.step(literal.gap(z), state[0] if state else None)]
        d, _ = dyn.step(literal.gap(o), state[0])
        o = o * d[:, None, None] + literal.depthwise(o, params['excite.weight'])
    return x + literal_vit.light(z, o, layer, dim)


@torch.no_grad()
@pytest.mark.parametrize('trunk', CONNECTED)
@pytest.mark.parametrize('form', ['mrla_b', 'dla_l', pytest.param('mrla_l', marks=pytest.mark.full)])
def test_the_next_block_reads_what_the_equations_say(trunk, form):
    model = randomize(build(trunk, form))
    seen = recorded(model, torch.randn(2, 3, 48, 33).double())
    assert len(seen) == sum(attention.num_layers for attention in model.attention)
    update = pre_norm if trunk in PRE_NORM else post_norm
    for stage, attention in enumerate(model.attention):
        for b in range(2):
            state = []
            for layer in range(attention.num_layers - 1):
                (before, x), (following, _) = seen[stage, layer], seen[stage, layer + 1]
                o = before[b] if before.shape == x.shape else torch.zeros_like(x[b])
                expected = update(attention, layer, x[b], o, state, form)
                torch.testing.assert_close(following[b], expected, rtol=1e-8, atol=1e-9)
