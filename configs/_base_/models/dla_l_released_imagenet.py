_base_ = 'dla_l_imagenet.py'

# the form that the released code runs; 47.8M with depth 101, as the paper prints
model = dict(backbone=dict(context_unit=dict(gates='split', reduction=16)))
