from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.adapters.call_limits import CircuitBreaker, RateLimit


def test_a_minute_has_as_many_requests_as_it_may() -> None:
    limit = RateLimit(2, None)
    assert [limit.place(now, 10) for now in (0.0, 1.0, 2.0, 3.0, 130.0)] == [0.0, 1.0, 60.0, 61.0, 130.0]


def test_a_minute_has_as_many_tokens_as_it_may_and_a_larger_request_goes_alone() -> None:
    limit = RateLimit(None, 100)
    assert [limit.place(0.0, tokens) for tokens in (60, 40, 10, 500, 1)] == [0.0, 0.0, 60.0, 120.0, 180.0]


def test_what_the_endpoint_says_holds_for_everybody() -> None:
    limit = RateLimit(None, None)
    assert limit.place(5.0, 10) == 5.0
    limit.pause_until(9.0)
    limit.pause_until(7.0)
    assert [limit.place(now, 10) for now in (6.0, 12.0)] == [9.0, 12.0]


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 120)), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(50, 200),
)
def test_no_minute_is_ever_over_its_limits(asked: list[tuple[float, int]], requests: int, tokens: int) -> None:
    limit, now, given_ = RateLimit(requests, tokens), 0.0, []
    for pause, size in asked:
        now += pause
        given_.append((limit.place(now, size), size))
        assert given_[-1][0] >= now
    for start, _size in given_:
        inside = [size for moment, size in given_ if start <= moment < start + 60]
        assert len(inside) <= requests
        assert sum(inside) <= tokens or len(inside) == 1


def breaker() -> CircuitBreaker:
    return CircuitBreaker(threshold=3, rest_s=30, rests=2)


def test_failures_in_a_row_open_it_and_one_tries_after_the_rest() -> None:
    circuit = breaker()
    for now in (1.0, 2.0):
        circuit.failed(now)
    assert circuit.wait(2.0) == 0.0
    circuit.failed(3.0)
    circuit.failed(4.0)  # was in flight when it opened
    assert [circuit.wait(now) for now in (5.0, 33.0, 33.0)] == [28.0, 0.0, 3.0]
    circuit.succeeded()
    assert circuit.wait(34.0) == 0.0


def test_an_answer_between_failures_keeps_it_closed() -> None:
    circuit = breaker()
    for now in range(20):
        circuit.failed(now)
        circuit.failed(now)
        circuit.succeeded()
    assert circuit.wait(20.0) == 0.0


def test_after_its_rests_it_is_given_up() -> None:
    circuit = breaker()
    now = 0.0
    for _failure in range(3):
        circuit.failed(now)
    for _rest in range(2):
        assert not circuit.is_given_up
        now += 30
        assert circuit.wait(now) == 0.0
        circuit.failed(now)
    assert circuit.is_given_up
    assert circuit.wait(now + 1000) is None


def test_a_refusal_of_everything_gives_up_at_once() -> None:
    circuit = breaker()
    circuit.give_up()
    assert circuit.wait(0.0) is None
