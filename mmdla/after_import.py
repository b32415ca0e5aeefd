"""What is to be done once another package is imported, without importing it."""
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from typing import Callable, Dict

WAITING: Dict[str, Callable] = {}


class Finder(MetaPathFinder):
    """Has the modules in ``WAITING`` found as usual, and the function called with them."""

    def find_spec(self, name: str, path=None, target=None):
        action = WAITING.pop(name, None)  # the next line asks all finders, this one too
        spec = importlib.util.find_spec(name) if action else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module) -> None:
            execute(module)
            action(module)

        spec.loader.exec_module = exec_module
        return spec


FINDER = Finder()


def after_import(name: str, action: Callable) -> None:
    """Call ``action(module)`` as soon as a module is imported: now, if it is already."""
    if name in sys.modules:
        action(sys.modules[name])
        return
    WAITING[name] = action
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
