_base_ = 'mmdet::_base_/default_runtime.py'

# registers the backbones and, where mmcv has no compiled operators, torchvision's in their place
custom_imports = dict(imports=['mmdla'])
