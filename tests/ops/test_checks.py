"""The C++ operations, called directly: what they refuse, and what they overwrite."""
import pytest
import torch

from mmdla.ops.backend import kernels

pytestmark = pytest.mark.skipif(
    kernels() is None, reason='the C++ kernels are not built: python -m mmdla.ops.build')
B, C, H, W, L = 2, 4, 5, 6, 3
MAP, PER_SAMPLE, TAPS = (B, C, H, W), (B, C), (C, 1, 3, 3)
LIGHT = dict(x=MAP, o=MAP, value_weight=TAPS, score=PER_SAMPLE, lambda_l=(C, ), d=PER_SAMPLE,
             excite_weight=TAPS, gamma=(C, ), beta=(C, ), drop_path_scale=(B, ))
BASE = dict(x=MAP, value_weight=TAPS, weights=(B, L, C), past=[MAP] * (L - 1), gamma=(C, ),
            beta=(C, ), drop_path_scale=(B, ))
NORM = dict(eps=1e-5, normalize=True)
MOMENTS = dict(mean=(C, ), variance=(C, ))


def without_beta(sizes):
    return {name: size for name, size in sizes.items() if name != 'beta'}


# sizes of tensors, and arguments of other types
OPERATIONS = {
    'add_relu_mean_': (dict(branch=MAP, shortcut=MAP), dict(both=True)),
    'add_relu_mean': (dict(branch=MAP, shortcut=MAP), dict(both=True)),
    'add_relu_mean_backward': (dict(x=MAP, grad_x=MAP, grad_y=PER_SAMPLE, grad_z=PER_SAMPLE), {}),
    'light_out': ({**LIGHT, 'out': MAP, **MOMENTS}, NORM),
    'light': (LIGHT, NORM),
    'light_backward': ({'grad_out': MAP, **without_beta(LIGHT), **MOMENTS}, NORM),
    'base_out': ({**BASE, 'out': MAP, 'value': MAP, **MOMENTS}, NORM),
    'base': (BASE, NORM),
    'base_backward': (dict(grad_out=MAP, grad_value=MAP, x=MAP, value_weight=TAPS, weights=(B, L, C),
                           values=[MAP] * L, gamma=(C, ), beta=(C, ), drop_path_scale=(B, ),
                           **MOMENTS), NORM),
    'channel_convolution': (dict(y=(B, L, C), kernels=(L, 2, 5)), {}),
    'channel_convolution_backward': (
        dict(grad_out=(B, L, 2, C), y=(B, L, C), kernels=(L, 2, 5)), {}),
    'self_score': (dict(y=PER_SAMPLE, kernels=(2, 3)), dict(dim=2)),
    'self_score_backward': (dict(grad_out=PER_SAMPLE, y=PER_SAMPLE, kernels=(2, 3), score=PER_SAMPLE,
                                 query_key=(B, 2, C)), dict(dim=2)),
    'dsu_update': (dict(pre=(B, L, 3 * C), c=(B, L, C)), {}),
    'dsu_update_backward': (dict(grad_out=(B, L, C), active=(B, L, 3 * C), c=(B, L, C)), {}),
    'dsu': (dict(y=(B, L, C), c=(B, L, C), squeeze=(5, 2 * C), expand=(3 * C, 5), bias=(3 * C, )), {}),
    'dsu_backward': (dict(grad_out=(B, L, C), y=(B, L, C), c=(B, L, C), squeeze=(5, 2 * C),
                          expand=(3 * C, 5), h=(B, L, C), s=(B * L, 5), active=(B * L, 3 * C)), {}),
}
# dimensions that another tensor does not fix
FREE = {('channel_convolution', 'y', 0), ('channel_convolution', 'y', 2),
        ('channel_convolution', 'kernels', 1), ('self_score', 'y', 0),
        ('self_score_backward', 'kernels', 1)}
FUNCTIONAL = [name for name in OPERATIONS if not name.endswith(('_', '_out'))]
CHAINED = {'add_relu_mean_chained': OPERATIONS['add_relu_mean'], 'base_chained': OPERATIONS['base']}


def arguments(name):
    sizes, others = {**OPERATIONS, **CHAINED}[name]
    tensors = {key: [torch.rand(s) for s in size] if isinstance(size, list) else torch.rand(size)
               for key, size in sizes.items()}
    return {**tensors, **others}


def call(name, given):
    operation = getattr(torch.ops.mmdla, name)
    return operation(*[given[argument.name] for argument in operation.default._schema.arguments])


def changed(name, change):
    """The arguments with one tensor changed, for each that ``change`` does not leave as it is (None)."""
    for key in OPERATIONS[name][0]:
        given = arguments(name)
        if isinstance(given[key], list):
            new = [*given[key][:-1], change(given[key][-1])]
            given[key] = None if new[-1] is None else new
        else:
            given[key] = change(given[key])
        if given[key] is not None:
            yield key, given


def refused(name, change, message):
    found = list(changed(name, change))
    assert found
    for key, given in found:
        with pytest.raises(RuntimeError, match=message):
            call(name, given)
            pytest.fail(f'{name} takes {key}')


def strided(tensor):
    return torch.stack([tensor, tensor], -1)[..., 0]


def transposed(tensor):
    return tensor.mT.contiguous().mT if min(tensor.shape[-2:]) > 1 and tensor.dim() > 1 else None


def channels_last(tensor):
    return tensor.to(memory_format=torch.channels_last) if tensor.shape == MAP else None


@pytest.mark.parametrize('name', OPERATIONS)
def test_arguments_are_taken(name):
    call(name, arguments(name))


@pytest.mark.parametrize('change', [strided, transposed], ids=lambda f: f.__name__)
@pytest.mark.parametrize('name', OPERATIONS)
def test_layouts_are_refused(name, change):
    """But of the maps that take the format of the first."""
    followers = dict(add_relu_mean=['shortcut'], add_relu_mean_backward=['grad_x'], light=['o'],
                     light_backward=['grad_out', 'o']).get(name, [])
    for key, given in changed(name, change):
        if key in followers:
            continue
        with pytest.raises(RuntimeError, match=r'mmdla: .* must be contiguous'):
            call(name, given)
            pytest.fail(f'{name} takes {key}')


@pytest.mark.parametrize('name', ['base_out', 'base', 'base_backward'])
def test_channels_last_is_refused(name):
    refused(name, channels_last, r'mmdla: .* must be contiguous')


@pytest.mark.parametrize('name', ['add_relu_mean', 'add_relu_mean_backward', 'light', 'light_backward'])
def test_maps_take_the_memory_format_of_the_first(name):
    torch.manual_seed(0)
    given = arguments(name)
    maps = [key for key, value in given.items() if torch.is_tensor(value) and value.shape == MAP]
    expected = call(name, given)
    for key in maps:
        for found, wanted in zip(call(name, {**given, key: channels_last(given[key])}), expected):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize('name', ['add_relu_mean_', 'light_out'])
def test_mixed_memory_formats_are_refused(name):
    refused(name, channels_last, r'mmdla: .* must be contiguous')
    given = {key: value if not torch.is_tensor(value) or value.shape != MAP else channels_last(value)
             for key, value in arguments(name).items()}
    call(name, given)


def test_channels_last_is_not_overwritten():
    given = {key: channels_last(value) if torch.is_tensor(value) and value.shape == MAP else value
             for key, value in arguments('light_out').items()}
    with pytest.raises(RuntimeError, match='out must not be x'):
        call('light_out', {**given, 'out': given['x']})


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.int32], ids=str)
@pytest.mark.parametrize('name', OPERATIONS)
def test_dtypes_are_refused(name, dtype):
    refused(name, lambda t: t.to(dtype), r'mmdla: .* must be ')


@pytest.mark.parametrize('name', OPERATIONS)
def test_integers_are_refused(name):
    given = {key: value.int() if torch.is_tensor(value) else value
             for key, value in arguments(name).items()}
    with pytest.raises(RuntimeError, match=r'mmdla: .* must be float32'):
        call(name, given)


@pytest.mark.parametrize('name', OPERATIONS)
def test_sizes_are_refused(name):
    for key, _ in changed(name, lambda t: t):
        first = OPERATIONS[name][0][key]
        for dim in range(len(first[0] if isinstance(first, list) else first)):
            if (name, key, dim) in FREE:
                continue
            given = arguments(name)
            tensor = given[key][0] if isinstance(given[key], list) else given[key]
            longer = torch.cat([tensor, tensor.narrow(dim, 0, 1)], dim)
            given[key] = [longer, *given[key][1:]] if isinstance(given[key], list) else longer
            with pytest.raises(RuntimeError, match='mmdla: '):
                call(name, given)
                pytest.fail(f'{name} takes {key} of size {tuple(longer.shape)}')


@pytest.mark.parametrize('name', OPERATIONS)
def test_numbers_of_dimensions_are_refused(name):
    refused(name, lambda t: t[None], r'mmdla: .* (must be of size|must have \d dimensions)')


@pytest.mark.parametrize('name', OPERATIONS)
def test_empty_tensors_are_refused(name):
    given = {key: value[:0] if torch.is_tensor(value) else value
             for key, value in arguments(name).items()}
    with pytest.raises(RuntimeError, match=r'mmdla: .* not be empty'):
        call(name, given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('name', OPERATIONS)
def test_devices_are_refused(name):
    refused(name, lambda t: t.cuda(), 'Could not run')


@pytest.mark.parametrize('name', OPERATIONS)
def test_sparse_tensors_are_refused(name):
    refused(name, lambda t: t.to_sparse(), 'Could not run|must be a dense tensor on the CPU')


@pytest.mark.parametrize('dim', [0, -2, 3])
def test_heads_are_refused(dim):
    with pytest.raises(RuntimeError, match='mmdla: dim must divide the 4 channels'):
        call('self_score', {**arguments('self_score'), 'dim': dim})


@pytest.mark.parametrize('name', ['add_relu_mean_', 'light_out', 'base_out'])
def test_operations_without_a_gradient_say_so(name):
    for _, given in changed(name, lambda t: t.requires_grad_()):
        with pytest.raises(RuntimeError, match='no gradient: call it under torch.no_grad'):
            call(name, given)
        with torch.no_grad():
            call(name, given)


@pytest.mark.parametrize('name', [*OPERATIONS, 'add_relu_mean_chained'])
def test_schemas_say_what_is_overwritten_and_what_is_passed_on(name):
    """PyTorch's own check compares arguments before and after, and the memory of what is returned."""
    given = arguments(name)
    operation = getattr(torch.ops.mmdla, name).default
    torch.library.opcheck(
        operation, tuple(given[a.name] for a in operation._schema.arguments), test_utils='test_schema')


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('name', FUNCTIONAL)
def test_pytorch_can_trace_and_compile(name, dtype):
    """Schema, registration of the gradient, fake tensors, and compiled gradients against eager ones."""
    given = {key: as_input(value, dtype) for key, value in arguments(name).items()}
    if name.endswith('_backward'):
        given = {key: v.detach() if torch.is_tensor(v) else v for key, v in given.items()}
    operation = getattr(torch.ops.mmdla, name).default
    torch.library.opcheck(operation, tuple(given[a.name] for a in operation._schema.arguments))


def as_input(value, dtype):
    if isinstance(value, list):
        return [as_input(v, dtype) for v in value]
    return value.to(dtype).requires_grad_() if torch.is_tensor(value) else value


def test_what_is_overwritten():
    written = {name: [argument.name
                      for argument in getattr(torch.ops.mmdla, name).default._schema.arguments
                      if argument.alias_info is not None and argument.alias_info.is_write]
               for name in (*OPERATIONS, *CHAINED)}
    assert {name: names for name, names in written.items() if names} == dict(
        add_relu_mean_=['branch'], add_relu_mean_chained=['branch'],
        light_out=['out', 'mean', 'variance'], base_out=['out', 'value', 'mean', 'variance'])
