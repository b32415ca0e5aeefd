"""Names of vision transformers, for mmpretrain's VisionTransformer and ViTSAM.

DeiT's, MAE's and DINO's releases have timm's names. torchvision's files, unlike its present modules,
call the layers of a feed-forward network ``linear_1`` and ``linear_2``: both are known. The position
embedding stays as it is: its grid is the loader's matter.

Layer scales need ``layer_scale_init_value`` in the host, ``norm_pre`` needs ``pre_norm=True``, and
``fc_norm`` needs ``out_type='avg_featmap', final_norm=False``. The norms of CLIP's networks and of
timm's SAM have ``eps=1e-5``; those of SAM's release have the host's 1e-6.

Left out: a distillation token (another class in mmpretrain), registers, norms of queries and keys,
whose tensors keep their names; a position embedding without the class token (DeiT III), whose shape
differs. SAM's prompt encoder and mask decoder are no part of the backbone and keep their names, too:
load its release with the prefix ``image_encoder.``.
"""
from .naming import Naming

BLOCK = r'^(layers\.\d+)\.'
TIMM = (
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'^blocks\.', 'layers.'),
    (BLOCK + r'norm([12])\.', r'\1.ln\2.'),
    (BLOCK + r'mlp\.fc1\.', r'\1.ffn.layers.0.0.'),
    (BLOCK + r'mlp\.fc2\.', r'\1.ffn.layers.1.'),
    (BLOCK + r'ls1\.gamma$', r'\1.attn.gamma1.weight'),
    (BLOCK + r'ls2\.gamma$', r'\1.ffn.gamma2.weight'),
    (r'^norm_pre\.', 'pre_norm.'),
    (r'^norm\.', 'ln1.'),
    (r'^fc_norm\.', 'ln2.'),
)
TORCHVISION = (
    (r'^class_token$', 'cls_token'),
    (r'^conv_proj\.', 'patch_embed.projection.'),
    (r'^encoder\.pos_embedding$', 'pos_embed'),
    (r'^encoder\.ln\.', 'ln1.'),
    (r'^encoder\.layers\.encoder_layer_', 'layers.'),
    (BLOCK + r'ln_([12])\.', r'\1.ln\2.'),
    (BLOCK + r'self_attention\.in_proj_', r'\1.attn.qkv.'),
    (BLOCK + r'self_attention\.out_proj\.', r'\1.attn.proj.'),
    (BLOCK + r'mlp\.(0|linear_1)\.', r'\1.ffn.layers.0.0.'),
    (BLOCK + r'mlp\.(3|linear_2)\.', r'\1.ffn.layers.1.'),
)
SAM = (
    (r'^image_encoder\.', ''),
    (r'^(blocks\.\d+)\.mlp\.lin([12])\.', r'\1.mlp.fc\2.'),
    *TIMM,
    (r'^neck\.', 'channel_reduction.'),
)
VISION_TRANSFORMER = (
    Naming('timm', (r'^blocks\.0\.attn\.qkv\.weight$', ), TIMM, r'(head|head_dist|pre_logits)\.'),
    Naming('torchvision', (r'^encoder\.layers\.encoder_layer_0\.ln_1\.weight$', ), TORCHVISION,
           r'heads\.'),
)
VIT_SAM = (
    Naming('timm', (r'^blocks\.0\.attn\.rel_pos_h$', r'^blocks\.0\.mlp\.fc1\.'), SAM, r'head\.'),
    Naming('the SAM release', (r'^(image_encoder\.)?blocks\.0\.mlp\.lin1\.', ), SAM),
)
