"""Writes tests/support/golden/diffusers_loops.json from the scheduler tests of diffusers.

    python checks/diffusers_loops.py PATH

`PATH` is a checkout of huggingface/diffusers at the tag of the installed version; it needs torch,
diffusers and torchsde, which neither this package nor its tests do. Each test that asserts a sum or
a mean of a loop is run, with its asserts replaced by a record of the number, its tolerance and what
the test got. A row has the scheduler, its options, the number of steps, and how the loop starts.
"""

import ast
import base64
import contextlib
import inspect
import json
import pathlib
import sys
import types
import unittest
from typing import Any

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "tests/support/golden/diffusers_loops.json"
STEPS = ("step", "step_prk", "step_plms", "step_pred", "step_correct", "batch_step_no_noise")
OPTIONS = """num_train_timesteps beta_start beta_end beta_schedule prediction_type timestep_spacing
steps_offset set_alpha_to_one clip_sample clip_sample_range variance_type solver_order solver_type
algorithm_type lower_order_final euler_at_final final_sigmas_type use_karras_sigmas use_lu_lambdas
thresholding dynamic_thresholding_ratio sample_max_value skip_prk_steps predictor_order
corrector_order snr sigma_min sigma_max sigma_data sampling_eps rho correct_steps"""
SECOND_ORDER = ("HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverSDE")
DISTILLED = "for networks that were distilled to few steps: refused by name"
# Why a number is not made, or how the loop differs from the package's own.
NOT_MADE = {
    "LCMScheduler": DISTILLED,
    "TCDScheduler": DISTILLED,
    "IPNDMScheduler": (
        "the test runs its loop twice, the second time from the sample and with the history of the "
        "first: no grid goes down twice"
    ),
    "lms/full_loop_with_noise": (
        "a loop that starts at step 8 has one slope, and diffusers gives it the weight that it has "
        "beside three others: the weights do not add up to the step, and half of it is lost"
    ),
}
FLOAT32 = ("ddpm/full_loop_with_noise", "ddpm_parallel/full_loop_with_noise")
seen: dict[str, Any] = {}


def record(line: int, name: str, got: Any, number: Any, tolerance: Any) -> None:
    kind = "sum" if "sum" in name else "mean"
    seen["asserted"].append([kind, float(number), float(tolerance)])
    if not abs(float(got) - float(number)) < float(tolerance):
        print(f"line {line}: diffusers itself has {float(got)}, not {float(number)}")


class Recorded(ast.NodeTransformer):
    """`assert abs(result_sum.item() - number) < tolerance` as a call of `record`."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        text, test = ast.unparse(node.test), node.test
        if "result_sum" not in text and "result_mean" not in text:
            return node
        if isinstance(test, ast.Compare):
            assert isinstance(test.left, ast.Call) and isinstance(test.left.args[0], ast.BinOp)
            difference = test.left.args[0]
            got, number, tolerance = difference.left, difference.right, test.comparators[0]
        else:  # numpy.isclose, whose tolerance is relative
            assert isinstance(test, ast.Call)
            got, number = test.args[:2]
            tolerance = ast.BinOp(ast.Constant(1e-5), ast.Mult(), number)
        name, line = ast.Constant(ast.unparse(got)), ast.Constant(node.lineno)
        call = ast.Call(ast.Name("record", ast.Load()), [line, name, got, number, tolerance], [])
        return ast.Expr(call)


def watch(scheduler: type) -> None:
    """Makes the methods of a scheduler tell how they were called."""

    def wrap(name: str, tell: Any) -> None:
        old = vars(scheduler).get(name)
        if old is not None:

            def new(self, *args, **named):
                tell(self, args, named)
                return old(self, *args, **named)

            setattr(scheduler, name, new)

    def stepped(self, args, named):
        if seen.get("scheduler") is not self:
            seen.update(scheduler=self, steps=0, sample=args[-1])
        seen["steps"] += 1

    for name in STEPS:
        wrap(name, stepped)
    wrap("add_noise", lambda self, args, named: seen.update(noise=True))
    wrap("set_timesteps", lambda self, args, named: seen.update(n=args, timesteps=named))


def load(path: pathlib.Path) -> types.ModuleType:
    module = types.ModuleType(f"tests.schedulers.{path.stem}")
    module.__package__, module.__file__ = "tests.schedulers", str(path)
    vars(module)["record"] = record
    tree = ast.fix_missing_locations(Recorded().visit(ast.parse(path.read_text())))
    exec(compile(tree, str(path), "exec"), vars(module))
    return module


def row_of(path: pathlib.Path, case: type, test: str) -> dict[str, Any]:
    seen.clear()
    seen.update(asserted=[], steps=0)
    one = case(test)
    one.setUp()
    with contextlib.redirect_stderr(None):
        getattr(one, test)()
    scheduler = seen["scheduler"]
    name = type(scheduler).__name__
    identity = path.stem.removeprefix("test_scheduler_") + "/" + test.removeprefix("test_")
    identity += "/1D" if "1D" in case.__name__ else ""
    config = {key: scheduler.config[key] for key in OPTIONS.split() if key in scheduler.config}
    row: dict[str, Any] = {"id": identity, "test": test, "scheduler": name}
    row["options"] = {key: value for key, value in config.items() if value not in (False, None)}
    row |= {"n": seen["n"][0]} if seen.get("n") else {}
    row |= {k: v for k, v in seen.get("timesteps", {}).items() if k == "timesteps"}
    batch = "batch" in test
    row["shape"] = [4, 3, 8, 8] if batch else [4, 3, 8] if "1D" in case.__name__ else [4, 3, 8, 8]
    row |= {"add_noise": True} if seen.get("noise") else {}
    evaluated = 2 if name.startswith("PNDM") or name.startswith("ScoreSde") else 1
    skipped = len(scheduler.timesteps) - seen["steps"]
    if skipped > 0 and evaluated == 1 and not batch:
        row["skipped"] = skipped
    if name.removesuffix("Scheduler") in SECOND_ORDER:
        row["order"] = 2
    if name.startswith("EDM"):
        row["factor"] = round(float(scheduler.init_noise_sigma), 4) if "Euler" in name else 1.0
    if name == "DPMSolverSDEScheduler":
        row["noise"] = "karras" if config.get("use_karras_sigmas") else "linspace"
    if identity in FLOAT32:
        row["float32"] = True
    why = NOT_MADE.get(name, NOT_MADE.get(identity))
    row |= {"not_made": why} if why else {}
    return row | {"asserted": seen["asserted"]}


def noise(**options: Any) -> str:
    """The unit increments that DPM++ SDE draws in a test, for both halves of each step, float32."""
    import torch
    from diffusers import DPMSolverSDEScheduler
    from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler as Tree

    drawn, old = [], Tree.__call__

    def new(self, sigma, sigma_next):
        value = old(self, sigma, sigma_next)
        drawn.append((float(sigma), float(sigma_next), value.double().numpy()))
        return value

    Tree.__call__ = new
    scheduler = DPMSolverSDEScheduler(1100, 1e-4, 0.02, "linear", noise_sampler_seed=0, **options)
    scheduler.set_timesteps(10)
    sample = torch.zeros(4, 3, 8, 8)
    for t in scheduler.timesteps:
        scheduler.scale_model_input(sample, t)
        sample = scheduler.step(sample, t, sample).prev_sample
    Tree.__call__ = old
    parts = []
    for (start, middle, first), (_, end, whole) in zip(drawn[::2], drawn[1::2], strict=True):
        second = whole * np.sqrt(start - end) - first * np.sqrt(start - middle)
        parts += [first, second / np.sqrt(middle - end)]
    return base64.b64encode(np.array(parts, np.float32).tobytes()).decode()


def main() -> None:
    import diffusers
    import torch

    checkout = pathlib.Path(sys.argv[1])
    sys.path.insert(0, str(checkout))
    helpers: Any = types.ModuleType("tests.testing_utils")
    helpers.torch_device = "cpu"
    for name in ("require_torchsde", "require_torch_accelerator", "CaptureLogger"):
        setattr(helpers, name, lambda test: test)
    others: Any = types.ModuleType("tests.others.test_utils")
    others.TOKEN = others.USER = None
    others.is_staging_test = lambda test: test
    sys.modules |= {helpers.__name__: helpers, others.__name__: others}
    sys.modules["tests.others"] = types.ModuleType("tests.others")
    torch.set_num_threads(1)
    for name in dir(diffusers):
        if name.endswith("Scheduler") and inspect.isclass(thing := getattr(diffusers, name)):
            watch(thing)
    rows = []
    for path in sorted((checkout / "tests/schedulers").glob("test_scheduler_*.py")):
        for case in vars(load(path)).values():
            if not (inspect.isclass(case) and issubclass(case, unittest.TestCase)):
                continue
            for test in sorted(dir(case)):
                code: Any = getattr(getattr(case, test), "__code__", None)
                own = test.startswith("test") and code and code.co_filename == str(path)
                if own and "record" in code.co_names:
                    rows.append(row_of(path, case, test))
    bank = {"linspace": noise(), "karras": noise(use_karras_sigmas=True)}
    about = f"diffusers {diffusers.__version__}, by checks/diffusers_loops.py"
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = (
        f'{{"made": {json.dumps(about)},\n"rows": [\n{lines}\n],\n"noise": {json.dumps(bank)}}}\n'
    )
    GOLDEN.write_text(text)
    print(f"{sum(len(row['asserted']) for row in rows)} numbers of {len(rows)} tests")


if __name__ == "__main__":
    main()
