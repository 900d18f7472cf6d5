"""How an example starts and ends: errors as one line, Ctrl-C and kill, the exit status."""

from __future__ import annotations

import os
import signal
import sys

from _options import UsageError, check

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # as shells number them


def answer(parser, run, argv=None):
    """Call `run` with the parsed arguments, and return the exit status."""
    options = parser.parse_args(argv)
    try:
        check(options)
        run(options)
    except UsageError as error:
        parser.error(str(error))
    except ModuleNotFoundError as error:
        parser.error(f"needs {error.name}; in the checkout, run: pip install '.[examples]'")
    except ImportError as error:
        parser.error(str(error))
    except FloatingPointError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _let_workers_be_killed():
    """Give forked processes the system's own handling of SIGTERM, also while they start.

    Python drops a signal that a forked process gets before it is back in Python, which takes a
    while with MXNet. A worker that was ended so early would wait for work, and its loader for it,
    forever. So the signal is held back meanwhile.
    """

    def hold():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def release():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def begin():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=begin)


def start(main):
    """Run `main` as the program."""
    # Ctrl-C ends the worker processes by itself; a plain kill does only if it unwinds the stack.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    _let_workers_be_killed()
    sys.exit(main())
