from typing import NamedTuple, Tuple


class Fault(NamedTuple):
    """One line changed, and the tests that should notice it."""

    name: str
    file: str  # or a folder, for the one file in it that has the text
    old: str
    new: str
    tests: Tuple[str, str]  # a file, and which of its tests, as for pytest's -k

    @property
    def compiled(self) -> bool:
        return 'csrc' in self.file
