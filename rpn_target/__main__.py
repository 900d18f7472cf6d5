"""``python -m rpn_target``: see `rpn_target.cli`."""

import sys

from .cli import main

sys.exit(main())
