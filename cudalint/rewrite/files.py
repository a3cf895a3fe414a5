"""Writing a file so that nothing is lost: a new file beside it, then one rename."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile


def write(path: str, data: bytes) -> None:
    """Replace the content of `path`, keeping its mode; a symbolic link keeps pointing there."""
    target = os.path.realpath(path)
    mode = stat.S_IMODE(os.stat(target).st_mode)
    folder, name = os.path.split(target)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
