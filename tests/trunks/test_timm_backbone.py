"""timm's models with layer attention between their blocks."""
import pytest
import torch
from mmpretrain.models import TIMMBackbone as Host
from zoo import FORMS, alive, total

from mmdla.errors import UserError
from mmdla.models import TIMMBackbone

timm = pytest.importorskip('timm')
MAPS = dict(features_only=True)
MODELS = {
    'resnet': ('resnet18', MAPS),
    'classifier': ('resnet18', {}),
    'convnext': ('convnext_atto', dict(MAPS, depths=(2, 2, 3, 2), dims=(16, 32, 48, 64))),
    'efficientnet': ('mobilenetv3_small_050', MAPS),
    'channels last': ('mambaout_femto', dict(MAPS, depths=(2, 2, 2, 2), dims=(16, 32, 48, 64))),
    'windows': ('swin_tiny_patch4_window7_224', dict(
        MAPS, strict_img_size=False, embed_dim=16, depths=(2, 2, 3, 2), num_heads=(1, 2, 4, 8))),
}
every_model = pytest.mark.parametrize('model_name, kwargs', MODELS.values(), ids=MODELS)


@every_model
@pytest.mark.parametrize('form', ['mrla_l', 'dla_l', pytest.param('mrla_b', marks=pytest.mark.full)])
def test_zero_init_is_timms_model_bit_for_bit_and_trains(model_name, kwargs, form):
    host = alive(Host(model_name, **kwargs))
    interaction = {**FORMS[form], **(dict(layer_scale=True) if form == 'mrla_b' else {})}
    model = TIMMBackbone(model_name, interaction, 'zero', **kwargs)
    missing, unknown = model.load_state_dict(host.state_dict(), strict=False)
    assert unknown == [] and all(name.startswith('attention.') for name in missing)
    x = torch.randn(2, 3, 224, 192)
    for mode in (False, True):
        model.train(mode), host.train(mode)
        torch.manual_seed(1)
        outs = model(x)
        torch.manual_seed(1)
        assert all(torch.equal(out, ref) for out, ref in zip(outs, host(x)))
    total(outs).backward()
    part = '.scales.' if form == 'mrla_b' else '.norms.'
    starts = [p for name, p in model.attention.named_parameters() if part in name]
    assert starts and all(p.grad is not None and p.grad.any() for p in starts)


@every_model
def test_gradients_samples_and_checkpointing(model_name, kwargs):
    plain, saving = (
        alive(TIMMBackbone(model_name, FORMS['dla_l'], with_cp=cp, **kwargs)).double().eval()
        for cp in (False, True))
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 224, 192).double()
    outs = plain(x)
    total(outs).backward(), total(saving(x)).backward()
    for (name, p), again in zip(plain.named_parameters(), saving.parameters()):
        assert p.grad is not None, name
        torch.testing.assert_close(again.grad, p.grad, msg=name)
    for whole, *parts in zip(outs, *(plain(sample[None]) for sample in x)):
        torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-9, atol=1e-9)


@every_model
def test_the_next_block_reads_the_output_of_the_attention(model_name, kwargs):
    model = alive(TIMMBackbone(model_name, FORMS['mrla_l'], **kwargs)).eval()
    seen = {}
    for stage, attention in enumerate(model.attention):
        for layer in range(attention.num_layers):
            model.get_submodule(model.block_name(stage, layer)).register_forward_hook(
                lambda block, inputs, output, place=(stage, layer):
                seen.update({place: (inputs[0].clone(), output.clone())}))
    model(torch.randn(1, 3, 224, 192))
    for stage, attention in enumerate(model.attention):
        last = model.runs[stage].channels_last
        (o, x), (following, _) = ([t.permute(0, 3, 1, 2) if last else t for t in seen[stage, layer]]
                                  for layer in (0, 1))
        o = o if o.shape == x.shape else torch.zeros_like(x)
        torch.testing.assert_close(following, attention(0, x, o, None)[0])


def test_timms_own_gradient_checkpointing_is_refused():
    """It calls the blocks one by one, and would leave the attention out, in training alone."""
    for model_name in ('resnet18', 'convnext_atto'):
        model = TIMMBackbone(model_name, FORMS['mrla_l'])
        model.timm_model.set_grad_checkpointing(True)
        with pytest.raises(UserError, match='use with_cp=True'):
            model(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize('model_name, kwargs, words', [
    ('pvt_v2_b0', MAPS, 'no sequence of blocks with maps of one shape'),
    ('swin_tiny_patch4_window7_224', MAPS, 'does not take images of 256 x 192'),
    ('vit_tiny_patch16_224', dict(dynamic_img_size=True), "type='mmdla.VisionTransformer'"),
])
def test_other_models_are_refused(model_name, kwargs, words):
    with pytest.raises(UserError, match=words) as error:
        TIMMBackbone(model_name, **kwargs)
    assert '\n' not in str(error.value)


def test_its_own_checkpoint_is_loaded_strictly(tmp_path):
    model_name, kwargs = MODELS['convnext']
    host = alive(Host(model_name, **kwargs))
    torch.save(host.state_dict(), tmp_path / 'host.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'host.pth'))
    model = TIMMBackbone(model_name, FORMS['dla_l'], 'zero', init_cfg=init_cfg, **kwargs)
    model.init_weights()
    x = torch.randn(1, 3, 64, 64)
    model.eval(), host.eval()
    assert all(torch.equal(out, ref) for out, ref in zip(model(x), host(x)))
    with pytest.raises(UserError, match='does not fit TIMMBackbone-convnext_atto'):
        TIMMBackbone(model_name, FORMS['dla_l'], 'zero', init_cfg=init_cfg, **MAPS).init_weights()
