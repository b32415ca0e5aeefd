"""One training step of small networks against float64."""
from itertools import product
from typing import Dict, Iterator, List

import torch
from torch import Tensor, nn

from mmdla import ops
from mmdla.errors import reason

from .checks import EXACT, FORMATS, Check, exact, failed

VARIANTS = dict(light='DLA-L', base='DLA-B')
SHAPE = (4, 3, 24, 40)
AUTOCAST = 'bfloat16 autocast'
SETTINGS = dict(  # of each kind of device; few on a GPU, where each is compiled for
    cpu=(('float64', 'NCHW'), ('float32', 'NCHW'), (AUTOCAST, 'NCHW')),
    cuda=(('float32', 'NCHW'), (AUTOCAST, 'NHWC')))


def small(variant: str) -> nn.Module:
    from mmdla.models import DLAResNet
    torch.manual_seed(0)
    model = DLAResNet(20, variant, trunk='cifar', base_channels=8, dim_per_head=4,
                      context_unit=dict(reduction=2))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
    return model.train()


def step(model: nn.Module, images: Tensor, autocast: bool) -> Dict[str, Tensor]:
    """Outputs, gradients and running statistics, flat, in float64."""
    model.zero_grad()
    with torch.autocast(images.device.type, torch.bfloat16, autocast):
        outputs = model(images)
    loss = sum((out.double() * out.detach().double().cos()).sum() for out in outputs)
    loss.backward()
    groups: Dict[str, List[Tensor]] = {
        'outputs': [out.detach() for out in outputs],
        'gradients': [p.grad for p in model.parameters() if p.grad is not None],
        'running statistics': [b for b in model.buffers() if b.is_floating_point()]}
    return {name: torch.cat([t.double().flatten() for t in group]) for name, group in groups.items()}


def compared(variant: str, precision: str, layout: str, device: torch.device, how: str) -> Check:
    """Compare the sizes of the errors of all outputs, gradients and statistics together.

    Single elements are no measure: a rounding ahead of a ReLU moves a whole gradient.
    """
    name, case = f'a step of {VARIANTS[variant]}', f'{precision}, {layout}'
    dtype = torch.float64 if precision == 'float64' else torch.float32
    images = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(device)

    def run(implementation: str, dtype: torch.dtype, autocast: bool) -> Dict[str, Tensor]:
        model = small(variant).to(device, dtype).to(memory_format=FORMATS[layout])
        with ops.use(implementation):
            return step(model, images.to(dtype).contiguous(memory_format=FORMATS[layout]), autocast)

    autocast = precision == AUTOCAST
    found, own = run(how, dtype, autocast), run('reference', dtype, autocast)
    truth = run('reference', torch.float64, False)
    worst = Check(name, case, 0.0)
    for group, true in truth.items():
        error, reference = (((r[group] - true).norm() / true.norm()).item() for r in (found, own))
        floor = EXACT if dtype == torch.float64 else 8 * torch.finfo(dtype).eps
        share = error / (2 * reference + floor)
        if not share <= worst.share:
            worst = Check(name, case, share) if share <= 1 else failed(
                name, case, f'{group} are off by {error:.2e} of their size, allowed are '
                f'{2 * reference + floor:.2e} (the plain definition is off by {reference:.2e})')
    return worst


def check_networks(how: str, device: torch.device) -> Iterator[Check]:
    for variant, (precision, layout) in product(VARIANTS, SETTINGS[device.type]):
        try:
            with exact(), torch.random.fork_rng():
                yield compared(variant, precision, layout, device, how)
        except Exception as error:
            yield failed(f'a step of {VARIANTS[variant]}', f'{precision}, {layout}',
                         f'it raised {reason(error)}')
