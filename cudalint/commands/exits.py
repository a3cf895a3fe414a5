"""The ways out of a command: 0 and 1 from itself, 2 for bad input, 130 for Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from cudalint.errors import UsageError

INTERRUPTED = 130


def exit_code(command: Callable[[], int]) -> int:
    """Run a command; whatever goes wrong is said on standard error and has its code."""
    try:
        return command()
    except UsageError as error:
        return _said(f"error: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has seen enough; the interpreter must not try to flush it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _said(f"error: {error}")
    except Exception:
        import traceback

        traceback.print_exc()
        return _said("error: this is a bug in cudalint, please report it")


def _said(message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    return 2
