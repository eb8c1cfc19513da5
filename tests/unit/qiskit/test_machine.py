"""The memory granted is that of the control groups of the process, where there are any."""

from __future__ import annotations

import psutil
import pytest

from procjob.qiskit.machine import cgroup_limits, megabytes_granted

GIB = 2**30


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, []),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{4 * GIB}\n"}, [4 * GIB]),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, []),
        (
            {
                "proc/self/cgroup": "0::/slurm/job_7/step_0\n",
                "sys/fs/cgroup/slurm/job_7/step_0/memory.max": "max\n",
                "sys/fs/cgroup/slurm/job_7/memory.max": f"{8 * GIB}\n",
                "sys/fs/cgroup/memory.max": f"{16 * GIB}\n",
            },
            [8 * GIB, 16 * GIB],
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n1:name=systemd:/a:b\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1/memory.limit_in_bytes": "5\n",
            },
            [GIB],
        ),
    ],
    ids=["no cgroups", "container", "container without a limit", "batch job", "version 1"],
)
def test_limits_of_the_group_and_those_above_it_are_found(files, limits, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(cgroup_limits(tmp_path)) == limits


def test_no_more_is_granted_than_the_machine_has():
    assert 0 < megabytes_granted() <= psutil.virtual_memory().total // 2**20
