"""A condition of one entry is shared by all samples: each call gives what a repeated one gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial
from support.helpers import over

import edmjax as ej
from edmjax import samplers as s
from edmjax.nn.embeddings import Conditioning

KEY = jax.random.key(1)
N, LENGTH, WIDTH = 6, 7, 5
X = 8.0 * jax.random.normal(KEY, (N, 3))
PROMPT = np.asarray(0.3 * jax.random.normal(jax.random.key(2), (1, LENGTH, WIDTH)))
PLAN = ej.make_plan(s.euler(), ej.schedules.karras(5, 0.1, 8.0))


def net(x, c_noise, cond):
    return jnp.tanh(x + jnp.sum(cond["prompt"], (1, 2))[:, None]) + cond["label"][:, None]


DENOISE = ej.denoisers.edm(net)
SHARED = {"prompt": PROMPT, "label": np.linspace(-1, 1, N, dtype=np.float32)}
EACH = SHARED | {"prompt": np.repeat(PROMPT, N, axis=0)}
SMALL, ENDS = {"rtol": 1e-2, "atol": 1e-2}, {"sigma_max": 8.0, "sigma_min": 0.1}
CALLS = {
    "sample": lambda cond: ej.sample(DENOISE, PLAN, X, KEY, cond=cond),
    "trajectory": lambda cond: ej.trajectory(DENOISE, PLAN, X, KEY, cond=cond),
    "sweep": lambda cond: ej.sweep(DENOISE, [PLAN], X, KEY, cond=cond),
    "until": lambda cond: ej.sample_until(DENOISE, PLAN, X, KEY, cond=cond, stop=3).x,
    "checked": lambda cond: ej.sample_checked(DENOISE, PLAN, X, KEY, cond=cond)[0],
    "chunks": lambda cond: ej.sample_in_chunks(
        DENOISE, PLAN, KEY, num_samples=N, chunk_size=4, cond=cond,
        shape=jax.ShapeDtypeStruct((3,), jnp.float32),
    ),
    "adaptive": lambda cond: ej.adaptive.sample(
        DENOISE, ej.adaptive.multistep(**SMALL), X, cond=cond, **ENDS
    )[0],
    "terms": lambda cond: ej.terms.adaptive_sample(DENOISE, X, cond=cond, **ENDS, **SMALL)[0],
    "terms, one state": lambda cond: ej.terms.adaptive_sample(
        DENOISE, X, cond=cond, per_sample=False, **ENDS, **SMALL
    )[0],
    "likelihood": lambda cond: ej.likelihood.log_likelihood(
        DENOISE, X / 8, cond=cond, **ENDS, **SMALL
    ),
    "encode": lambda cond: ej.likelihood.encode(DENOISE, X / 8, cond=cond, **ENDS, **SMALL),
}  # fmt: skip


SLOW = {"encode", "terms, one state"}


@pytest.mark.parametrize("name", over(CALLS, ("sample", "chunks"), CALLS.keys() - SLOW))
def test_one_condition_for_all_is_that_condition_for_each(name):
    shared, each = CALLS[name](SHARED), CALLS[name](EACH)
    for a, b in zip(jax.tree.leaves(shared), jax.tree.leaves(each), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_it_is_not_copied():
    text = str(
        jax.make_jaxpr(lambda x, cond: ej.sample(DENOISE, PLAN, x, KEY, cond=cond))(X, SHARED)
    )
    assert f"[{N},{LENGTH},{WIDTH}]" not in text
    repeated = jax.make_jaxpr(lambda x, cond: ej.sample(DENOISE, PLAN, x, KEY, cond=cond))(X, EACH)
    assert f"[{N},{LENGTH},{WIDTH}]" in str(repeated)


@pytest.mark.parametrize("one_call", [True, False])
def test_guidance(one_call):
    """Every way to write one negative prompt."""

    def run(cond, uncond):
        guided = ej.guidance.classifier_free(DENOISE, 3.0, uncond=uncond, one_call=one_call)
        return guided(X, 1.0, cond)

    label = np.zeros(N, np.float32)
    want = run(EACH, {"prompt": 0 * EACH["prompt"], "label": label})
    prompts, labels = (0 * PROMPT, 0 * PROMPT[0], 0 * EACH["prompt"]), (label[0], label, label[:1])
    for prompt, none in zip(prompts, labels, strict=True):
        for cond in (SHARED, EACH):
            got = run(cond, {"prompt": prompt, "label": none})
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)


def test_a_negative_prompt_of_another_length():
    cond, short = SHARED, {"prompt": np.zeros((1, 2, WIDTH), np.float32), "label": np.float32(0)}
    # The network sums over a prompt, so zeros of any length are the same.
    want = ej.guidance.classifier_free(
        DENOISE, 3.0, uncond={"prompt": 0 * PROMPT, "label": np.float32(0)}
    )(X, 1.0, cond)
    for prompt in (short["prompt"], short["prompt"][0]):
        uncond = short | {"prompt": prompt}
        guided = ej.guidance.classifier_free(DENOISE, 3.0, uncond=uncond, one_call=False)
        np.testing.assert_allclose(guided(X, 1.0, cond), want, rtol=0, atol=2e-6)
        with pytest.raises(ValueError, match="one_call=False"):
            ej.guidance.classifier_free(DENOISE, 3.0, uncond=uncond)(X, 1.0, cond)


def test_numbers_and_lists_of_numbers():
    # Data, so that runs of equal dtypes are one program.
    net = Partial(lambda scale, x, c, y: jnp.tanh(x) + scale * y[:, None], jnp.float32(0.1))
    denoise, plan = ej.denoisers.edm(net), PLAN
    for given, meant in (
        (2, np.full(N, 2)),
        (True, np.full(N, True)),
        ([0, 1, 2, 3, 4, 5], range(N)),
    ):
        got = ej.sample(denoise, plan, X, cond=given)
        want = ej.sample(denoise, plan, X, cond=np.asarray(meant))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"counts the 6 samples.*\(2,\)"):
        ej.sample(denoise, plan, X, cond=[1, 2])


def test_labels_of_the_networks_of_the_package():
    made = nnx.eval_shape(lambda: Conditioning(4, 1.0, 3, rngs=nnx.Rngs(0)))  # in each of them
    arrays = jax.tree.map(lambda v: np.arange(v.size, dtype=v.dtype).reshape(v.shape) / v.size,
                          nnx.state(made))  # fmt: skip
    layer = nnx.merge(nnx.graphdef(made), arrays)
    got = layer(N, jnp.float32(0.1), jnp.array([1]))
    np.testing.assert_array_equal(got, layer(N, jnp.float32(0.1), jnp.full(N, 1)))


@pytest.mark.slow
def test_a_fit():
    denoise = ej.denoisers.edm(net)
    x = 8.0 * jax.random.normal(KEY, (96, 3))
    label = np.zeros(96, np.float32)
    fits = [
        ej.learning.fit_plan(
            denoise, 4, x, KEY, sigma_min=0.1, sigma_max=8.0, cond={"prompt": p, "label": label}
        )
        for p in (PROMPT, np.repeat(PROMPT, 96, axis=0))
    ]
    np.testing.assert_allclose(fits[0].d, fits[1].d, rtol=0, atol=1e-3)
