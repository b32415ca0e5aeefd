"""Both exporters of torch.onnx on a small network of every form, run by onnxruntime."""
import io

import pytest
import torch
import zoo

from mmdla import ops

onnxruntime = pytest.importorskip('onnxruntime', reason='needs the extra mmdla[deploy]')
pytest.importorskip('onnxscript', reason='needs the extra mmdla[deploy]')
FORMS = {
    **{name: zoo.FORMS[name] for name in ('mrla_l', 'mrla_b', 'dla_l', 'dla_b')},
    'dla_b_tokens': dict(type='mmdla.DLABase', context_unit=zoo.UNIT, refresh='tokens'),
    **{f'dla_{form.lower()}_{unit}': dict(type=f'mmdla.DLA{form}', context_unit=config)
       for form in ('Light', 'Base') for unit, config in zoo.UNITS.items()},
}
FIRST = ('mrla_l', 'mrla_b', 'dla_l', 'dla_b')
NAMES = ('images', 'first', 'second')
AXES = {0: 'batch', 2: 'height', 3: 'width'}


def legacy(model, images, file):
    torch.onnx.export(model, (images, ), file, dynamo=False, opset_version=17, input_names=NAMES[:1],
                      output_names=NAMES[1:], dynamic_axes={name: AXES for name in NAMES})


def dynamo(model, images, file):
    dynamic = {axis: torch.export.Dim.DYNAMIC for axis in AXES}
    program = torch.onnx.export(model, (images, ), dynamo=True, dynamic_shapes=(dynamic, ),
                                input_names=NAMES[:1], output_names=NAMES[1:], verbose=False)
    program.save(file)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('form, export', [
    pytest.param(form, export, id=f'{name}-{export.__name__}',
                 marks=() if name in FIRST and (export is legacy or name == 'dla_b')
                 else pytest.mark.full)
    for name, form in FORMS.items() for export in (legacy, dynamo)])
def test_any_batch_and_size(form, export):
    model = zoo.build('ResNet', form).eval()
    for norms in (attention.norms for attention in model.attention):
        for norm in norms:
            torch.nn.init.constant_(norm.weight, 1.)
    file = io.BytesIO()
    export(model, torch.randn(2, 3, 64, 64), file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
    for shape in ((3, 3, 96, 80), (1, 3, 65, 70)):
        images = torch.randn(shape)
        with torch.no_grad(), ops.use('reference'):
            expected = model(images)
        for found, wanted in zip(session.run(None, {'images': images.numpy()}), expected):
            torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-5, atol=1e-5)
