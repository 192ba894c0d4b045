"""Who may end a process, where several belong together."""

import os
import signal
import threading


def obey_only(process: int) -> None:
    """Leave Ctrl-C and SIGTERM to another process, whose own SIGTERM alone ends this one.

    Terminals and job schedulers send signals to whole groups of processes: the one that was started then ends the
    others when it no longer needs them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_await_end, args=(process,), daemon=True).start()


def _await_end(process: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != process:
        pass
    os._exit(0)
