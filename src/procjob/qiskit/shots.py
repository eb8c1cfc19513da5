"""Cut the shots of an experiment into blocks, and merge what comes of them.

Block 0 has the seed of the experiment, so that a run of one block is the undivided run. Block ``k`` has the first 31 bits
of ``numpy.random.SeedSequence(seed_simulator, spawn_key=(k,)).generate_state(1)`` in its place. So the counts depend on
the seed, the number of shots and the size of the blocks, not on the workers.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.result.models import ExperimentResult, ExperimentResultData


def sizes(shots: int, largest: int | None) -> list[int]:
    """Return the shots of each block, ``largest`` in each but the last."""
    if largest is None or shots <= largest:
        return [shots]
    rest = shots % largest
    return [largest] * (shots // largest) + ([rest] if rest else [])


def seed_of(seed: int, block: int) -> int:
    """Return the ``seed_simulator`` of a block of a run with this one."""
    if block == 0:
        return seed
    return int(np.random.SeedSequence(abs(seed), spawn_key=(block,)).generate_state(1)[0] >> 1)


def merge(blocks: Sequence[ExperimentResult]) -> ExperimentResult:
    """Return the experiment of which these are the blocks: counts added, memory in order."""
    if len(blocks) == 1:
        return blocks[0]
    data: dict[str, Any] = {}
    if any(hasattr(block.data, "counts") for block in blocks):
        counts: Counter[str] = Counter()
        for block in blocks:
            counts.update(getattr(block.data, "counts", {}))
        data["counts"] = dict(counts)
    if any(hasattr(block.data, "memory") for block in blocks):
        data["memory"] = [outcome for block in blocks for outcome in getattr(block.data, "memory", ())]
    merged = copy.copy(blocks[0])  # with what this version of Qiskit keeps besides
    merged._metadata = dict(merged._metadata)
    merged.shots, merged.data = sum(block.shots for block in blocks), ExperimentResultData(**data)
    if "time_taken" in merged._metadata:
        merged._metadata["time_taken"] = sum(block._metadata.get("time_taken", 0) for block in blocks)
    failed = next((block for block in blocks if not block.success), None)
    if failed is not None:
        merged.success = False
        merged.status = f"only {merged.shots} shots; the others: {failed.status}" if merged.shots else failed.status
    return merged
