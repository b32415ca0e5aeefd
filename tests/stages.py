"""A stage of a network with its attention, as one module."""
from torch import nn


class Stage(nn.Module):
    """Stage ``index`` of a ResNet; as a sequence it holds the blocks."""

    def __init__(self, model, index):
        super().__init__()
        self.blocks, self.attention = model.stages[index], model.attention[index]
        self.scan, self.step = self.blocks.scan, self.blocks.step

    def __len__(self):
        return len(self.blocks)

    def __getitem__(self, index):
        return self.blocks[index]

    def forward(self, x):
        return self.scan(x)[0]
