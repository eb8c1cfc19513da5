"""The queue of tasks behaves as Python's ordered dictionary."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from procjob.pool.queue import TaskQueue

_steps = st.lists(st.tuples(st.sampled_from(["add", "swap", "pop", "remove", "put back", "first"]), st.integers(0, 30)))


@given(_steps)
def test_it_is_an_ordered_dictionary_of_ascending_ids(steps):
    queue, model, taken, last = TaskQueue(), OrderedDict(), [], 0
    for step, choice in steps:
        if step == "add":
            last += 1 + choice % 3
            queue.add(last, f"task {last}")
            model[last] = f"task {last}"
        elif step == "swap":  # two threads submit at once: the later id comes first
            for task_id in (last + 2, last + 1):
                queue.add(task_id, f"task {task_id}")
            for task_id in (last + 1, last + 2):
                model[task_id] = f"task {task_id}"
            last += 2
        elif step == "pop" and model:
            taken.append(queue.pop())
            assert taken[-1] == model.popitem(last=False)[1]
        elif step == "remove":
            assert queue.remove(choice) == model.pop(choice, None)
        elif step == "put back" and taken:
            task = taken.pop(choice % len(taken))
            task_id = int(task.split()[1])
            queue.put_back(task_id, task)
            model[task_id] = task
            model.move_to_end(task_id, last=False)
        elif step == "first" and model:
            assert queue.first() == next(iter(model.values()))
        assert len(queue) == len(model)
        assert list(queue) == list(model)
    assert queue.clear() == list(model.values())
    assert not queue
