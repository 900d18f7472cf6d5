"""``python -m rpn_target``: see `rpn_target.cli.main`."""

import sys

from .cli.main import main

sys.exit(main())
