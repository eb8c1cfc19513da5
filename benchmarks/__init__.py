"""Every figure that procjob is measured by, side by side with each peer that can do the same: `python -m benchmarks`."""
