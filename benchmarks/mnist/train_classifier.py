"""Trains the classifier of MNIST in whose features `edmjax evaluate` compares samples.

    python benchmarks/mnist/train_classifier.py --data_dir DIR --out classifier.safetensors
    edmjax evaluate --checkpoint runs/mnist --features classifier.safetensors

About two minutes on two CPU cores, less on a GPU: the same steps in the same order each time. The
test accuracy and the SHA-256 of the file are printed. Figures compare only where the file is the
same.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax, random
from jaxtyping import Int, UInt8
from tqdm import tqdm

from edmjax import training
from edmjax.evaluation import Classifier, TrainedClassifier, load_classifier
from edmjax.evaluation.subject import load_images
from edmjax.nn.functional import Arrays, Functional, functional
from edmjax.training.data import batch_indices
from edmjax.training.files import make_directory

SEED = 0
BATCH_SIZE = 128
STEPS_A_CALL = 52
NUM_CALLS = 81  # 4,212 steps, 9 epochs
LEARNING_RATE = 2e-3
MAX_SHIFT = 2
LEAST_ACCURACY = 0.99


def train_classifier(
    images: UInt8[np.ndarray, "n 28 28 1"],
    labels: Int[np.ndarray, " n"],
    *,
    num_calls: int = NUM_CALLS,
    progress: bool = True,
) -> tuple[Functional, Arrays]:
    """The pair `(apply, params)` of a classifier trained on these images, values 0 to 255.

    AdamW on the cross-entropy, a warm-up and a cosine decay to zero; each image is moved by up to
    two pixels, differently in every epoch. `FloatingPointError` where the loss is not finite.
    """
    apply, params = functional(Classifier(rngs=nnx.Rngs(SEED)))
    total = num_calls * STEPS_A_CALL
    rate = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, total // 20, total)
    optimizer = optax.adamw(rate, weight_decay=1e-2)
    state = (params, optimizer.init(params), jnp.int32(0))
    # Edges of background, out of which a moved image is cut.
    padded = np.pad(images, ((0, 0), (MAX_SHIFT,) * 2, (MAX_SHIFT,) * 2, (0, 0)))
    padded, labels = jax.device_put((padded, labels))
    with tqdm(total=total, desc="train the classifier", unit="step", disable=not progress) as bar:
        for call in range(num_calls):
            steps = range(call * STEPS_A_CALL, (call + 1) * STEPS_A_CALL)
            indices = np.stack([batch_indices(SEED, s, BATCH_SIZE, len(images)) for s in steps])
            state, losses = _train_steps(apply, optimizer, state, padded, labels, indices)
            loss = float(np.mean(losses))
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"The classifier's loss is {loss} before step {steps.stop}, so no samples can "
                    "be judged; the images are not what it is made for."
                )
            bar.update(STEPS_A_CALL)
            bar.set_postfix_str(f"loss {loss:.3g}")
    return apply, state[0]


@partial(jax.jit, static_argnums=1, donate_argnums=2)
def _train_steps(apply, optimizer, state, padded, labels, indices):
    def loss_of(params, x, y):
        net: Any = apply.merge(params)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(net(x), y))

    def one(state, batch):
        params, opt_state, step = state
        corners = random.randint(
            random.fold_in(random.key(SEED), step), (BATCH_SIZE, 2), 0, 2 * MAX_SHIFT + 1
        )
        x = jax.vmap(lambda image, at: lax.dynamic_slice(image, (at[0], at[1], 0), (28, 28, 1)))(
            padded[batch], corners
        )
        x = x.astype(jnp.float32) / 127.5 - 1
        loss, grads = jax.value_and_grad(loss_of)(params, x, labels[batch])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, step + 1), loss

    return lax.scan(one, state, indices)


def make_classifier(
    path: Path, data_dir: str | None = None, train: Callable[..., Any] = train_classifier
) -> TrainedClassifier:
    """The classifier, trained on MNIST, tested and written to a file.

    `ValueError`, and nothing written, where it classifies fewer than 99 % of the test images
    correctly.
    """
    make_directory(path.parent, path.name)
    images, labels = training.load_mnist(data_dir)
    test = load_images(data_dir, "test")
    apply, params = train(images[..., None], labels.astype(np.int32))
    classes = TrainedClassifier(apply, params, "", 0.0)(test.images).probabilities.argmax(axis=1)
    accuracy = float(np.mean(classes == test.labels))
    if accuracy < LEAST_ACCURACY:
        raise ValueError(
            f"The classifier is right on {accuracy:.2%} of the test images and must be on "
            f"{LEAST_ACCURACY:.0%}: it was not written. Train it with its own number of steps."
        )
    training.save_weights(path, params, {"classifier": "mnist", "test_accuracy": accuracy})
    return load_classifier(path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="train_classifier.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_dir", help="directory with MNIST's files (default: downloaded)")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    args = parser.parse_args(argv)
    with training.plain_errors():
        made = make_classifier(args.out, args.data_dir)
    print(f"{args.out}: {made.test_accuracy:.2%} of the test images, SHA-256 {made.sha256}")


if __name__ == "__main__":
    main()
