"""`python -m recbole_lpo` is `recbole-lpo`."""

import sys

from recbole_lpo.cli import main

if __name__ == "__main__":
    sys.exit(main())
