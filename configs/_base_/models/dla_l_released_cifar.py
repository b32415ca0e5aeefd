_base_ = 'dla_l_cifar.py'

# the form that the released code runs and that the paper counts
model = dict(backbone=dict(context_unit=dict(gates='split')))
