from typing import Callable, NamedTuple, Optional


class Case(NamedTuple):
    """A bad input and what its user must read.

    Attributes:
        name: Unique.
        tool: Path below tools/.
        arguments: As in a shell, with {NAMES} of test_bad_inputs.py's ``inputs``; {SCRATCH} is an
            empty folder of this case.
        words: A part of the one sentence.
        make: Makes the input; called with the inputs.
        environment: Variables to set, with {NAMES} too.
        code: Exit status.
    """

    name: str
    tool: str
    arguments: str
    words: str
    make: Optional[Callable] = None
    environment: dict = {}
    code: int = 1
