"""What a training step keeps for its backward pass, and images that a network cannot take."""
from contextlib import contextmanager
from typing import Iterator

import torch
from torch import Tensor, nn

from mmdla.errors import UserError, reason


@contextmanager
def suited(what: str) -> Iterator[None]:
    """A context in which PyTorch's errors mean that images are too large for the memory, or too small.

    Args:
        what (str): Network and images, for the sentence.

    Raises:
        UserError: For such an error.
    """
    try:
        yield
    except UserError:
        raise
    except (RuntimeError, ValueError) as error:
        raise UserError(f'{what} cannot be computed ({reason(error)}): choose another size or '
                        'number.') from error


def saved_bytes(backbone: nn.Module, images: Tensor) -> int:
    """Bytes that autograd keeps of ``backbone(images)``, images (B, 3, H, W).

    The storage of every tensor that it saves, each storage once, without parameters and images.
    """
    given = (*backbone.parameters(), *backbone.buffers(), images)
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    storages = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = backbone(images)
    total = sum(storages.values())
    del outputs
    return total
