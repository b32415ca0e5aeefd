_base_ = 'resnet_cifar.py'

# the authors' start: gammas of one
model = dict(
    backbone=dict(type='mmdla.MRLAResNet', attention_drop_path=0.2, attention_init='one'))
