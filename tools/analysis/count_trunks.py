"""Parameters of every form of layer attention on every trunk, as the table of docs/trunks.md.

    python tools/analysis/count_trunks.py            # writes the table, a minute
    python tools/analysis/count_trunks.py --check    # writes nothing, fails if it is stale

Backbones alone. Every form has its defaults: DLA and LII the paper's unit with r = 20, heads
of 32 channels (light forms; 16 for base forms and transformers), or fewer where these do not divide the
channels of every stage.
"""
import argparse
from pathlib import Path

from mmdla.engine import cli
from mmdla.errors import UserError
from mmdla.files import with_part, write_text
from mmdla.registry import MODELS

PAGE = Path(__file__).parents[2] / 'docs' / 'trunks.md'
TOOL = 'tools/analysis/count_trunks.py'
TRUNKS = {
    'ResNet-50': dict(type='mmdla.ResNet', depth=50),
    'ResNet-50-D': dict(type='mmdla.ResNetV1d', depth=50),
    'ResNeXt-50 32x4d': dict(type='mmdla.ResNeXt', depth=50),
    'SE-ResNet-50': dict(type='mmdla.SEResNet', depth=50),
    'Res2Net-50 26w 4s': dict(type='mmdla.Res2Net', depth=50),
    'ResNeSt-50': dict(type='mmdla.ResNeSt', depth=50),
    'RegNetX-3.2GF': dict(type='mmdla.RegNet', arch='regnetx_3.2gf'),
    'ConvNeXt-T': dict(type='mmdla.ConvNeXt', arch='tiny'),
    'ConvNeXt V2-T': dict(
        type='mmdla.ConvNeXt', arch='tiny', use_grn=True, layer_scale_init_value=0.),
    'Swin-T': dict(type='mmdla.SwinTransformer', arch='tiny'),
    'Swin-T (mmdet)': dict(type='mmdla.DetSwinTransformer'),
    'PVT-S': dict(type='mmdla.PyramidVisionTransformer', num_layers=[3, 4, 6, 3]),
    'PVTv2-B2': dict(type='mmdla.PyramidVisionTransformerV2', embed_dims=64, num_layers=[3, 4, 6, 3]),
    'EfficientNet-B0': dict(type='mmdla.EfficientNet', arch='b0'),
    'MobileNetV2': dict(type='mmdla.MobileNetV2'),
    'MobileNetV3-L': dict(type='mmdla.MobileNetV3', arch='large'),
    'DeiT-S': dict(type='mmdla.VisionTransformer', arch='deit-small'),
    'ViT-B of ViTDet and SAM': dict(type='mmdla.ViTSAM', arch='base', img_size=1024),
}
FORMS = {
    'plain': None, 'MRLA-L': 'mmdla.MRLALight', 'MRLA-B': 'mmdla.MRLABase', 'DLA-L': 'mmdla.DLALight',
    'DLA-B': 'mmdla.DLABase', 'LII': 'mmdla.LII',
}


def count(trunk: dict, form: str) -> int:
    interaction = form and dict(type=form, **(
        dict(context_unit=dict(type='mmdla.DSU')) if form == 'mmdla.LII' else {}))
    model = MODELS.build({**trunk, 'interaction': interaction})
    return sum(p.numel() for p in model.parameters())


def table() -> str:
    lines = [f'| `type` | trunk | {" | ".join(FORMS)} |', '| --- ' * (len(FORMS) + 2) + '|']
    for name, trunk in TRUNKS.items():
        counts = ' | '.join(f'{count(trunk, form):,}' for form in FORMS.values())
        lines.append(f'| `{trunk["type"]}` | {name} | {counts} |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if the page is stale')
    args = parser.parse_args()
    new = with_part(PAGE, TOOL, table())
    if args.check and new != PAGE.read_text():
        raise UserError(f'the table of {PAGE} is stale: run python tools/analysis/count_trunks.py.')
    if not args.check:
        write_text(str(PAGE), new)


if __name__ == '__main__':
    cli.run(main)
