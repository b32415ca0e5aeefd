"""Configs and settings that are wrong."""
import json

from .case import Case


def config(text):
    def make(inputs):
        (inputs.SCRATCH / 'config.py').write_text(text.format(**vars(inputs)))
    return make


def file(name, text):
    return lambda inputs: (inputs.SCRATCH / name).write_text(text)


BASE = "_base_ = '{ROOT}/{DET}'\n"
CLS_BASE = "_base_ = '{ROOT}/{CLS}'\n"
TRAIN = '--work-dir {SCRATCH}/w {FEW}'


def written(name, text, words, tool='train.py', arguments='{SCRATCH}/config.py ' + TRAIN):
    return Case(name, tool, arguments, words, config(text))


def option(name, setting, words, code=1, config='{DET}'):
    return Case(name, 'train.py', f'{config} {TRAIN} {setting}', words, code=code)


CASES = [
    written('unknown argument', BASE + 'model = dict(backbone=dict(depht=18))', 'depht'),
    written('nearly a name of the runner', BASE + 'optim_wraper = dict(type="OptimWrapper")',
            'optim_wraper, which nothing reads: did you mean optim_wrapper?'),
    written('no config', 'x = 1', 'has no model=dict(...)'),
    written('empty', '', 'has no model=dict(...)'),
    written('empty, flops', '', 'has no model=dict(...)', 'analysis/get_flops.py',
            '{SCRATCH}/config.py'),
    written('empty, saved activations', '', 'has no model=dict(...)', 'analysis/saved_activations.py',
            '{SCRATCH}/config.py'),
    written('empty, inference', '', 'has no model=dict(...)', 'inference.py',
            '{SCRATCH}/config.py {DET_CKPT} {IMAGE} --out-dir {SCRATCH}/w'),
    Case('flops without a head', 'analysis/get_flops.py', 'configs/_base_/runtime.py',
         'has no model=dict(...)'),
    Case('detectron2', 'train.py', '{SCRATCH}/d2.yaml ' + TRAIN, 'has no model=dict(...)',
         file('d2.yaml', 'MODEL:\n  META_ARCHITECTURE: GeneralizedRCNN\n')),
    Case('yolov5', 'train.py', '{SCRATCH}/yolo.yaml ' + TRAIN, 'has no model=dict(...)',
         file('yolo.yaml', json.dumps(dict(nc=80, backbone=[[-1, 1, 'Conv', [64, 6, 2, 2]]])))),
    written('model is a number', 'model = 5', 'has no model=dict(...)'),
    written('work_dir is a number', BASE + 'work_dir = 5', 'work_dir=5 is no path',
            arguments='{SCRATCH}/config.py {FEW}'),
    written('unknown type', BASE + "model = dict(backbone=dict(type='mmdla.DLAResNet50'))",
            'mmdla.DLAResNet50 is not in the mmdet::model registry; did you mean mmdla.DLAResNet?'),
    written('type without its scope', BASE + "model = dict(backbone=dict(type='DLAResNet'))",
            'DLAResNet is not in the mmdet::model registry; did you mean mmdla.DLAResNet?'),
    option('typo at the top', 'optim_wraper.optimizer.lr=5',
           'there is no optim_wraper; did you mean optim_wrapper.optimizer.lr?'),
    option('typo of an argument of the optimizer', 'optim_wrapper.optimizer.lrr=5', 'lrr'),
    option('typo in the middle', 'optim_wrapper.optmizer.lr=5',
           'did you mean optim_wrapper.optimizer.lr?'),
    option('typo of epochs', 'train_cfg.max_epoch=2', 'did you mean train_cfg.max_epochs?'),
    option('typo of batch size', 'train_dataloader.batchsize=4',
           'did you mean train_dataloader.batch_size?'),
    option('typo of seed', 'randomness.sed=4', "unexpected keyword argument 'sed'"),
    option('seed at the top', 'seed=4', 'there is no seed; did you mean randomness.seed?'),
    option('epochs at the top', 'max_epochs=1', 'did you mean train_cfg.max_epochs?'),
    option('typo of an argument of the checkpoint hook', 'default_hooks.checkpoint.intervall=1',
           'did you mean default_hooks.checkpoint.interval?'),
    option('unknown argument of the checkpoint hook', 'default_hooks.checkpoint.every=1',
           'CheckpointHook has no argument every'),
    option('typo of a hook', 'default_hooks.checkpont.interval=1',
           'did you mean default_hooks.checkpoint.interval?'),
    option('hook without a type', 'default_hooks.mine.interval=1', 'default_hooks of the config'),
    option('unknown argument of the backbone', 'model.backbone.dim_per_heads=16', 'dim_per_heads'),
    option('typo of the backbone', 'model.backbon.depth=50', 'did you mean model.backbone.depth?'),
    option('typo of load_from', 'loadfrom={DET_CKPT}', 'there is no loadfrom; did you mean load_from?'),
    written('rate of attention by a constructor that reads none', BASE +
            "optim_wrapper = dict(constructor='mmdet.LearningRateDecayOptimizerConstructor', "
            "paramwise_cfg=dict(custom_keys={{'backbone.attention.': dict(lr_mult=10)}}))",
            'LearningRateDecayOptimizerConstructor does not read lr_mult of paramwise_cfg.custom_keys'),
    option('learning rate in words', 'optim_wrapper.optimizer.lr=abc', 'optim_wrapper of the config'),
    option('code as a learning rate', '"optim_wrapper.optimizer.lr=__import__(\'os\').getcwd()"',
           'optim_wrapper of the config'),
    option('negative learning rate', 'optim_wrapper.optimizer.lr=-1', 'Invalid learning rate: -1'),
    option('nan as a learning rate', 'optim_wrapper.optimizer.lr=nan', 'Invalid learning rate: nan'),
    option('batch of 0', 'train_dataloader.batch_size=0', 'batch_size=0'),
    option('batch in words', 'train_dataloader.batch_size=two', 'batch_size=two'),
    option('0 epochs', 'train_cfg.max_epochs=0', 'train_cfg.max_epochs=0'),
    option('-1 epochs', 'train_cfg.max_epochs=-1', 'train_cfg.max_epochs=-1'),
    option('option without =', 'optim_wrapper.optimizer.lr', 'is no KEY=VALUE', code=2),
    option('option without a key', '=5', 'is no KEY=VALUE', code=2),
    option('-1 workers', 'train_dataloader.num_workers=-1', 'num_workers'),
    option('mixed precision without a GPU', 'optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper'),
    option('base batch size in words', 'auto_scale_lr.base_batch_size=abc --auto-scale-lr',
           'base_batch_size', config='{CLS}'),
    Case('launcher without its environment', 'train.py', '{DET} --launcher pytorch ' + TRAIN,
         'tools/dist_train.sh starts (RANK is not in the environment)'),
    Case('work dir is a file', 'train.py', '{DET} --work-dir {SCRATCH}/file {FEW}', 'cannot be written',
         file('file', '')),
    Case('work dir in /proc', 'train.py', '{DET} --work-dir /proc/x {FEW}', '/proc/x cannot be written'),
    Case('work dir of a test in /proc', 'test.py', '{DET} {DET_CKPT} --work-dir /proc/x',
         '/proc/x cannot be written'),
    Case('dump of a test in /proc', 'test.py',
         '{DET} {DET_CKPT} --work-dir {SCRATCH}/w --out /proc/x.pkl', '/proc/x.pkl cannot be written'),
    Case('pictures of a test in /proc', 'test.py',
         '{DET} {DET_CKPT} --work-dir {SCRATCH}/w --show-dir /proc/x', '/proc/x cannot be written'),
    written('a string for a tuple of classes', BASE + "train_dataloader = dict(dataset=dict("
            "metainfo=dict(_delete_=True, classes=('pedestrian'))))", "('pedestrian', )"),
    written('one-hot labels of other classes', CLS_BASE + 'model = dict(head=dict(num_classes=5), '
            "data_preprocessor=dict(num_classes=7), train_cfg=dict(augments=[dict(type='Mixup')]))",
            'model.data_preprocessor.num_classes=7 and model.head.num_classes=5 differ'),
    written('a schedule that begins after the run', CLS_BASE + "param_scheduler = [dict("
            "type='LinearLR', end=20), dict(type='CosineAnnealingLR', begin=20)]",
            'param_scheduler.1 (CosineAnnealingLR) begins after 20 epochs and the run has 1'),
    option('places of curves in a text', "'visualizer.vis_backends=\"[dict(type=1)]\"'",
           'is no list of dicts, which an option cannot hold'),
    option('a backend without its package', 'visualizer.vis_backends.0.type=NeptuneVisBackend',
           'NeptuneVisBackend of visualizer.vis_backends needs the package neptune'),
    option('outputs of no stage', 'model.backbone.out_indices=4,', 'must be a tuple of stages, from 0'),
]
