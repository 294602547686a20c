"""Compares `ej.recommend` with DPM++(2M) on Karras 7 on problems that its table was not chosen by.

    python checks/check_recommend.py [--nfe 6 8 10 12 15 20 30 40] [--samples 512] [--seen]

Float64 around the exact denoiser, from `x0 + 80 n` to sigma 0.002, where Dopri8 at 1e-9 says what
is right. A figure is how many times the RMS error of the recommended pair is below that of
DPM++(2M), and after the stroke the same of the medians; below 1 the recommendation was the worse.
Of a problem `ej.recommend` is told the standard deviation of 20,000 samples about their mean, and
nothing else. With --seen the problems are those that the table was chosen by.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "make"))

import jax
import numpy as np
from few_problems import fresh, seen, width_of
from recommend import HIGH, LOW, errors, rms, run, starts_of

import edmjax as ej

NFE = (6, 8, 10, 12, 15, 20, 30, 40)


def ratios(problem: Any, budgets: list[int], samples: int, seed: int) -> list[str]:
    """The error of DPM++(2M) over that of the recommendation at each budget: RMS and median."""
    width, (denoise, x, reference) = width_of(problem), starts_of(problem, samples, seed)
    found = []
    for nfe in budgets:
        karras = ej.schedules.karras(nfe + 1, LOW, HIGH, final_zero=False)
        best = ej.recommend(nfe, sigma_min=LOW, sigma_max=HIGH, sigma_data=width, final_zero=False)
        pairs = (ej.samplers.dpmpp_2m(), karras), best
        known, got = (errors(run(denoise, ej.make_plan(*pair), x), reference) for pair in pairs)
        found.append(f"{rms(known) / rms(got):.1f} / {np.median(known) / np.median(got):.1f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nfe", type=int, nargs="+", default=list(NFE))
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seen", action="store_true")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(f"| problem | {' | '.join(map(str, arguments.nfe))} |", flush=True)
    print(f"|---|{'---|' * len(arguments.nfe)}", flush=True)
    for name, problem in (seen() if arguments.seen else fresh()).items():
        found = ratios(problem, arguments.nfe, arguments.samples, arguments.seed)
        print(f"| {name} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
