"""`python -m gqlwire` runs the command `gqlwire`."""

import sys

from gqlwire.cli import main

if __name__ == "__main__":
    sys.exit(main())
