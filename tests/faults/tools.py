"""Faults in operators for mmcv, data and tools."""
from .fault import Fault

PAPER_TOOLS = 'tests/tools/test_paper_tools.py'

FAULTS = [
    Fault('offset of NMS ignored', 'mmdla/hosts/mmcv_ext.py',
          '[0, 0, offset, offset]', '[0, 0, 0, 0]', ('tests/hosts/test_mmcv_ext.py', 'test_nms')),
    Fault('RoIAlign never aligned', 'mmdla/hosts/mmcv_ext.py',
          'aligned_height, aligned_width, sampling_ratio, aligned))\n\n',
          'aligned_height, aligned_width, sampling_ratio, False))\n\n',
          ('tests/hosts/test_mmcv_ext.py', 'test_roi_align')),
    Fault('weights of the focal loss ignored', 'mmdla/hosts/mmcv_ext.py',
          'if weight.numel() else loss', 'if False else loss',
          ('tests/hosts/test_mmcv_ext.py', 'focal')),
    Fault('crops never at the last offset', 'mmdla/datasets/cifar_preprocessor.py',
          'torch.randint(2 * padding + 1,', 'torch.randint(2 * padding,',
          ('tests/datasets/test_cifar.py', 'crop_and_flip')),
    Fault('colours of CIFAR reversed', 'mmdla/datasets/cifar_preprocessor.py',
          'images.flip(1)', 'images', ('tests/datasets/test_cifar.py', 'inference_on_a_picture')),
    Fault('FLOPs of an einsum without the summed index', 'mmdla/engine/complexity.py',
          'return prod(sizes.values())', "return prod(sizes[i] for i in equation.partition('->')[2])",
          (PAPER_TOOLS, 'flops_of_attention_over_positions')),
    Fault('FLOPs of attention without the values', 'mmdla/engine/complexity.py',
          '* (q[-1] + v[-1])', '* q[-1]', (PAPER_TOOLS, 'flops_of_attention_over_positions')),
    Fault('attention map filled from the end', 'mmdla/engine/attention_map.py',
          '(0, 0, 0, end - first - row.shape[1])', '(0, 0, end - first - row.shape[1], 0)',
          (PAPER_TOOLS, 'maps_of_the_base_forms')),
    Fault('attention map with the scale of the wrong layer', 'mmdla/engine/attention_map.py',
          'form.norm_scale(index - 1)', 'form.norm_scale(index)',
          (PAPER_TOOLS, 'maps_of_the_light_forms')),
]
