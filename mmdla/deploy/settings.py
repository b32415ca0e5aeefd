"""What a detector's decoding and NMS need beside its graphs, and which detectors have graphs."""
from typing import Any, Dict, List

from mmengine.config import Config
from torch import nn

from mmdla.errors import UserError

from .networks import ClassifierNetwork, DenseNetwork, Graph, Pixels, RoINetwork

MAPS = {0: 'batch', 2: 'height', 3: 'width'}


def require(holds: bool, what: str) -> None:
    if not holds:
        raise UserError(f'{what} cannot be exported: docs/deploy.md says which models can, and '
                        'torch.onnx.export takes the backbone of any.')


def name(module) -> str:
    return type(module).__name__


def classifier_graphs(model: nn.Module) -> List[Graph]:
    """A classifier in one graph.

    Raises:
        UserError: For a model that is no ImageClassifier.
    """
    require(name(model) == 'ImageClassifier', f'a model of type {name(model)}')
    return [Graph('', ClassifierNetwork(model), {'pixels': MAPS}, ['logits'])]


def detector_graphs(model: nn.Module) -> List[Graph]:
    """The backbone, neck and dense head of a detector, and its heads on RoIs.

    Raises:
        UserError: For heads whose decoding is not in ``runtime.py``.
    """
    two = hasattr(model, 'roi_head')
    head = model.rpn_head if two else getattr(model, 'bbox_head', None)
    require(name(head) in (('RPNHead', ) if two else ('RetinaHead', )),
            f'a detector with a {name(head)}')
    levels = len(head.prior_generator.strides)
    maps = [f'{kind}{level}' for kind in ('scores', 'deltas') for level in range(levels)]
    if not two:
        return [Graph('', DenseNetwork(model), {'pixels': MAPS}, maps)]
    roi = model.roi_head
    require(name(roi) in ('StandardRoIHead', 'CascadeRoIHead') and not roi.with_shared_head,
            f'a detector with a {name(roi)}')
    pairs = list(zip(several(roi.bbox_roi_extractor), several(roi.bbox_head)))
    masks = [(roi.mask_roi_extractor, roi.mask_head)] if roi.with_mask else []
    require(not (masks and len(pairs) > 1), 'a Cascade Mask R-CNN')
    for extractor, part in pairs + masks:
        check_roi_head(extractor, part)
    count = pairs[0][0].num_inputs
    names = [f'feature{level}' for level in range(count)]
    inputs = {'rois': {0: 'rois'}, **{feature: MAPS for feature in names}}
    return [Graph('', DenseNetwork(model, count), {'pixels': MAPS}, maps + names),
            *(Graph(f'roi{n + 1}', RoINetwork(*pair), inputs, ['scores', 'deltas'])
              for n, pair in enumerate(pairs)),
            *(Graph('mask', RoINetwork(*pair), inputs, ['logits']) for pair in masks)]


def several(modules) -> list:
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


def check_roi_head(extractor: nn.Module, head: nn.Module) -> None:
    """Refuse an extractor or a head on RoIs that ``networks.py`` and ``runtime.py`` do not have."""
    kinds = ('BBoxHead', 'ConvFCBBoxHead', 'Shared2FCBBoxHead', 'Shared4Conv1FCBBoxHead', 'FCNMaskHead')
    layers = extractor.roi_layers
    require(name(extractor) == 'SingleRoIExtractor'
            and all(name(layer) == 'RoIAlign' and layer.pool_mode == 'avg' for layer in layers),
            f'a {name(extractor)} with {name(layers[0])}')
    require(name(head) in kinds and not getattr(head, 'custom_activation', False)
            and getattr(head, 'with_reg', True), f'a {name(head)}')


def facts(model: nn.Module, cfg: Config, classes: List[str]) -> Dict[str, Any]:
    """What ``runtime.Detector`` reads in the first file, as JSON holds it."""
    two = hasattr(model, 'roi_head')
    head = model.rpn_head if two else model.bbox_head
    generator, test = head.prior_generator, head.test_cfg
    require(name(generator) == 'AnchorGenerator', f'a detector with a {name(generator)}')
    require(head.use_sigmoid_cls, 'a dense head with a softmax')
    found = dict(
        classes=classes, resize=resize(cfg), padding=Pixels(model.data_preprocessor).padding(),
        divisor=model.data_preprocessor.pad_size_divisor, strides=[list(s) for s in generator.strides],
        anchors=[anchors.tolist() for anchors in generator.base_anchors], coder=coder(head),
        nms_pre=nms_pre(test), min_size=test.get('min_bbox_size', -1), iou=iou(test),
        most=test.max_per_img)
    if not two:
        return {**found, 'threshold': test.score_thr}
    roi, test = model.roi_head, model.roi_head.test_cfg
    return {
        **found, 'stages': [coder(part) for part in several(roi.bbox_head)],
        'roi': dict(threshold=test.score_thr, iou=iou(test), most=test.max_per_img),
        **({'mask': test.mask_thr_binary} if roi.with_mask else {})}


def coder(head: nn.Module) -> Dict[str, Any]:
    own = head.bbox_coder
    require(name(own) == 'DeltaXYWHBBoxCoder' and not own.add_ctr_clamp
            and not getattr(head, 'reg_decoded_bbox', False), f'a {name(head)} with a {name(own)}')
    return dict(means=list(own.means), stds=list(own.stds), clip=own.clip_border)


def nms_pre(test) -> int:
    count = test.get('nms_pre', -1)
    return count if count > 0 else 10 ** 9


def iou(test) -> float:
    plain = set(test.nms) <= {'type', 'iou_threshold'} and test.nms.get('type', 'nms') == 'nms'
    require(plain, f'a detector with nms={dict(test.nms)}')
    return test.nms.iou_threshold


def resize(cfg: Config) -> List[int]:
    """The scale of the test pipeline's Resize; none where there is no Resize."""
    steps = ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline') or []
    for step in steps:
        if step['type'] not in ('LoadImageFromFile', 'Resize', 'LoadAnnotations', 'PackDetInputs'):
            raise UserError(f'the test pipeline has a {step["type"]}, which the exported detector would '
                            'not do: take it out with --cfg-options or a config of your own.')
    found = [step for step in steps if step['type'] == 'Resize']
    if not found:
        return []
    require(len(found) == 1 and found[0].get('keep_ratio') and isinstance(found[0].get('scale'),
                                                                         (tuple, list)),
            'a test pipeline without a Resize to one scale with keep_ratio=True')
    return list(found[0].scale)
