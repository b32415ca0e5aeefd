_base_ = 'faster_rcnn_dla_l50_1x_coco.py'

# at step 0 the backbone computes what torchvision's ResNet-50 computes; stage 1, which this recipe
# freezes, stays without layer attention
model = dict(
    backbone=dict(attention_init='zero', init_cfg=dict(checkpoint='torchvision://resnet50')))
