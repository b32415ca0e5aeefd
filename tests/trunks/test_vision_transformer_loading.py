"""Checkpoints of vision transformers."""
import pytest
import torch
from mmpretrain.models import VisionTransformer as HostVisionTransformer
from vision_transformers import ATTENTION, SHALLOW, SMALL, randomize

from mmdla.errors import UserError
from mmdla.models import MRLAVisionTransformer
from mmdla.registry import MODELS


@pytest.fixture
def checkpoint(build, tmp_path):
    """A saved backbone in a classifier's checkpoint, and its tensors."""
    tensors = randomize(build(img_size=64, arch=SHALLOW)).float().state_dict()
    path = str(tmp_path / 'classifier.pth')

    def save(changes=()):
        whole = {**tensors, **dict(changes)}
        kept = {f'backbone.{k}': v for k, v in whole.items() if v is not None}
        torch.save(dict(state_dict={**kept, 'head.layers.head.bias': torch.zeros(5)}), path)
        return path

    return save, tensors


def load(build, path, **kwargs):
    return build(init_cfg=[dict(type='Pretrained', checkpoint=path)], arch=SHALLOW, **kwargs)


def test_loading_resizes_the_position_embedding_and_nothing_else(build, checkpoint):
    save, tensors = checkpoint
    for name, value in load(build, save(), img_size=64).state_dict().items():
        assert torch.equal(value, tensors[name]), name
    model = load(build, save())
    host = HostVisionTransformer(**{**SMALL, 'arch': SHALLOW})
    host.load_state_dict(tensors, strict=False)
    for name, value in model.state_dict().items():
        expected = host.pos_embed if name == 'pos_embed' else tensors[name]
        assert torch.equal(value, expected), name
    assert model.pos_embed.shape == (1, 16, 32)


@pytest.mark.parametrize('build', ATTENTION, indirect=True)
@pytest.mark.parametrize('changes, words', [
    ({'attention.0.layers.1.value.weight': None}, '1 missing .attention.0.layers.1.value.weight'),
    ({'attention.0.norms.0.bias': torch.zeros(8)}, '1 of another shape'),
    ({'dist_token': torch.zeros(1, 1, 32)}, '1 unknown .dist_token'),
    ({'pos_embed': None}, '1 missing .pos_embed'),
    ({'pos_embed': torch.zeros(1, 13, 32)}, '13 tokens, is not of a square grid'),
    ({'pos_embed': torch.zeros(1, 17, 48)}, '1 of another shape .pos_embed'),
], ids=['missing', 'shape', 'unknown', 'no position', 'position grid', 'position width'])
def test_a_partial_match_stops(build, checkpoint, changes, words):
    save, _ = checkpoint
    with pytest.raises(UserError, match=words) as error:
        load(build, save(changes))
    assert '\n' not in str(error.value)


@pytest.fixture
def plain(tmp_path):
    """A trained vision transformer of mmpretrain's and its file."""
    model = randomize(HostVisionTransformer(**{**SMALL, 'arch': SHALLOW})).float()
    torch.save(model.state_dict(), tmp_path / 'deit.pth')
    return model, str(tmp_path / 'deit.pth')


@pytest.mark.parametrize('build', [*ATTENTION, 'lii'], indirect=True)
def test_an_ordinary_vision_transformer_stops(build, plain, tmp_path):
    with pytest.raises(UserError, match='VisionTransformer-custom, .* it is of the plain network'):
        load(build, plain[1])
    with pytest.raises(UserError, match='none.pth does not exist, from which the backbone starts'):
        load(build, str(tmp_path / 'none.pth'))


@pytest.mark.parametrize('build', [*ATTENTION, 'plain'], indirect=True)
def test_zero_init_starts_as_the_plain_vision_transformer(build, plain):
    host, path = plain
    x = torch.randn(2, 3, 48, 80)
    model = load(build, path, attention_init='zero')
    assert torch.equal(model(x)[0], host(x)[0])
    model(x)[0].square().sum().backward()
    assert all(norm.weight.grad.any() for attention in model.attention
               for norm in getattr(attention, 'norms', ()))


@pytest.mark.parametrize('build', ['lii'], indirect=True)
def test_zero_init_is_refused_without_gammas(build):
    with pytest.raises(UserError, match="attention_init='zero' is only supported with"):
        build(attention_init='zero')


def test_a_start_of_another_meaning_stops(tmp_path):
    config = dict(type='mmdla.MRLAVisionTransformer', arch=SHALLOW, dim_per_head=8)
    path = str(tmp_path / 'narrow_heads.pth')
    torch.save(dict(meta=dict(backbone=config), state_dict=MODELS.build(config).state_dict()), path)
    with pytest.raises(UserError, match='trained with dim_per_head=8, and this backbone has'):
        MRLAVisionTransformer(SHALLOW, init_cfg=dict(type='Pretrained', checkpoint=path))
