"""Checks every claim of the table of certificates and prints it; exits 1 when a claim fails.

    python checks/certify.py                             # all samplers, a minute on two cores
    python checks/certify.py heun unipc                  # these alone
    python checks/certify.py --markdown docs/certificates.md

Order: the slope of log-error between the two finest of 40, 80, 160 and 320 steps whose error is
above 1e-11, uniform in log sigma from 5 to 0.5, in float64; claimed, and measured on a mixture and
on a Gaussian. Uneven: the same on 40, 80 and 160 steps that alternate, 1:2:1:2 in log sigma; of a
multistep method from exact starting values. Formal: that on the uniform steps. Weak: the slope of
|Var_N - Var| between 320 and 640 steps, on Gaussian data, where the law of a plan is known exactly;
the median over variances of 0.04, 0.09, 0.25 and 1. A dash: nothing is claimed.

Evaluations: of n steps down to zero, counted. At zero: whether the step to zero is exactly the
denoiser, or the method's own formula. Float32: the median and the 99th percentile over samples of
the difference from float64, same start and draws, in units of sigma_data, on the mixture; of 10 and
of 100 steps of Karras from 80 to zero, the worse. Bfloat16: the same for points of bfloat16 around
`denoisers.edm` of a network that computes in bfloat16; the loop holds the points in float32.
Parity: the worst error, relative to the largest entry, against numbers of k-diffusion and diffusers
and against the papers' algorithms in plain NumPy.
"""

import argparse
import ast
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.certificates import CERTIFICATES, Certificate
from support.claims import THROUGH_THE_LOOP, Finding, findings, loop_findings

FEW_DIGITS = ("float32", "bfloat16")
COLUMNS = (
    "sampler",
    "order",
    "uneven",
    "formal",
    "weak",
    "evaluations",
    "at zero",
    "float32",
    "bfloat16",
    "equals",
    "parity",
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="certify.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="entries, or functions of edmjax.samplers")
    parser.add_argument("--markdown", metavar="FILE", help="writes the documentation's table")
    args = parser.parse_args(argv)
    try:
        entries = chosen(args.names)
    except ValueError as error:
        parser.error(str(error))

    rows, failures = [], []
    for name, entry in entries.items():
        found = list(findings(entry))
        if name in THROUGH_THE_LOOP:
            found += loop_findings(entry)
        rows.append(row(entry, found))
        failures += [(name, finding) for finding in found if not finding.holds]
        mark = "FAILS" if any(not finding.holds for finding in found) else "holds"
        print(f"{mark}  " + "  ".join(cell for cell in rows[-1] if cell != "-"), flush=True)
    if args.markdown:
        Path(args.markdown).write_text(markdown(rows), encoding="utf-8")

    print(f"\n{worst(rows)}")
    print(f"{len(entries)} certificates, {len(failures)} claims that fail")
    for name, finding in failures:
        print(
            f"  {name}: {finding.kind}: claimed {finding.claimed}, measured {finding.measured}",
            file=sys.stderr,
        )
    return 1 if failures else 0


def chosen(names: Sequence[str]) -> dict[str, Certificate]:
    """The entries of these names, and those whose code calls functions of these names."""
    if not names:
        return CERTIFICATES
    calls = {
        name: {node.id for node in ast.walk(ast.parse(entry.code)) if isinstance(node, ast.Name)}
        for name, entry in CERTIFICATES.items()
    }
    known = set(CERTIFICATES).union(*calls.values())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no certificate is called {unknown[0]!r}; docs/certificates.md has all.")
    wanted = set(names)
    return {
        name: entry
        for name, entry in CERTIFICATES.items()
        if name in wanted or calls[name] & wanted
    }


def row(entry: Certificate, found: Iterable[Finding]) -> list[str]:
    """The cells of `COLUMNS`: what is claimed, and behind a colon what was measured."""

    def cells(kind: str) -> str:
        return "; ".join(f"{f.claimed}: {f.measured}" for f in found if f.kind == kind) or "-"

    return [
        entry.code,
        cells("order"),
        cells("uneven"),
        cells("formal"),
        cells("weak"),
        entry.nfe,
        entry.zero,
        *("; ".join(f.measured for f in found if f.kind == kind) for kind in FEW_DIGITS),
        ", ".join(CERTIFICATES[e].code if e in CERTIFICATES else e for e in entry.equals) or "-",
        cells("parity"),
    ]


def worst(rows: Sequence[Sequence[str]]) -> str:
    """A sentence for each of `FEW_DIGITS` that names the entry with the largest median."""

    def of(kind: str) -> str:
        column = COLUMNS.index(kind)
        cells = max(rows, key=lambda cells: float(cells[column].partition(",")[0]))
        return f"The worst in {kind} is `{cells[0]}`: {cells[column]}."

    return "\n".join(map(of, FEW_DIGITS))


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table, with what its columns mean from the head of this file."""
    meaning = (__doc__ or "").split("\n\n", 2)[2].strip()
    code = {0, COLUMNS.index("equals")}
    lines = [
        "# Certificates",
        "",
        "What every sampler claims, and what was measured: the output of",
        "`python checks/certify.py --markdown docs/certificates.md`.",
        "",
        meaning,
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    for cells in rows:
        shown = [f"`{cell}`" if i in code and cell != "-" else cell for i, cell in enumerate(cells)]
        lines.append("| " + " | ".join(shown) + " |")
    lines += ["", worst(rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
