"""The page that a worker shares with its parent."""

import os

from procjob.pool.mark import Mark, make_page


def test_a_worker_that_has_come_up_stays_up_while_an_attempt_is_marked():
    fd = make_page()
    mark = Mark(fd)
    os.close(fd)
    assert not mark.is_up()
    mark.come_up()
    assert mark.is_up()
    mark.set(0, 0)  # what the other process sees in the midst of each: `struct` clears what it is about to write
    assert mark.is_up()
