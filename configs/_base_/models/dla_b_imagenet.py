_base_ = 'dla_l_imagenet.py'

model = dict(backbone=dict(variant='base', dim_per_head=16))
