"""Why a fused call cannot stand for a match."""


class Unfit(Exception):
    """The fused function does not compute what was found; the message says why, in one clause."""
