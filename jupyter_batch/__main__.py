"""`python -m jupyter_batch`: the command line, where the `jupyter` command is not on the path."""

import sys

from jupyter_batch.cli import main

sys.exit(main())
