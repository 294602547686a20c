"""What `jax.export` asks of a package: symbolic sizes as counts, and the names of its pytrees.

An exported function is written to a file with the structure of its arguments and results. So JAX
must know a name for each of our pytrees in them, and how to write what they hold beside arrays. The
process that reads the file must have imported the room that the class is from.
"""

import contextlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from jax import export

T = TypeVar("T", bound=type)


def is_symbolic(value: Any) -> bool:
    """Whether `value` is a size that an exported function leaves open, such as `b`."""
    return export.is_symbolic_dim(value)


def serializable(
    cls: T,
    write: Callable[[Any], Any] = lambda static: static,
    read: Callable[[Any], Any] = lambda written: written,
) -> T:
    """Lets exported functions with `cls`, a registered pytree, among their arguments be written.

    `write` makes of the static part of the pytree what JSON holds, and `read` undoes it.
    """
    # A module that is loaded once more has the names already: those of its first classes stay.
    with contextlib.suppress(ValueError):
        export.register_pytree_node_serialization(
            cls,
            serialized_name=_name(cls),
            serialize_auxdata=lambda static: json.dumps(write(static)).encode(),
            deserialize_auxdata=lambda written: read(json.loads(bytes(written))),
        )
    return cls


def serializable_tuple(cls: T) -> T:
    """`serializable` of a named tuple."""
    with contextlib.suppress(ValueError):
        export.register_namedtuple_serialization(cls, serialized_name=_name(cls))
    return cls


def _name(cls: type) -> str:
    # Of the room and not of the file, which may be renamed.
    return ".".join([*cls.__module__.split(".")[:2], cls.__name__])
