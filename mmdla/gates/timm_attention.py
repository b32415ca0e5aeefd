"""Attention of timm inside the blocks; timm is an optional dependency."""
from torch import Tensor, nn

from mmdla.errors import UserError, reason
from mmdla.registry import MODELS


@MODELS.register_module()
class TimmAttention(nn.Module):
    """A layer of ``timm.layers.create_attn``: 'se', 'ese', 'eca', 'cbam', 'gc', 'coord', and more.

    Some take maps of certain sizes only: 'halo' multiples of its ``block_size`` of 8, 'bat' of 7;
    'bottleneck' needs ``feat_size``, per_stage=dict(feat_size=...).

    Args:
        in_channels (int): C.
        name (str): timm's name of the layer.
        **kwargs: Other arguments of the layer, such as ``rd_ratio``.

    Raises:
        UserError: Without timm, for a layer that it cannot build, or that does not take a map as large
            as this, or does not leave its shape as it is.
    """

    def __init__(self, in_channels: int, name: str, **kwargs) -> None:
        super().__init__()
        try:
            from timm.layers import create_attn
        except ImportError as error:
            raise UserError('mmdla.TimmAttention needs timm: pip install "timm>=1.0".') from error
        try:
            self.layer = create_attn(name, in_channels, **kwargs)
        except Exception as error:
            raise UserError(
                f'timm does not build its attention {name!r} for {in_channels} channels with these '
                f'arguments ({reason(error)}): choose another, such as \'se\', \'eca\', \'cbam\' or '
                '\'gc\'.') from error
        self.name = name

    def forward(self, u: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        try:
            out = self.layer(u)
        except AssertionError as error:
            raise UserError(f'timm\'s attention {self.name!r} does not take maps of {u.shape[-2]} x '
                            f'{u.shape[-1]} ({reason(error)}): choose another, or images of another '
                            'size.') from error
        if out.shape != u.shape:
            raise UserError(f'timm\'s attention {self.name!r} with these arguments makes '
                            f'{tuple(out.shape)} of {tuple(u.shape)}: the shape has to stay.')
        return out
