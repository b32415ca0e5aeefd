"""A naming of a network's tensors, and how to get from it to the host's."""
import re
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, Optional, Tuple, Union

from torch import Tensor

Tensors = Dict[str, Tensor]
Replacement = Union[str, Callable[[re.Match], str]]


@dataclass(frozen=True)
class Naming:
    """Another library's names for the tensors of one of the hosts' backbones.

    Tensors that neither ``dropped`` nor a rule knows keep their names, so that a strict loader lists
    them.

    Args:
        name (str): Whose naming it is.
        marks (tuple[str]): Regular expressions. Each is found in some name of a state dict in this
            naming, and not all of them in one that has the host's names.
        rules (tuple[tuple]): Pairs of a regular expression and what replaces it (as in :func:`re.sub`),
            applied to each name in this order.
        dropped (str, optional): Regular expression for the starts of names that the host lacks: the
            classifier, and what is computed anyway.
        convert (Callable, optional): Changes the renamed tensors as a whole: shapes, orders, and
            names that depend on other tensors.
    """
    name: str
    marks: Tuple[str, ...]
    rules: Tuple[Tuple[str, Replacement], ...] = ()
    dropped: Optional[str] = None
    convert: Optional[Callable[[Tensors], Tensors]] = None

    def fits(self, tensors: Iterable[str]) -> bool:
        """Whether the names are in this naming."""
        return all(any(re.search(mark, name) for name in tensors) for mark in self.marks)

    def rename(self, name: str) -> str:
        """A name after all rules."""
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name

    def apply(self, tensors: Tensors) -> Tensors:
        """The tensors under the host's names and in its shapes; the given dict stays as it is."""
        renamed = {self.rename(name): value for name, value in tensors.items()
                   if not (self.dropped and re.match(self.dropped, name))}
        return self.convert(renamed) if self.convert else renamed


def present(tensors: Tensors, namings: Iterable[Naming]) -> Tuple[Tensors, Optional[str]]:
    """A state dict in the host's names.

    Args:
        tensors (dict): Of a backbone or classifier, without a prefix.
        namings (Iterable[Naming]): Of the backbone's class; the first that fits is applied.

    Returns:
        tuple: The tensors and the name of the naming that they had. Where none fits, the tensors as
        they were given, and None.
    """
    for naming in namings:
        if naming.fits(tensors):
            return naming.apply(tensors), naming.name
    return tensors, None


def highest(tensors: Iterable[str], pattern: str) -> int:
    """The highest number that the first group of a pattern matches at the start of a name."""
    return max((int(match[1]) for name in tensors if (match := re.match(pattern, name))), default=0)
