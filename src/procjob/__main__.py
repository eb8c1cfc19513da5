"""``python -m procjob``: the same as ``procjob``."""

from __future__ import annotations

import sys

from procjob.cli import main

if __name__ == "__main__":
    sys.exit(main())
