"""Where the tape records: per thread, whatever the order in which threads come and go."""

from __future__ import annotations

import threading

import minigrad as mg


def test_a_decorated_function_in_two_threads_leaves_each_its_own_mode() -> None:
    in_a, in_b, a_is_out = threading.Event(), threading.Event(), threading.Event()
    after: dict[str, bool] = {}

    @mg.no_grad()
    def inside(entered: threading.Event, leave: threading.Event) -> bool:
        entered.set()
        assert leave.wait(10)
        return mg.is_grad_enabled()

    def a() -> None:
        assert not inside(in_a, in_b)
        after["a"] = mg.is_grad_enabled()
        a_is_out.set()

    def b() -> None:
        with mg.no_grad():
            assert in_a.wait(10)
            assert not inside(in_b, a_is_out)
            after["b"] = mg.is_grad_enabled()

    threads = [threading.Thread(target=run) for run in (a, b)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert after == {"a": True, "b": False}


def test_a_decorated_function_may_call_itself() -> None:
    @mg.no_grad()
    def down(n: int) -> bool:
        return mg.is_grad_enabled() if n == 0 else down(n - 1)

    assert not down(3)
    assert mg.is_grad_enabled()
