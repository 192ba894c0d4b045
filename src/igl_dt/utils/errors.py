"""Errors with a message for the user, and others."""

import traceback


def is_ours(error: BaseException) -> bool:
    """Tell whether an error is of a kind of this project's, or a ValueError or OSError that its code raised."""
    if type(error).__module__.startswith("igl_dt."):
        return True
    if getattr(error, "__notes__", ()):  # raised again, with the traceback from another process as a note
        return False
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, (ValueError, OSError)) and bool(modules) and modules[-1].startswith("igl_dt.")
