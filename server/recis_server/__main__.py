"""`python -m recis_server`: the same as `recis-monitor`."""

import sys

from recis_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
