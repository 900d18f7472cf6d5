"""The command line: ``rpn-target COMMAND``, or ``python -m rpn_target COMMAND``.

`main` parses the arguments. Every subcommand is a module with ``HELP`` (one line),
``DESCRIPTION`` (what it does, with an example), ``configure(parser)``, which adds its arguments,
and ``run(arguments) -> int``, which does the work and returns the exit status.
"""
