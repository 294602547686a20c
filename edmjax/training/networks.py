"""Networks of any package, as one pure function and a flat dictionary of parameters.

given as                                 called as
module of Flax NNX                       net(x, c_noise[, cond])
(Linen module, its variables)            module.apply(variables, x, c_noise[, cond])
module of Equinox                        net(x, c_noise[, cond]), a batch at once
(Haiku's transformed, params[, state])   transformed.apply(params, [state, rng,] x, c_noise[, cond])
(function, params)                       function(params, x, c_noise[, cond])
(function, params, state)                function(params, state, x, c_noise[, cond]) -> (F, state)

Dropout and batch statistics are on in training and off in sampling. A module of NNX and of Equinox
is set to either. Any other function is told by its keywords, where it has them: `train`, `training`
or `is_training`, or `deterministic`; and it is given a key of its step where it has `key`, or as
Linen's stream "dropout" and its others, and Haiku's `rng`, which are None in sampling.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import random
from jax.tree_util import keystr
from jaxtyping import Array, Key

from edmjax._common.arguments import describe
from edmjax._common.functions import with_cond
from edmjax._common.packed import is_module
from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.functional import Arrays, Functional, functional
from edmjax.nn.magnitude import Normalized, normalized

_Tree: TypeAlias = Any  # parameters or state as the package of a network holds them
# `(params, state, key, x, c_noise, cond) -> (F, state)`; the key is None in sampling.
_Call: TypeAlias = Callable[[_Tree, _Tree, Any, PyTree, Any, PyTree], tuple[PyTree, _Tree]]

FORMS = (
    "a module of flax.nnx or Equinox, (Linen module, variables), (Haiku's transformed, params), or "
    "(function, params) with function(params, x, c_noise)"
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Adapted:
    """A network as `nn.Functional` is one: `apply(params, x, c_noise, cond=None) -> F`.

    `buffers` are the arrays that are not trained; `train` may change them.
    """

    form: "Form" = field(metadata=dict(static=True))
    buffers: Arrays

    def __call__(
        self, params: Arrays, x: PyTree, c_noise: Arraylike, cond: PyTree = None
    ) -> PyTree:
        # In training a condition has an entry for each sample, so here too where all share one.
        n = jax.tree.leaves(x)[0].shape[:1]
        cond = jax.tree.map(
            lambda v: jnp.broadcast_to(v, n + v.shape[1:]) if v.shape[:1] == (1,) else v, cond
        )
        return self.form.call(params, self.buffers, None, x, c_noise, cond)[0]

    def train(
        self, params: Arrays, key: Key[Array, ""], x: PyTree, c_noise: Arraylike, cond: PyTree
    ) -> tuple[PyTree, Arrays]:
        """The output in training, and the buffers after it."""
        return self.form.call(params, self.buffers, key, x, c_noise, cond)

    def merge(self, params: Arrays) -> Any:
        """The network with these parameters, of the kind that was given."""
        return self.form.merge(params, self.buffers)

    def normalized(self, params: Arrays) -> Arrays:
        """`params`, the columns of those that are `nn.Normalized` scaled to magnitude 1."""
        return params | {name: normalized(params[name]) for name in self.form.normalized}

    def bind(self, params: Arrays) -> jax.tree_util.Partial:
        """The network `net(x, c_noise, cond=None)` for a denoiser, its parameters as leaves."""
        return jax.tree_util.Partial(Adapted.__call__, self, params)


Trainable: TypeAlias = Functional | Adapted


@dataclass(frozen=True, eq=False)
class Form:
    """How a network is put together from flat dictionaries, and called."""

    run: _Call
    join: Callable[[_Tree, _Tree], Any]
    params: "_Named"
    state: "_Named"
    normalized: tuple[str, ...] = ()  # the names of parameters that are `nn.Normalized`

    def call(
        self, params: Arrays, buffers: Arrays, key: Any, x: PyTree, c_noise: Any, cond: PyTree
    ) -> tuple[PyTree, Arrays]:
        trees = self.params.tree(params), self.state.tree(buffers)
        found = self.run(*trees, key, x, c_noise, cond)
        if not isinstance(found, tuple) or len(found) != 2:
            raise ValueError(
                "A network that is given with its state must return (output, state), got "
                f"{describe(found)}."
            )
        output, state = found
        if jax.tree.structure(state) != self.state.structure:
            raise ValueError(
                f"The network must return its state as it was given, {self.state.structure}, got "
                f"{jax.tree.structure(state)}."
            )
        return output, dict(zip(self.state.names, jax.tree.leaves(state), strict=True))

    def merge(self, params: Arrays, buffers: Arrays) -> Any:
        return self.join(self.params.tree(params), self.state.tree(buffers))


@dataclass(frozen=True)
class _Named:
    """A pytree as a dictionary of its leaves. Compiled code sorts the names, so they are kept."""

    names: tuple[str, ...]
    structure: Any

    def tree(self, arrays: Arrays) -> _Tree:
        return self.structure.unflatten([arrays[name] for name in self.names])


def adapted(net: object) -> tuple[Trainable, Arrays]:
    """The pair `(apply, params)` of a network of any of the kinds above.

    A network of `edmjax.nn` is an `nn.Functional`.

    Raises:
        TypeError: it is of none of these kinds.
        ValueError: a parameter is not floating, or two have one name.
    """
    if isinstance(net, nnx.Module):
        # A user's own, a subclass of ours too, may hold Dropout and batch statistics.
        ours = type(net).__module__.startswith("edmjax.nn.")
        return functional(net) if ours else _of_nnx(net)
    if is_module(net):
        return _of_equinox(net)
    linen: Any = sys.modules.get("flax.linen")
    if isinstance(net, tuple) and len(net) in (2, 3):
        first, *rest = net
        if linen is not None and isinstance(first, linen.Module) and len(rest) == 1:
            return _of_linen(first, rest[0])
        if callable(getattr(first, "apply", None)) and callable(getattr(first, "init", None)):
            return _of_haiku(first, *rest)
        if callable(first):
            return _of_function(first, *rest)
    raise TypeError(f"`net` must be {FORMS}; got {describe(net)}.")


def _made(
    run: _Call,
    join: Callable[..., Any],
    params: _Tree,
    state: _Tree,
    normalized: tuple[str, ...] = (),
) -> Any:
    flat, buffers = _flat(params), _flat(state)
    for name, array in flat.items():
        if not jnp.issubdtype(jnp.result_type(array), jnp.floating):
            raise ValueError(
                f"The parameters of a network must be floating arrays, and {name} is "
                f"{describe(array)}: put what is not trained into the state."
            )
    if flat.keys() & buffers.keys():
        buffers = {f"state.{name}": array for name, array in buffers.items()}
    names = _Named(tuple(flat), jax.tree.structure(params))
    rest = _Named(tuple(buffers), jax.tree.structure(state))
    return Adapted(Form(run, join, names, rest, normalized), buffers), flat


def _flat(tree: _Tree) -> Arrays:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [keystr(path, simple=True, separator=".") or "array" for path, _ in leaves]
    if len(set(names)) < len(names):
        raise ValueError("Two arrays of the network have one name: name its parts differently.")
    return {name: jnp.asarray(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}


def _of_nnx(net: nnx.Module) -> tuple[Trainable, Arrays]:
    training, sampling = nnx.clone(net), nnx.clone(net)
    training.train()
    sampling.eval()
    graph, params, rest = nnx.split(training, nnx.Param, ...)
    still, _, _ = nnx.split(sampling, nnx.Param, ...)
    # Keys of Dropout are no state: each step has its own.
    state = nnx.to_flat_state(rest)
    streams = {path: leaf for path, leaf in state if isinstance(leaf, nnx.RngState)}
    kept = [(path, leaf) for path, leaf in state if path not in streams]
    names = [".".join(map(str, path)) for path, _ in kept]

    def run(params: _Tree, state: _Tree, key: Any, x: PyTree, c_noise: Any, cond: PyTree) -> Any:
        module = put_together(still if key is None else graph, params, state, key)
        given = () if cond is None else (cond,)
        output = module(x, c_noise, *given)
        _, _, after = nnx.split(module, nnx.Param, ...)
        values = {path: leaf for path, leaf in nnx.to_flat_state(after)}
        return output, {n: values[p].get_value() for n, (p, _) in zip(names, kept, strict=True)}

    def put_together(graphdef: Any, params: _Tree, state: _Tree, key: Any = None) -> Any:
        rest = [(p, leaf.replace(state[n])) for n, (p, leaf) in zip(names, kept, strict=True)]
        for number, (path, leaf) in enumerate(sorted(streams.items())):
            value = leaf.get_value()
            if key is not None and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
                value = random.fold_in(key, number)
            rest.append((path, leaf.replace(value)))
        own = [(path, leaf.replace(params[".".join(map(str, path))])) for path, leaf in trained]
        return nnx.merge(graphdef, nnx.from_flat_state([*own, *rest]))

    trained = nnx.to_flat_state(params)
    flat = {".".join(map(str, path)): leaf.get_value() for path, leaf in trained}
    held = {n: leaf.get_value() for n, (_, leaf) in zip(names, kept, strict=True)}
    unit = tuple(".".join(map(str, path)) for path, leaf in trained if leaf.type is Normalized)
    return _made(run, lambda p, s: put_together(graph, p, s), flat, held, unit)


def _of_linen(module: Any, variables: Mapping[str, Any]) -> tuple[Trainable, Arrays]:
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise TypeError(
            "With a Linen module go its variables, a dictionary with 'params', as `module.init` "
            f"returns it; got {describe(variables)}."
        )
    state = {name: value for name, value in variables.items() if name != "params"}
    told = _flags(type(module).__call__)

    def run(params: _Tree, state: _Tree, key: Any, x: PyTree, c_noise: Any, cond: PyTree) -> Any:
        given = (x, c_noise) if cond is None else (x, c_noise, cond)
        held = {"params": params, **state}
        if key is None:
            return module.apply(held, *given, **told(None)), state
        # Linen takes "params" for a stream that it is not given.
        keys = {"dropout": key, "params": random.fold_in(key, 0)}
        options = {"rngs": keys, **told(key)}
        output, after = module.apply(held, *given, mutable=[*state], **options)
        return output, {name: after.get(name, state[name]) for name in state}

    def join(params: _Tree, state: _Tree) -> Any:
        return module, {"params": params, **state}

    return _made(run, join, variables["params"], state)


def _of_equinox(net: Any) -> tuple[Trainable, Arrays]:
    import equinox

    params, static = equinox.partition(net, equinox.is_inexact_array)
    told = _flags(type(net).__call__)

    def run(params: _Tree, state: _Tree, key: Any, x: PyTree, c_noise: Any, cond: PyTree) -> Any:
        module = equinox.nn.inference_mode(equinox.combine(params, static), key is None)
        given = () if cond is None else (cond,)
        return module(x, c_noise, *given, **told(key)), state

    return _made(run, lambda params, _: equinox.combine(params, static), params, {})


def _of_haiku(transformed: Any, params: _Tree, *state: _Tree) -> tuple[Trainable, Arrays]:
    names = [*inspect.signature(transformed.apply).parameters]
    with_state = names[1:2] == ["state"]
    if with_state != bool(state):
        raise TypeError(
            "Of a network that Haiku transformed pass (transformed, params), and with "
            f"`transform_with_state` (transformed, params, state); got {1 + len(state)} beside it."
        )
    told = _flags(transformed.apply)

    def run(params: _Tree, state: _Tree, key: Any, x: PyTree, c_noise: Any, cond: PyTree) -> Any:
        first = [params, *([state] if with_state else []), *([key] if "rng" in names else [])]
        given = () if cond is None else (cond,)
        output = transformed.apply(*first, x, c_noise, *given, **told(key))
        return output if with_state else (output, state)

    def join(params: _Tree, state: _Tree) -> Any:
        return (transformed, params, state) if with_state else (transformed, params)

    return _made(run, join, params, state[0] if with_state else {})


def _of_function(
    function: Callable[..., Any], params: _Tree, *state: _Tree
) -> tuple[Trainable, Arrays]:
    told = _flags(function)

    def run(params: _Tree, state: _Tree, key: Any, x: PyTree, c_noise: Any, cond: PyTree) -> Any:
        held = (params, state) if has_state else (params,)
        if has_state:
            given = () if cond is None else (cond,)
            return function(*held, x, c_noise, *given, **told(key))
        output = with_cond(lambda *a: function(*a, **told(key)), *held, x, c_noise, cond=cond)
        return output, state

    has_state = bool(state)

    def join(params: _Tree, state: _Tree) -> Any:
        return (function, params, state) if has_state else (function, params)

    return _made(run, join, params, state[0] if has_state else {})


def _flags(function: Callable[..., Any]) -> Callable[[Any], dict[str, Any]]:
    """The keywords that tell a function whether it is in training, as a function of its key."""
    try:
        names = set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = set()

    def told(key: Any) -> dict[str, Any]:
        flags = {name: key is not None for name in ("train", "training", "is_training")}
        flags |= {"deterministic": key is None, "key": key}
        return {name: value for name, value in flags.items() if name in names}

    return told
