_base_ = 'mrla_l_imagenet.py'

# the authors' base form has 16 channels a head and a stem of three 3x3 convolutions
model = dict(backbone=dict(variant='base', dim_per_head=16, deep_stem=True))
