"""Conditions: of which kind each is, what a network is given, and how it is hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edmjax import losses, training
from edmjax.training.data.conditions import Conditions

RNG = np.random.default_rng(0)
N = 40
VECTORS = RNG.normal(size=(N, 3))
IMAGES = RNG.integers(0, 255, (N, 8, 8, 3)).astype(np.uint8)


def standard(x, axes):
    return (x - x.mean(axes)) / x.std(axes)


@pytest.mark.parametrize(
    "x, cond, kind, shape",
    [
        (VECTORS, RNG.normal(2, 5, N), "vector", (1,)),
        (VECTORS, RNG.normal(2, 5, (N, 4)), "vector", (4,)),
        (VECTORS, RNG.normal(2, 5, (N, 6, 4)), "sequence", (6, 4)),
        (IMAGES, RNG.normal(2, 5, (N, 4, 4, 2)), "image", (4, 4, 2)),
        (IMAGES[..., 0], RNG.normal(2, 5, (N, 8, 8)), "image", (8, 8, 1)),
        (IMAGES, RNG.normal(2, 5, (N, 7, 5)), "sequence", (7, 5)),
        (IMAGES, {"vector": RNG.normal(size=(N, 2))}, "vector", (2,)),
    ],
)
def test_a_condition_is_of_the_kind_that_its_axes_say(x, cond, kind, shape):
    dataset = training.Dataset.of(x, cond=cond)
    assert dataset.conditions.shapes == {kind: shape}
    raw = np.asarray(cond[kind] if isinstance(cond, dict) else cond)
    wide = raw.reshape(N, *shape)
    expected = standard(wide, tuple(range(wide.ndim - 1)))
    np.testing.assert_allclose(dataset.cond[kind], expected, rtol=1e-4, atol=1e-5)
    # As JSON and back, and into the data's units.
    again = Conditions.stored(dataset.conditions.describe(), hides=False)
    np.testing.assert_array_equal(again.read(raw)[kind], dataset.cond[kind])
    back = again.to_data(dataset.cond)[kind]
    np.testing.assert_allclose(back.reshape(raw.shape), raw, rtol=1e-5, atol=1e-5)


def test_what_a_network_is_given():
    sequence, mask = RNG.normal(3, 2, (N, 5, 2)), RNG.random((N, 5)) < 0.7
    sequence[~mask] = np.nan  # what does not count may be anything
    cond = {"vector": VECTORS, "sequence": sequence, "mask": mask}
    dataset = training.Dataset.of(VECTORS, cond=cond).hiding(True)
    assert dataset.conditions.shapes == {"vector": (4,), "sequence": (5, 2)}
    labels = jnp.arange(N) % 3
    hidden = np.arange(N) % 2 == 0
    given = dataset.conditions.given(dataset.cond, labels, hidden)
    assert set(given) == {"label", "vector", "sequence", "mask"}
    vector = np.concatenate([standard(VECTORS, 0), np.ones((N, 1))], 1) * ~hidden[:, None]
    np.testing.assert_allclose(given["vector"], vector, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(given["mask"], mask & ~hidden[:, None])
    counted = sequence[mask]
    expected = (sequence - counted.mean(0)) / counted.std(0)
    np.testing.assert_allclose(given["sequence"][mask], expected[mask], rtol=1e-4, atol=1e-5)
    assert np.isfinite(given["sequence"]).all()
    read = dataset.conditions.read(cond)  # as the conditions of samples are
    jax.tree.map(np.testing.assert_array_equal, read, dataset.cond)
    # That of one sample which stands for none is that of a hidden one.
    none = dataset.conditions.hidden(3)
    assert none["label"] == 3 and not none["mask"].any()
    np.testing.assert_array_equal(none["vector"], np.zeros((1, 4)))


def test_one_kind_is_an_array_and_images_have_a_channel_more():
    images = RNG.normal(size=(N, 4, 4, 2))
    plain = training.Dataset.of(IMAGES, cond=images)
    assert plain.conditions.given(plain.cond).shape == (N, 4, 4, 2)
    hides = plain.hiding(True)
    given = hides.conditions.given(hides.cond, None, np.arange(N) < 1)
    assert given.shape == (N, 4, 4, 3) and not given[0].any()
    np.testing.assert_array_equal(given[1:, ..., -1], np.ones((N - 1, 4, 4)))
    other = hides.conditions.read(RNG.normal(size=(1, 2, 2, 2)))  # networks resize it
    assert other["image"].shape == (1, 2, 2, 2)


def test_conditions_and_classes_are_hidden_together_with_their_rates():
    dataset = training.Dataset.of(np.zeros((500, 2)) + RNG.normal(size=(500, 2)), cond=np.ones(500))
    dataset = dataset.hiding(True)

    def loss(net, params, x0, key, cond):
        return losses.PerSample(cond["label"] * 1.0, cond["vector"][:, -1], jnp.zeros(500))

    batch_loss = training.make_batch_loss(
        loss, dataset.scale, num_classes=4, label_dropout=0.1,
        conditions=dataset.conditions, cond_dropout=0.3,
    )  # fmt: skip
    examples = dataset.examples(labels=True, cond=True)._replace(labels=np.zeros(500, np.int32))
    label, there = [], []
    for step in range(40):
        each = batch_loss(None, {}, jax.random.key(0), step, examples)
        label.append(np.asarray(each.loss) == 4)
        there.append(np.asarray(each.sigma) == 1)
    label, there = np.ravel(label), np.ravel(there)
    assert abs(label.mean() - 0.1) < 0.01 and abs(there.mean() - 0.7) < 0.015
    assert not (label & there).any()  # without a class, without a condition too


@pytest.mark.parametrize(
    "cond, says",
    [
        (np.zeros((N - 1, 2)), "40 samples and 39 conditions"),
        (np.full((N, 2), np.nan), "must be finite, and"),
        ({"colour": np.zeros((N, 2))}, "a dictionary with the names vector, image"),
        ({}, "an empty one"),
        ({"vector": np.zeros((N, 2)), "mask": np.ones((N, 2))}, "no sequence that it could be of"),
        ({"sequence": np.zeros((N, 4, 2)), "mask": np.ones((N, 3), int)}, r"shape \(40, 4\), got"),
        (np.zeros((N, 2, 2, 2, 2)), "say what they are"),
        (np.array(["a"] * N), "must hold"),
    ],
)
def test_wrong_conditions_are_sentences(cond, says):
    with pytest.raises((ValueError, TypeError), match=says):
        training.Dataset.of(VECTORS, cond=cond)


def test_conditions_of_another_shape_than_the_network_knows_are_sentences():
    known = training.Dataset.of(VECTORS, cond=VECTORS).conditions
    both = training.Dataset.of(
        VECTORS, cond={"vector": VECTORS, "sequence": np.zeros((N, 2, 2))}
    ).conditions
    for conditions, cond, says in [
        (known, np.zeros((1, 4)), r"the shape \(n, 3\) .* got \(1, 4\)"),
        (known, np.full((2, 3), np.inf), "entry 0 on axis 0 is not"),
        (known, {"sequence": np.zeros((1, 2, 2))}, "has no vector"),
        (both, np.zeros((1, 3)), "a dictionary with vector and sequence"),
        (both, {"vector": np.zeros((1, 3))}, "has no sequence"),
        (both, {"vector": np.zeros((2, 3)), "sequence": np.zeros((1, 2, 2))}, "as many entries"),
    ]:
        with pytest.raises(ValueError, match=says):
            conditions.read(cond)
