"""`python -m hooks.match`: the matcher's command line; see hooks/matcher/command.py."""

import sys

from .matcher.command import main

if __name__ == "__main__":
    sys.exit(main())
