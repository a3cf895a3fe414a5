"""What can go wrong for a person: one class a person can act on, and nothing that is our own bug."""


class UsageError(Exception):
    """The program could not do its work: says what, where and what is accepted. Exit code 2."""
