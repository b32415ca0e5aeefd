class UserError(ValueError):
    """A mistake in the input that its message explains in one sentence.

    The tools print the message alone, without a traceback, and exit with 1.
    """


def choose(name: str, value, options: dict):
    """``options[value]``, or one sentence that lists the options."""
    if value not in options:
        raise UserError(f'{name} must be one of {", ".join(map(repr, options))}; got {value!r}.')
    return options[value]
