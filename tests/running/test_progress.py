"""The progress bar: of the run, not of the trace; one a run; throttled; nothing when off."""

import threading
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tqdm import auto

import edmjax as ej
from edmjax import samplers as s
from edmjax._common.progress import MAX_CALLBACKS, _open
from edmjax.running import one_plan


class Bar(auto.tqdm):
    """A tqdm bar that remembers what was done to it."""

    made: typing.ClassVar[list] = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.updates, self.closed = [], False
        Bar.made.append(self)

    def update(self, n=1):
        self.updates.append(n)
        return super().update(n)

    def close(self):
        self.closed = True
        super().close()


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr(auto, "tqdm", Bar)
    Bar.made = []
    yield Bar.made
    _open.clear()


def denoise(x, sigma):
    return 0.5 * x


def run(n=30, function=denoise, **options):
    plan = ej.make_plan(s.euler(), ej.schedules.karras(n))
    out = ej.sample(function, plan, jnp.ones((4, 2)), progress=True, **options)
    jax.block_until_ready(out)
    jax.effects_barrier()
    return out


def check(bar, total):
    assert bar.closed and bar.total == total and bar.n == total
    assert len(bar.updates) <= MAX_CALLBACKS - 1  # and one that numbers the run


@pytest.mark.parametrize("n", [1, 2, 47, 48, 49, 50, 51, 97, 1000])
def test_a_bar_a_run_with_few_callbacks(bars, n):
    run(n)
    assert len(bars) == 1
    check(bars[0], n)


def test_the_second_call_of_a_compiled_function_has_its_own_bar(bars):
    plan = ej.make_plan(s.heun(), ej.schedules.karras(9))
    compiled = jax.jit(lambda plan, x: ej.sample(denoise, plan, x, progress=True))
    for calls in (1, 2, 3):
        jax.block_until_ready(compiled(plan, jnp.ones((2, 2))))
        jax.effects_barrier()
        assert len(bars) == calls
        check(bars[-1], 17)
    assert compiled._cache_size() == 1


def test_two_calls_at_once_have_a_bar_each(bars):
    plan = ej.make_plan(s.euler(), ej.schedules.karras(40))
    together = threading.Barrier(2, timeout=30)

    def slow(x, sigma):
        jax.debug.callback(lambda: None)
        return 0.5 * x

    compiled = jax.jit(lambda plan, x: ej.sample(slow, plan, x, progress=True))

    def call():
        together.wait()
        jax.block_until_ready(compiled(plan, jnp.ones((2, 2))))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jax.effects_barrier()
    assert len(bars) == 2
    for bar in bars:
        check(bar, 40)


def test_after_an_exception_the_next_bar_is_fresh(bars):
    count = [0]

    def fail():
        count[0] += 1
        if count[0] == 10:
            raise RuntimeError("the network broke")
        return np.float32(0.5)

    def breaking(x, sigma):
        return jax.experimental.io_callback(fail, jax.ShapeDtypeStruct((), jnp.float32)) * x

    with pytest.raises(Exception, match="the network broke"):
        run(20, breaking)
    first = len(bars)
    run(20)
    assert len(bars) == first + 1
    check(bars[-1], 20)


@pytest.mark.thorough
def test_one_bar_under_vmap_and_grad_and_on_a_mesh(bars):
    plan = ej.make_plan(s.ddpm(), ej.schedules.karras(7))
    x, keys = jnp.ones((4, 2)), ej.sample_keys(jax.random.key(0), 4)

    def one(x, key):
        return ej.sample(denoise, plan, x, key, batched=False, progress=True)

    def total(x):
        return ej.sample(denoise, plan, x, keys, progress=True, remat=True).sum()

    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    runs = [
        lambda: jax.vmap(one)(x, keys),
        lambda: jax.jit(jax.vmap(one))(x, keys),
        lambda: jax.jit(jax.grad(total))(x),
        lambda: jax.jit(lambda x: ej.sample(denoise, plan, x, keys, progress=True))(spread),
    ]
    for number, make in enumerate(runs, start=1):
        jax.block_until_ready(make())
        jax.effects_barrier()
        assert len(bars) == number
        check(bars[-1], 7)


def test_the_bar_changes_no_value():
    plan = ej.make_plan(s.euler(), ej.schedules.karras(30))
    np.testing.assert_array_equal(run(30), ej.sample(denoise, plan, jnp.ones((4, 2))))


def test_without_a_bar_the_program_is_unchanged(monkeypatch):
    """Not a word of it: the text is the same where the bar's module does not even work."""
    plan = ej.make_plan(s.heun(), ej.schedules.karras(9))

    def text(**options):
        run = jax.jit(lambda plan, x: ej.sample(denoise, plan, x, **options))
        return run.lower(plan, jnp.ones((2, 2))).as_text()

    plain = text()
    assert "callback" not in plain and "callback" in text(progress=True)
    monkeypatch.setattr(one_plan, "start_bar", None)
    monkeypatch.setattr(one_plan, "tick_bar", None)
    assert text(progress=False) == plain


def test_a_missing_tqdm_gets_a_sentence(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("tqdm"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install tqdm"):
        run()
