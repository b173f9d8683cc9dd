"""`python -m jupyter_batch.server`: the same as `jupyter batch serve`."""

import sys

from jupyter_batch.server.serve import main

sys.exit(main())
