"""The subcommands of ``rpn-target``, one module each.

A module here has ``HELP`` (one line), ``DESCRIPTION`` (what it does, with an example), a function
``configure(parser)`` that adds its arguments, and a function ``run(arguments) -> int`` that does
the work and returns the exit status.
"""
