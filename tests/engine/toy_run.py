"""A run of mmengine that takes a tenth of a second."""
import torch
from mmengine.model import BaseModel
from torch.utils.data import DataLoader


class Toy(BaseModel):
    """Four numbers that learn to be the mean of the data; ``bad`` iterations have a loss of NaN."""

    def __init__(self, bad=()):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.bad, self.calls = bad, 0

    def forward(self, inputs, mode='tensor'):
        if mode != 'loss':
            return [float(self.weight.sum())]
        self.calls += 1
        scale = float('nan') if self.calls in self.bad else 1.0
        return dict(loss=((self.weight - inputs) ** 2).mean() * scale)


SCHEDULES = dict(MultiStepLR=dict(milestones=[2]), OneCycleLR=dict(eta_max=0.1, total_steps=4))


def images(count):
    return [dict(inputs=row) for row in torch.arange(4.0 * count).view(count, 4)]


def run(runner_class, work_dir, epochs=4, model=None, load_from=None, resume=False, lr=0.1, count=6,
        schedule='MultiStepLR', **hook):
    data = images(count)
    hooks = dict(checkpoint={'type': 'mmdla.CheckpointHook', **hook})
    runner = runner_class(
        model or Toy(), str(work_dir), train_dataloader=DataLoader(data, batch_size=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9)),
        param_scheduler=dict(type=schedule, by_epoch=True, **SCHEDULES[schedule]),
        train_cfg=dict(by_epoch=True, max_epochs=epochs), default_hooks=hooks, load_from=load_from,
        resume=resume, default_scope='mmengine', randomness=dict(seed=0),
        experiment_name=f'toy_{work_dir.name}_{epochs}_{resume}',
        cfg=dict(train_cfg=dict(by_epoch=True, max_epochs=epochs),
                 param_scheduler=dict(type=schedule), optim_wrapper=dict(optimizer=dict(lr=lr))))
    runner.train()
    return runner
