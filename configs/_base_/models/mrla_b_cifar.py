_base_ = 'mrla_l_cifar.py'

model = dict(backbone=dict(variant='base', dim_per_head=32))
