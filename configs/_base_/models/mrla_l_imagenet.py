_base_ = 'resnet_imagenet.py'

# the authors' start: gammas of one
model = dict(backbone=dict(type='mmdla.MRLAResNet', attention_init='one'))
