class UserError(ValueError):
    """A mistake in the input that its message explains in one sentence.

    The tools print the message alone, without a traceback, and exit with 1.
    """
