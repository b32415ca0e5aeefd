_base_ = 'mmdet::_base_/default_runtime.py'

# registers the backbones and, where mmcv has no compiled operators, torchvision's in their place
custom_imports = dict(imports=['mmdla'])

# a kill or a full disk loses no checkpoint, and a loss that is not finite ends the run
default_hooks = dict(
    checkpoint=dict(type='mmdla.CheckpointHook'), finite_loss=dict(type='mmdla.FiniteLossHook'))
