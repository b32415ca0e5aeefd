"""Graphs to ONNX files by torch.onnx, either exporter, and the comparison of both networks."""
import importlib.util
import io
import json
import logging
import os
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from mmdla.errors import UserError, reason
from mmdla.files import written

from .networks import Graph

OPSET = dict(dynamo=18, legacy=17)
PACKAGES = dict(dynamo=('onnx', 'onnxscript', 'onnxruntime'), legacy=('onnx', 'onnxruntime'))
ROIS = 5


def check_packages(exporter: str) -> None:
    """Refuse to start without the packages that this exporter and the comparison need."""
    missing = [package for package in PACKAGES[exporter] if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f'the ONNX export needs {", ".join(missing)}, not installed here: '
                        'pip install \'mmdla[deploy]\'.')


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' progress and warnings, unless MMDLA_TRACEBACK=1 asks for all."""
    if os.environ.get('MMDLA_TRACEBACK') == '1':
        yield
        return
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter('ignore')
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def example(graph: Graph, shape: Tuple[int, int], feeds: Dict[str, Tensor]) -> List[Tensor]:
    """Inputs to trace a graph with: pixels of two images, or the first's maps and a few RoIs."""
    found = []
    for name in graph.inputs:
        if name == 'pixels':
            found.append(torch.rand(2, 3, *shape) * 255)
        elif name == 'rois':
            sizes = torch.rand(ROIS, 2) * torch.tensor(shape[::-1]) / 2
            corners = torch.rand(ROIS, 2) * torch.tensor(shape[::-1]) / 2
            images = torch.arange(ROIS)[:, None] % 2
            found.append(torch.cat([images, corners, corners + sizes], 1).float())
        else:
            found.append(feeds[name])
    return found


def of_one_size(graph: Graph) -> Graph:
    """The graph with a dynamic batch, or number of RoIs, alone."""
    inputs = {name: {0: axes[0]} for name, axes in graph.inputs.items()}
    return graph._replace(inputs=inputs)


def to_onnx(graph: Graph, inputs: Sequence[Tensor], exporter: str) -> bytes:
    """The content of an ONNX file, with its dynamic axes.

    Raises:
        UserError: If torch.onnx refuses the network.
    """
    names = dict(input_names=list(graph.inputs), output_names=graph.outputs)
    file = io.BytesIO()
    graph.network.eval()  # the legacy exporter puts its mode, and so its parts', back
    try:
        with quiet(), torch.no_grad():
            if exporter == 'legacy':
                torch.onnx.export(graph.network, tuple(inputs), file, dynamo=False,
                                  opset_version=OPSET[exporter], dynamic_axes=dynamic_axes(graph),
                                  **names)
            else:
                torch.onnx.export(graph.network, tuple(inputs), dynamo=True, verbose=False,
                                  opset_version=OPSET[exporter], dynamic_shapes=dynamic_shapes(graph),
                                  **names).save(file)
    except Exception as error:
        raise UserError(f'torch.onnx cannot export {type(graph.network).__name__} with the {exporter} '
                        f'exporter ({reason(error)}): try the other one (--exporter), or --fixed-shape '
                        'where the size is in the way.') from error
    return file.getvalue()


def dynamic_axes(graph: Graph) -> Dict[str, Dict[int, str]]:
    """For the legacy exporter; the axes of an output are dynamic as those of its kind of input."""
    maps = 'pixels' in graph.inputs and graph.outputs != ['logits']
    first = {0: next(iter(graph.inputs.values()))[0]}
    outputs = {name: {0: 'batch', 2: f'{name}_height', 3: f'{name}_width'} if maps else first
               for name in graph.outputs}
    inputs = {name: {axis: f'{name}_{kind}' if axis and name != 'pixels' else kind
                     for axis, kind in axes.items()} for name, axes in graph.inputs.items()}
    return {**inputs, **outputs}


def dynamic_shapes(graph: Graph) -> tuple:
    """For the exporter by torch.export, which gives names itself."""
    shapes = [{axis: torch.export.Dim.DYNAMIC for axis in axes} for axes in graph.inputs.values()]
    return (shapes[0], tuple(shapes[1:])) if len(shapes) > 1 else (shapes[0], )


def with_facts(content: bytes, facts: dict) -> bytes:
    """An ONNX file with what :class:`mmdla.deploy.runtime.Detector` reads there."""
    import onnx
    model = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(model, {'mmdla': json.dumps(facts)})
    return model.SerializeToString()


def difference(content: bytes, network: nn.Module, inputs: Sequence[Tensor],
               names: Sequence[str]) -> Tuple[float, Tuple[Tensor, ...]]:
    """The largest difference of any output, over its largest value, and PyTorch's outputs."""
    import onnxruntime
    shape = tuple(inputs[0].shape)
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
        found = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, inputs)})
        with torch.no_grad():
            wanted = network(*inputs)
    except Exception as error:
        raise UserError(f'the exported {type(network).__name__} does not run on {shape} '
                        f'({reason(error)}): use --fixed-shape for a network of one size, or the '
                        'other exporter (--exporter).') from error
    wanted = wanted if isinstance(wanted, (tuple, list)) else (wanted, )
    errors = [0.0]
    for ours, theirs in zip(found, wanted):
        if ours.shape != tuple(theirs.shape):
            raise UserError(f'onnxruntime returns an output of shape {ours.shape} where PyTorch returns '
                            f'{tuple(theirs.shape)}: use --fixed-shape, or the other exporter '
                            '(--exporter).')
        if theirs.numel():
            scale = max(theirs.abs().max().item(), 1e-9)
            errors.append(float(np.abs(ours - theirs.numpy()).max()) / scale)
    return max(errors, key=lambda error: (error != error, error)), tuple(wanted)


def write(files: Dict[Path, bytes]) -> None:
    """Write files, each whole or not at all; the first, which needs the others, last."""
    for path, content in reversed(files.items()):
        with written(path) as partial:
            partial.write_bytes(content)
