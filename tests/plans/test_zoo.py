"""Published plans compute what their papers do: each recursion is written out in NumPy here."""

import functools
import itertools
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from support.runs import script

import edmjax as ej

PUBLISHED = Path(ej.plans.__file__).parent / "published"
NUMBERS = {
    name: entry
    for path in sorted(PUBLISHED.glob("*.json"))
    for name, entry in json.loads(path.read_text())["plans"].items()
}
MEANS = np.array([[0.7, -0.3, 0.1], [-0.5, 0.4, 0.9], [0.2, 0.8, -0.6]])
VARIANCES, SHARES = np.array([0.02, 0.1, 0.3]), np.array([0.5, 0.3, 0.2])
LARGE = 2.0**26  # the level that stands for infinity in float64, where a flow starts


def mixture(x, sigma):
    """E[x0 | x] of a mixture of Gaussians."""
    total = VARIANCES + sigma**2
    apart = x[:, None] - MEANS
    log = np.log(SHARES) - 1.5 * np.log(total) - (apart**2).sum(-1) / (2 * total)
    weights = np.exp(log - log.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    each = MEANS + (VARIANCES / total)[:, None] * apart
    return (weights[..., None] * each).sum(1)


def flow(x, t):
    """The same for `x = (1 - t) x0 + t n`."""
    left = 1 / LARGE if t == 1 else 1 - t
    return mixture(x / left, LARGE if t == 1 else t / left)


# The recursions, as the papers' own code has them.


def dyweight(net, x, p):
    ts, weights, scales = p["levels"], np.array(p["weights"]), p["time_scale"]
    slopes, arrived = [], ts[0]
    for i in range(len(ts) - 1):
        t = arrived
        if p["free_first_step"] and i == 0:
            slope = x / np.sqrt(1 + t**2)
        else:
            slope = (x - net(x, abs(scales[i - p["free_first_step"]] * t))) / (t + 1e-8)
        slopes.append(slope)
        w = weights[i, : i + 1]
        x = x + (ts[i + 1] - t) * np.tensordot(w, np.stack(slopes), 1)
        arrived = t + w.sum() * (ts[i + 1] - t)
    return x


def adams(slope, past, order):
    used = min(order, len(past) + 1)
    if used == 1:
        return slope
    if used == 2:
        return (3 * slope - past[-1]) / 2
    if used == 3:
        return (23 * slope - 16 * past[-1] + 5 * past[-2]) / 12
    return (55 * slope - 59 * past[-1] + 37 * past[-2] - 9 * past[-3]) / 24


def epd(net, x, p):
    ts, past = p["levels"], []
    for i, (t, after) in enumerate(itertools.pairwise(ts)):
        free = p["free_first_step"] and i == 0
        slope = x / np.sqrt(1 + t**2) if free else (x - net(x, t)) / t
        x_next = x
        for k in range(len(p["shares"][i])):
            r = p["shares"][i][k]
            middle = after**r * t ** (1 - r)
            point = x + (middle - t) * adams(slope, past, p["order"])
            d = (point - net(point, p["time_scale"][i][k] * middle)) / middle
            x_next = x_next + p["weights"][i][k] * p["slope_scale"][i][k] * (after - t) * d
        x = x_next
        past.append(slope)
    return x


def ipndm(net, x, p):
    past = []
    for t, after in itertools.pairwise(p["levels"]):
        slope = (x - net(x, t)) / t
        x = x + (after - t) * adams(slope, past, p["order"])
        past.append(slope)
    return x


def dpmpp_2m(net, x, p):
    before = None
    ts = p["levels"]
    for i, (t, after) in enumerate(itertools.pairwise(ts)):
        out = net(x, t)
        if after == 0:
            return out
        h = np.log(t / after)
        best = out
        lowered = p.get("euler_at_final") and i == len(ts) - 2
        if before is not None and not lowered:
            h_last = np.log(ts[i - 1] / t)
            best = out + h / (2 * h_last) * (out - before)
        x = after / t * x - np.expm1(-h) * best
        before = out
    return x


def euler(net, x, p):
    for t, after in itertools.pairwise(p["levels"]):
        x = x + (after - t) * (x - net(x, t)) / t
    return x


RECURSIONS = {f.__name__: f for f in (dyweight, epd, ipndm, dpmpp_2m, euler)}


def expected(name, noise):
    p = NUMBERS[name]
    net = flow if p.get("process") == "flow" else mixture
    return RECURSIONS[p["solver"]](net, p["levels"][0] * noise, p)


NOISE = np.random.default_rng(0).normal(size=(64, 3))
NAMES = ej.plans.names()
QUICK = (
    "ays/sd/10",
    "dyweight/cifar10/5",
    "dyweight/lsun-bedroom/9",
    "dyweight/sd15/10",
    "epd/imagenet64/8",
    "epd-plugin/ffhq/11",
    "epd-rdpo/sd15/30",
    "gits/cifar10/6",
    "gits-dpmpp/sd1/5",
    "gits-ipndm/sd1/8",
    "optimal-steps/flux/10",
)

plan_of = functools.cache(ej.plans.load)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.thorough) for n in NAMES]
)
def test_each_plan_is_its_papers_recursion(name):
    plan, told = plan_of(name), ej.plans.about(name)
    assert plan.nfe == told.nfe
    file = {}
    exec(ej.plans.convert(plan, to="numpy"), file)
    got, want = file["sample"](mixture, file["START"] * NOISE), expected(name, NOISE)
    assert np.abs(got - want).max() <= 1e-12 * max(1, np.abs(want).max())


@pytest.mark.parametrize(
    "name",
    [
        "dyweight/cifar10/5",
        pytest.param("epd-plugin/lsun-bedroom/8", marks=pytest.mark.thorough),
        pytest.param("epd-rdpo/flux/24", marks=pytest.mark.thorough),
        pytest.param("gits-dpmpp/sd1/8", marks=pytest.mark.thorough),
    ],
)
def test_sampling_with_a_plan_is_its_papers_recursion(name):
    with jax.enable_x64(True):
        law = ej.problems.Mixture(SHARES, MEANS, VARIANCES)
        plan = ej.plans.load(name)
        file = {}
        exec(ej.plans.convert(plan, to="numpy"), file)
        # A plain function: a problem says how far it can be trusted, and gets a higher first level.
        x = file["START"] * jax.numpy.asarray(NOISE)
        got = ej.sample(lambda x, sigma: law(x, sigma), plan, x)
    np.testing.assert_allclose(got, expected(name, NOISE), rtol=0, atol=1e-11)


def test_the_zoo_has_its_plans_with_their_sources():
    names = ej.plans.names()
    assert len(names) == 103 and set(names) == set(NUMBERS)
    for name in names:
        told = ej.plans.about(name)
        assert told.name == name and int(name.split("/")[2].rstrip("b")) == told.nfe
        assert told.source.startswith("https://github.com/") and " commit " in told.source
        assert "arXiv:" in told.paper and told.licence and told.network
    assert all(path.stat().st_size < 300_000 for path in PUBLISHED.iterdir())


@pytest.mark.parametrize("names", [QUICK, pytest.param(NAMES, marks=pytest.mark.thorough)])
def test_plans_go_through_a_file(tmp_path, names):
    for name in names:
        plan = plan_of(name)
        assert ej.plans.about(name).source in plan.about.fitted_on
        plan.save(tmp_path / "plan.json")
        again = ej.Plan.load(tmp_path / "plan.json")
        for old, new in zip(jax.tree.leaves(plan), jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(old, new)
        assert again.about.fitted_on == plan.about.fitted_on


def test_weights_of_published_tables_are_the_published_ones():
    # Read off `pickletools` by eye: exps/00003-cifar-nfe5, the row of the last step; and the
    # softmax of the first row of weight_s of exps/sd15/sd15-best.pkl, -0.114385284 and -2.2248304.
    last = NUMBERS["dyweight/cifar10/5"]["weights"][-1]
    np.testing.assert_allclose(last, [0, 0, 0, 0.4083429, -1.337386, 1.9009255], rtol=1e-6)
    first = NUMBERS["epd-rdpo/sd15/30"]["weights"][0]
    np.testing.assert_allclose(first[0], 1 / (1 + np.exp(-2.2248304 + 0.114385284)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["sd", "sdxl", "svd"])
def test_align_your_steps_are_the_levels_of_the_schedule(kind):
    plan = ej.plans.load(f"ays/{kind}/10")
    np.testing.assert_array_equal(plan.grid, ej.schedules.align_your_steps(10, kind))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dyweigth/cifar10/5", "Did you mean 'dyweight'?"),
        ("dyweight/cifar/5", "Did you mean 'dyweight/cifar10'?"),
        ("dyweight/cifar10/12", "'dyweight/cifar10/9', got 'dyweight/cifar10/12'"),
        ("dyweight/cifar10", "family/network/nfe, such as 'dyweight/cifar10/3'"),
        ("dyweight", "family/network/nfe, such as 'dyweight/afhqv2/3'"),
        ("dyweight/cifar10/5/", "family/network/nfe, such as 'dyweight/cifar10/5'"),
    ],
)
@pytest.mark.parametrize("function", [ej.plans.load, ej.plans.about])
def test_a_wrong_name_is_told_what_there_is(function, name, says):
    with pytest.raises(ValueError, match="`name` must be") as told:
        function(name)
    assert says in str(told.value)


def test_a_plan_is_found_by_file_or_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "gits/cifar10/6"
    assert ej.plans.find(name).about.fitted_on.startswith("EDM, CIFAR-10")
    with pytest.raises(ValueError, match="Did you mean 'gits/cifar10'"):
        ej.plans.find("gits/cifar/6")
    with pytest.raises(OSError, match="no plan to read"):
        ej.plans.find("plan.json")
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    ej.make_plan(ej.samplers.heun(), [1.0, 0.5, 0.0]).save(path)
    assert ej.plans.find(f"./{name}").nfe == 3
    with pytest.raises(ValueError, match="is a file and a published plan"):
        ej.plans.find(name)


def test_the_commands_take_a_name(tmp_path, capsys):
    from edmjax.cli.plan import main

    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES and "FLUX.1-dev" in "".join(lines)
    assert main(["show", "gits/cifar10/6"]) == 0
    assert "6 evaluations" in capsys.readouterr().out
    out = tmp_path / "sampler.py"
    assert main(["convert", "gits/cifar10/6", "--out", str(out)]) == 0
    assert "10.9836" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "gits/cifar/6"), 1, "Did you mean 'gits/cifar10'?"),
        (("show",), 2, "show needs a PLAN: a file, or a name that edmjax plan list prints"),
        (("list", "gits"), 2, "list prints the published plans, and takes no PLAN"),
        (("list", "--out", "a.txt"), 2, "list prints, and takes no --out"),
    ],
)
def test_a_wrong_command_is_a_sentence(capsys, arguments, code, says):
    from edmjax.cli.plan import main

    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == code and says in capsys.readouterr().err


def test_the_page_is_what_the_script_writes(tmp_path, monkeypatch):
    """From the errors that are kept beside it."""
    docs = Path(__file__).parents[2] / "docs"
    monkeypatch.syspath_prepend(docs / "make")
    page = (docs / "zoo.md").read_text(encoding="utf-8")
    empty, n = re.subn(r"(<!-- \w+ -->\n).*?(<!-- end -->)", r"\1\2", page, flags=re.S)
    assert n == 3
    (tmp_path / "zoo.md").write_text(empty, encoding="utf-8")
    shutil.copy(docs / "zoo_errors.csv", tmp_path)
    script("zoo", "docs/make")([], docs=tmp_path)
    assert (tmp_path / "zoo.md").read_text(encoding="utf-8") == page
