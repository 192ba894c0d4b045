"""The one training loop, and what it stands on."""

STOPPED = 130
"""Exit status of a command whose training Ctrl-C or SIGTERM has stopped, its state saved; shells have it for Ctrl-C."""
IN_USE = 75
"""Exit status of a command that was refused because another one trains the same run; sysexits.h: try again later."""
