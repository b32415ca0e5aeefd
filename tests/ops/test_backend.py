"""use() holds for its own thread alone."""
import threading

import torch

from mmdla.ops import use
from mmdla.ops.backend import implementation

MAP = torch.rand(1, 2, 3, 3)


def test_another_thread_goes_on_as_it_was():
    usual, seen = implementation(MAP), []
    assert usual != 'reference'
    with use('reference'):
        thread = threading.Thread(target=lambda: seen.append(implementation(MAP)))
        thread.start()
        thread.join()
        assert implementation(MAP) == 'reference' and seen == [usual]
    assert implementation(MAP) == usual


def test_two_threads_leave_in_the_order_they_came():
    """The first leaves its context while the second is inside its own."""
    usual, seen = implementation(MAP), {}
    inside, left = threading.Barrier(2, timeout=10), threading.Event()

    def first():
        with use('reference'):
            inside.wait()
            seen['first'] = implementation(MAP)
        left.set()

    def second():
        with use('folded'):
            inside.wait()
            left.wait(timeout=10)
            seen['second'] = implementation(MAP)

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == dict(first='reference', second='folded') and implementation(MAP) == usual
