"""The killable process pool: wire format, worker, scheduler and the executor around them.

It is made of POSIX parts: signals, non-blocking pipes, process trees. On Linux it also uses pidfds and the parent-death
signal; macOS takes the paths without them, which are untested.
"""

import sys

if sys.platform == "win32":
    raise ImportError("procjob needs a POSIX system: its workers are stopped by signals. On Windows, use it in WSL")
