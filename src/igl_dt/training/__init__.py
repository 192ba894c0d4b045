"""The one training loop, and what it stands on."""

STOPPED = 130
"""Exit status of a command whose training Ctrl-C or SIGTERM has stopped, its state saved; shells have it for Ctrl-C."""
