"""Samplers and schedules of the library from text such as `churn(heun, s_churn=40)`.

The text is one call in Python's syntax, or a bare name for a call without arguments. Arguments are
literals (numbers, strings, None, True ...) or, for a sampler, samplers: nothing else is evaluated.
All public names of `edmjax.samplers` and `edmjax.schedules` can be asked for, new ones at once. A
sampler without options may have any name that `samplers.from_name` knows.
"""

import ast
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

from edmjax import samplers, schedules
from edmjax._common.arguments import one_of
from edmjax._common.typing import Levels
from edmjax.planning.step import Sampler

_Named: TypeAlias = dict[str, Callable[..., Any]]

LONGEST_TEXT = 2000  # a longer one is no choice, and would take long to read


def sampler_names() -> dict[str, Callable[..., Sampler]]:
    """The library's samplers and wrappers by name: public functions annotated `-> Sampler`."""
    made = _functions(samplers, lambda signature: signature.return_annotation == Sampler)
    return {name: function for name, function in made.items() if name != "from_name"}


def schedule_names() -> dict[str, Callable[..., Levels]]:
    """The library's schedules by name: public functions of a number of levels `n`."""
    return _functions(schedules, lambda signature: [*signature.parameters][:1] == ["n"])


def parse_sampler(text: str) -> Sampler:
    """The sampler that a text such as `dpmpp_2m` or `ancestral(heun, eta=0.5)` describes.

    Without parentheses it is one of our own names, or else a name for `samplers.from_name`, such as
    `DPM++ 2M Karras`.

    Raises:
        ValueError: the text is neither a name nor a call, the name is unknown (the message has the
            nearest one), an argument is neither a literal nor a sampler, or the sampler does not
            take the options.
    """
    if isinstance(text, str) and text.strip() and "(" not in text[:LONGEST_TEXT]:
        name = text.strip()
        # `lms` is ours here, where all names of ours are listed, and ambiguous in `from_name`.
        return samplers.from_name(name, package="edmjax" if name in sampler_names() else None)
    return _evaluate(_tree(text, "sampler"), sampler_names(), "sampler")


def parse_schedule(text: str, num_steps: int) -> Levels:
    """The levels of `num_steps` steps from a text such as `karras` or `karras(sigma_max=20)`.

    Raises:
        ValueError: as `parse_sampler` does, or as the schedule does.
    """
    return _evaluate(_tree(text, "schedule"), schedule_names(), "schedule", num_steps)


def describe(functions: dict[str, Callable[..., Any]], *, skip: tuple[str, ...] = ()) -> str:
    """One line a name, `name(option=default, ...)`, for help texts."""
    lines = []
    for name, function in sorted(functions.items()):
        parameters = inspect.signature(function).parameters.values()
        options = [
            p.name if p.default is p.empty else f"{p.name}={p.default!r}"
            for p in parameters
            if p.name not in skip
        ]
        lines.append(f"{name}({', '.join(options)})" if options else name)
    return "\n".join(lines)


def _functions(module: ModuleType, fits: Callable[[inspect.Signature], bool]) -> _Named:
    """The public functions of a module whose signature fits, by name."""
    public = {name: getattr(module, name) for name in module.__all__}
    return {k: v for k, v in public.items() if inspect.isfunction(v) and fits(inspect.signature(v))}


def _tree(text: str, kind: str) -> ast.expr:
    try:
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"a text of {len(text)} characters")
        tree = ast.parse(text.strip(), mode="eval").body
        ast.unparse(tree)  # what messages show
    except (AttributeError, TypeError, SyntaxError, ValueError, RecursionError, MemoryError) as err:
        raise ValueError(_grammar(text, kind)) from err
    return tree


def _evaluate(node: ast.expr, names: _Named, kind: str, *first: object) -> Any:
    """What a call describes; `first` are the arguments before those of the text."""
    call = node if isinstance(node, ast.Call) else ast.Call(func=node, args=[], keywords=[])
    if not isinstance(call.func, ast.Name) or any(k.arg is None for k in call.keywords):
        raise ValueError(_grammar(ast.unparse(node), kind))
    name = call.func.id
    one_of(name, kind, sorted(names))

    def argument(value: ast.expr) -> Any:
        if kind == "sampler" and isinstance(value, ast.Name | ast.Call):
            return _evaluate(value, names, kind)
        try:
            return ast.literal_eval(value)
        except ValueError as err:
            raise ValueError(_grammar(ast.unparse(node), kind)) from err

    args = [*first, *map(argument, call.args)]
    options = {str(k.arg): argument(k.value) for k in call.keywords}
    try:
        inspect.signature(names[name]).bind(*args, **options)
    except TypeError as err:
        usage = describe({name: names[name]}, skip=("n",) if first else ())
        raise ValueError(f"{ast.unparse(node)!r}: {err}. It is called as {usage}.") from err
    try:
        return names[name](*args, **options)
    except TypeError as err:  # an argument of the wrong type
        raise ValueError(f"{ast.unparse(node)!r}: {err}") from err


def _grammar(text: str, kind: str) -> str:
    example = "churn(heun, s_churn=40)" if kind == "sampler" else "karras(sigma_max=20)"
    return (
        f"{text!r:.200} does not describe a {kind}: write a name, or a name with options such as "
        f"{example!r}."
    )
