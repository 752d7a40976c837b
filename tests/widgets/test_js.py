"""The networks and attacks that run in the page give what PyTorch gives, with the same rounded weights."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import optimize, special, stats
from torch import Tensor, nn

import robustcourse.widgets
from robustcourse.attacks import FGSM, PGD
from robustcourse.certify import bounds as certified
from robustcourse.certify import ibp, smoothing
from robustcourse.certify import layers as rules
from robustcourse.data import TwoGaussians
from robustcourse.evaluate import Estimate
from robustcourse.models import Normalize
from robustcourse.threats import L2, Linf
from robustcourse.widgets import Route, bounds_flow, fit_curve, worst_case
from robustcourse.widgets import budget as budget_figure
from robustcourse.widgets.encoding import encode, numbers
from robustcourse.widgets.live import FIGURES

FOLDER = Path(robustcourse.widgets.__file__).parent
SHAPE = (1, 8, 8)

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js; try: apt install nodejs")


def node(expression: str, **data: Any) -> Any:
    """The value of a JavaScript expression over the modules' exports and `data`."""
    script = f"""
        import * as nn from "{(FOLDER / "nn.mjs").as_uri()}";
        import * as attack from "{(FOLDER / "attack.mjs").as_uri()}";
        import * as base from "{(FOLDER / "base.mjs").as_uri()}";
        import * as epochs from "{(FOLDER / "epochs.mjs").as_uri()}";
        import * as worst from "{(FOLDER / "worst.mjs").as_uri()}";
        import * as tradeoff from "{(FOLDER / "tradeoff.mjs").as_uri()}";
        import * as chance from "{(FOLDER / "chance.mjs").as_uri()}";
        import * as plane from "{(FOLDER / "plane.mjs").as_uri()}";
        import * as contour from "{(FOLDER / "contour.mjs").as_uri()}";
        import * as noise from "{(FOLDER / "noise.mjs").as_uri()}";
        import * as bounds from "{(FOLDER / "bounds.mjs").as_uri()}";
        import * as flow from "{(FOLDER / "flow.mjs").as_uri()}";
        import * as budget from "{(FOLDER / "budget.mjs").as_uri()}";
        import * as descent from "{(FOLDER / "descent.mjs").as_uri()}";
        import * as terrain from "{(FOLDER / "terrain.mjs").as_uri()}";
        import * as fit from "{(FOLDER / "fit.mjs").as_uri()}";
        import * as moons from "{(FOLDER / "moons.mjs").as_uri()}";
        import {{ d3 }} from "{(FOLDER / "d3.mjs").as_uri()}";
        import {{ readFileSync }} from "node:fs";
        const data = JSON.parse(readFileSync(0));
        const plain = (_, v) => (ArrayBuffer.isView(v) ? Array.from(v) : v);
        console.log(JSON.stringify({expression}, plain));
    """
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, input=json.dumps(data), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def convolutions(kernel: Any, stride: Any, padding: Any) -> nn.Sequential:
    layers = [nn.Conv2d(1, 4, kernel, stride, padding), nn.ReLU(), nn.Conv2d(4, 3, 2, bias=False), nn.Flatten()]
    features = nn.Sequential(*layers)(torch.zeros(1, *SHAPE)).shape[1]
    return nn.Sequential(normalize(), *layers, nn.Linear(features, 10))


def normalize() -> Normalize:
    return Normalize(torch.tensor([0.3]), torch.tensor([0.4]))


def model(name: str) -> nn.Sequential:
    """A small network with weights that float16 holds exactly, in double precision."""
    torch.manual_seed(0)
    made = {
        "mlp": lambda: nn.Sequential(normalize(), nn.Flatten(), nn.Linear(64, 33), nn.ReLU(), nn.Linear(33, 10)),
        "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
        "cnn": lambda: convolutions(3, 1, 1),
        "strided": lambda: convolutions(3, 2, 1),
        "oblong": lambda: convolutions((3, 2), (2, 1), (0, 1)),
    }[name]()
    return made.half().double().eval()


MODELS = ["mlp", "linear", "cnn", "strided", "oblong"]


@pytest.fixture(params=MODELS)
def net(request: pytest.FixtureRequest) -> nn.Sequential:
    return model(request.param)


@pytest.fixture
def x() -> Tensor:
    """Six images: one block of four and a part of one. Some pixels are black or white, where the box [0, 1] ends."""
    generator = torch.Generator().manual_seed(1)
    images = (1.4 * torch.rand(6, *SHAPE, generator=generator) - 0.2).clamp(0, 1)
    return images.half().double()


@pytest.fixture
def y() -> Tensor:
    return torch.tensor([3, 1, 4, 1, 5, 9])


def js(expression: str, net: nn.Sequential, x: Tensor, y: Tensor, **options: Any) -> Any:
    names = "const { net: state, images, y, ...options } = data; const net = nn.network(state), x = nn.decode(images);"
    code = f"(() => {{ {names} return {expression}; }})()"
    return node(code, net=encode(net, x[:1]), images=numbers(x), y=y.tolist(), **options)


def close(got: Any, want: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(torch.tensor(got, dtype=torch.float64).view_as(want), want, atol=tolerance, rtol=0)


def test_decode_reads_every_kind_of_float16() -> None:
    values = torch.tensor([0.0, 1.0, -1.0, 0.1, 65504.0, -65504.0, 6e-8, -6e-5, 6.1e-5, 1 / 3])
    assert node("nn.decode(data.text)", text=numbers(values)) == values.half().double().tolist()


def test_logits(net: nn.Sequential, x: Tensor, y: Tensor) -> None:
    close(js("nn.forward(net, x, 6)", net, x, y), net(x).detach())


def test_probabilities_and_reading(net: nn.Sequential, x: Tensor, y: Tensor) -> None:
    p, read = js("[nn.probabilities(net, x, 6), nn.reads(nn.probabilities(net, x, 6), 10)]", net, x, y)
    close(p, net(x).softmax(1).detach())
    assert read == net(x).argmax(1).tolist()


def test_loss_and_gradient(net: nn.Sequential, x: Tensor, y: Tensor) -> None:
    v = x.clone().requires_grad_()
    loss = F.cross_entropy(net(v), y, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), v)
    got = js("nn.lossAndGradient(net, x, y)", net, x, y)
    close(got["loss"], loss.detach())
    close(got["gradient"], gradient)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("threat", [Linf(0.1), Linf(0.0), L2(0.8)], ids=str)
def test_attacks_are_those_of_the_package(
    net: nn.Sequential, x: Tensor, y: Tensor, threat: Linf | L2, targeted: bool
) -> None:
    options = {"norm": type(threat).__name__, "eps": threat.eps, "targeted": targeted}
    got = js("attack.fgsm(net, x, y, options)", net, x, y, **options)
    close(got, FGSM(threat, targeted=targeted)(net, x, y))
    got = js("attack.pgd(net, x, y, { ...options, steps: 10 })", net, x, y, **options)
    close(got, PGD(threat, steps=10, random_start=False, targeted=targeted)(net, x, y))


def test_pgd_tells_the_loss_before_each_step(x: Tensor, y: Tensor) -> None:
    net = model("mlp")
    got = js(
        "(() => { const trace = []; attack.pgd(net, x, y, { norm: 'Linf', eps: 0.1, steps: 3, "
        "onStep: (step, loss) => trace.push([step, loss]) }); return trace; })()",
        net, x, y,
    )  # fmt: skip
    assert [step for step, _ in got] == [0, 1, 2]
    close(got[0][1], F.cross_entropy(net(x), y, reduction="none").detach())


def test_saturated_network_gives_finite_numbers(x: Tensor, y: Tensor) -> None:
    net = model("mlp")
    net[-1].weight.data *= 1000
    got = js("nn.lossAndGradient(net, x, y)", net, x, y)
    assert all(isinstance(v, float | int) for v in got["loss"] + got["gradient"])  # JSON writes NaN as null


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("eps", [0.0, 0.3, 2.0])
def test_projection(norm: str, eps: float) -> None:
    generator = torch.Generator().manual_seed(2)
    deltas = torch.cat([torch.randn(20, 16, generator=generator) * s for s in (0.01, 1, 100)]).double()
    code = "data.deltas.map((d) => attack.norms[data.norm].project(d, data.eps))"
    once = torch.tensor(node(code, deltas=deltas.tolist(), norm=norm, eps=eps), dtype=torch.float64)
    threat = {"Linf": Linf, "L2": L2}[norm](min(eps, 1.0) if norm == "Linf" else eps)
    assert (threat.norm(once) <= eps + 1e-12).all()
    inside = threat.norm(deltas) <= eps
    assert torch.equal(once[inside], deltas[inside])
    twice = node(code, deltas=once.tolist(), norm=norm, eps=eps)
    close(twice, once, 1e-12)
    if threat.eps == eps:
        close(once.tolist(), threat.clip(deltas), 1e-12)


def test_steepest_of_nothing_is_nothing() -> None:
    assert node("['Linf', 'L2'].map((n) => attack.norms[n].steepest([0, 0]))") == [[0, 0], [0, 0]]


@pytest.mark.parametrize(("k", "n"), [(0, 100), (1, 100), (56, 100), (100, 100), (3, 7)])
def test_wilson_is_that_of_the_package(k: int, n: int) -> None:
    estimate = Estimate.proportion([True] * k + [False] * (n - k))
    low, high = node("base.wilson(data.k, data.n)", k=k, n=n)
    assert low == pytest.approx(estimate.low, abs=1e-12)
    assert high == pytest.approx(estimate.high, abs=1e-12)


def test_the_bundle_of_d3_works_as_a_module() -> None:
    assert node("d3.scaleLinear([0, 1], [0, 10])(0.5)") == 5


EPS = [0, 0.1, 0.2]
IMAGES = 37  # no multiple of eight: rows of bits end within a byte


@pytest.fixture
def survives() -> dict[str, Tensor]:
    """What four attacks leave of the same images; some images are misread clean, yet survive an attack."""
    generator = torch.Generator().manual_seed(3)
    made = torch.rand(4, len(EPS), IMAGES, generator=generator) < 0.7
    made[:, 0] = made[0, 0]
    return dict(zip("abcd", made, strict=True))


def test_booleans_arrive_as_they_were(survives: dict[str, Tensor]) -> None:
    (defence,) = worst_case({"one": survives}, EPS).state["defences"]
    for attack, sent in zip(defence["attacks"], survives.values(), strict=True):
        text = attack["survives"]
        got = node("worst.unpack(data.text, data.n)", text=text, n=len(EPS) * IMAGES)
        assert got == (sent & sent[0]).flatten().int().tolist()


@pytest.mark.parametrize("on", ["", "a", "bd", "abcd"])
@pytest.mark.parametrize("e", range(len(EPS)))
def test_the_worst_case_is_what_survives_every_attack(survives: dict[str, Tensor], on: str, e: int) -> None:
    clean = survives["a"][0]
    rows = [survives[name][e] for name in on]
    stands = torch.stack([clean, *rows]).all(0)
    code = """(() => {
        const bits = (list) => Uint8Array.from(list);
        const [clean, rows] = [bits(data.clean), data.rows.map(bits)];
        const stands = worst.standing(clean, rows);
        return [stands, worst.total(stands), worst.alone(clean, rows)];
    })()"""
    sent = {"clean": clean.int().tolist(), "rows": [row.int().tolist() for row in rows]}
    got, total, alone = node(code, **sent)
    assert got == stands.int().tolist()
    assert total == int(stands.sum())
    # Broken by one of them only: right when clean, and the row of falls has a single entry.
    falls = torch.stack(rows).logical_not() & clean if rows else torch.zeros(0, IMAGES, dtype=torch.bool)
    assert alone == (falls & (falls.sum(0) == 1)).sum(1).tolist()


@pytest.mark.parametrize(
    ("names", "only", "right", "says"),
    [
        ([], [], 196, "Without an attack this defence reads 98 % [95, 99]. None is switched on."),
        (["PGD"], [4], 192, "At ε = 0.15 this defence reads 96 % [92, 98] against PGD. Switched on: 1 of 5 attacks."),
        (
            ["PGD", "APGD", "Square"],
            [0, 1, 31],
            24,
            "At ε = 0.15 this defence reads 12 % [8, 17] against the worst of 3 attacks. Switched on: PGD, APGD and "
            "Square. Square breaks the most that no other breaks: 31 images.",
        ),
        (
            ["PGD", "Square"],
            [1, 1],
            0,
            "At ε = 0.15 this defence reads 0 % [0, 2] against the worst of 2 attacks. Switched on: PGD and Square. "
            "PGD and Square break the most that no other breaks: 1 image each.",
        ),
        (
            ["PGD", "Square"],
            [0, 0],
            200,
            "At ε = 0.15 this defence reads 100 % [98, 100] against the worst of 2 attacks. Switched on: PGD and "
            "Square. No image falls to one of them only.",
        ),
    ],
)
def test_the_sentence_about_the_worst_case(names: list[str], only: list[int], right: int, says: str) -> None:
    sent = {"eps": "0.15", "right": right, "n": 200, "names": names, "of": 5, "only": only}
    pieces = node("worst.sentence(data)", **sent)
    assert "".join(pieces).replace("\xa0", " ") == says
    estimate = Estimate.proportion([True] * right + [False] * (200 - right))
    assert pieces[1] == "{:.0f}\xa0% [{:.0f}, {:.0f}]".format(
        *(100 * v for v in (estimate.value, estimate.low, estimate.high))
    )


def test_radii_are_written_short() -> None:
    values = [0, 0.1, 0.025, 8 / 255, 0.30000000000000004, 1, 0.0005]
    written = ["0.00", "0.10", "0.025", "0.0314", "0.30", "1.00", "0.0005"]
    assert node("data.values.map(worst.short)", values=values) == written


def plane_net() -> nn.Sequential:
    """A small network over the plane, with weights that float16 holds exactly, in double precision."""
    torch.manual_seed(0)
    first = Normalize(torch.tensor([0.5]), torch.tensor([0.25]))
    layers = [nn.Flatten(), nn.Linear(2, 7), nn.ReLU(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2)]
    return nn.Sequential(first, *layers).half().double().eval()


@pytest.fixture
def points() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(9, 1, 1, 2, generator=generator).half().double()
    return x, (x[:, 0, 0, 0] > x[:, 0, 0, 1]).long()


def test_gradients_of_the_weights(points: tuple[Tensor, Tensor]) -> None:
    net, (x, y) = plane_net(), points
    loss = F.cross_entropy(net(x), y)
    want = torch.autograd.grad(loss, list(net.parameters()))
    code = "(() => { const all = []; const loss = nn.learn(net, x, y, (w, g) => all.push(g)); return [loss, all]; })()"
    got, gradients = js(code, net, x, y)
    assert got == pytest.approx(loss.item(), abs=1e-9)
    # Layers learn from the last to the first, each its weight before its bias.
    order = [k for layer in reversed(range(3)) for k in (2 * layer, 2 * layer + 1)]
    for gradient, k in zip(gradients, order, strict=True):
        close(gradient, want[k])


@pytest.mark.parametrize("adversarial", [False, True])
def test_training_is_that_of_torch(points: tuple[Tensor, Tensor], adversarial: bool) -> None:
    """Twenty rounds of Adam, on the points or on their worst places."""
    net, (x, y) = plane_net(), points
    options = {"norm": "Linf", "eps": 0.1, "steps": 3, "stepSize": 2.5 * 0.1 / 3}
    at = "attack.pgd(net, x, y, options)" if adversarial else "x"
    code = f"""(() => {{
        const move = nn.adam(0.02);
        for (let round = 0; round < 20; round++) nn.learn(net, {at}, y, move);
        return nn.forward(net, x, 9);
    }})()"""
    got = js(code, net, x, y, **options)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    attack = PGD(Linf(0.1), steps=3, random_start=False)
    for _ in range(20):
        learned = attack(net, x, y) if adversarial else x
        optimizer.zero_grad()
        F.cross_entropy(net(learned), y).backward()
        optimizer.step()
    close(got, net(x).detach(), 1e-6)


def test_a_convolution_refuses_to_learn(x: Tensor, y: Tensor) -> None:
    code = "(() => { try { nn.learn(net, x, y, nn.adam(0.1)); } catch (error) { return error.message; } })()"
    assert js(code, model("cnn"), x, y) == "the page can train Linear layers only"


def test_the_score_of_points(points: tuple[Tensor, Tensor]) -> None:
    net, (x, y) = plane_net(), points
    loss, right = js("moons.score(net, x, y)", net, x, y)
    assert loss == pytest.approx(F.cross_entropy(net(x), y).item(), abs=1e-9)
    assert right == int((net(x).argmax(1) == y).sum())


def test_the_field_is_asked_row_by_row_from_below(points: tuple[Tensor, Tensor]) -> None:
    net, (x, y) = plane_net(), points
    up, right = torch.meshgrid(*[torch.linspace(0, 1, 5).double()] * 2, indexing="ij")
    logits = net(torch.stack([right, up], -1).view(25, 1, 1, 2)).detach()
    close(js("plane.field(net, 5)", net, x, y), logits[:, 1] - logits[:, 0])


def test_the_contour_of_a_plane_is_a_straight_line_from_side_to_side() -> None:
    up, right = torch.meshgrid(*[torch.linspace(0, 1, 9).double()] * 2, indexing="ij")
    pieces = torch.tensor(node("contour.contour(data.values, 9)", values=(right + 2 * up - 1.3).flatten().tolist()))
    assert (pieces[..., 0] + 2 * pieces[..., 1]).flatten().tolist() == pytest.approx([1.3] * 2 * len(pieces))
    # From the left side, at height 0.65, to the right side, at 0.15, without a gap.
    assert (pieces[:, 0] - pieces[:, 1]).norm(dim=1).sum() == pytest.approx(1.25**0.5)


def test_the_contour_of_a_checkerboard_has_two_pieces_a_cell() -> None:
    pieces = node("contour.contour([1, -1, -1, 1], 2)")
    assert sorted(map(sorted, pieces)) == [[[0, 0.5], [0.5, 1]], [[0.5, 0], [1, 0.5]]]


def test_no_change_of_sign_has_no_contour() -> None:
    assert node("contour.contour([1, 2, 3, 4], 2)") == []


CLOUDS = TwoGaussians(torch.cat([torch.tensor([0.06, -0.04, 0.02]), torch.zeros(20)]), sigma=0.05)


def right(w: Tensor, eps: float) -> float:
    return 1 - CLOUDS.linear_error(w, -0.5 * float(w.sum()), Linf(eps))


@pytest.mark.parametrize("z", [-40, -8.1, -6.5, -1.5, -1e-9, 0, 0.3, 2, 7.9, 9])
def test_the_share_below_z(z: float) -> None:
    assert node("chance.below(data.z)", z=z) == pytest.approx(0.5 * math.erfc(-z / math.sqrt(2)), abs=1e-14)


def test_the_number_below_which_a_share_lies() -> None:
    shares = [1e-9, 0.001, 0.3, 0.5, 0.501, 0.975, 0.99993, 1 - 1e-9]
    got = node("data.shares.map(chance.quantile)", shares=shares)
    assert got == pytest.approx([float(stats.norm.ppf(p)) for p in shares], abs=1e-6)


@pytest.mark.parametrize("n", [1, 10, 100, 3000, 100_000])
def test_the_least_share_is_that_of_the_package(n: int) -> None:
    hits = sorted({0, 1, n // 3, n // 2, n - n // 50, n - 1, n})
    for alpha in (0.001, 0.05):
        got = node("data.hits.map((k) => chance.leastShare(k, data.n, data.alpha))", hits=hits, n=n, alpha=alpha)
        assert got == pytest.approx(smoothing._at_least(hits, n, alpha).tolist(), abs=1e-9)


def test_the_incomplete_beta_function() -> None:
    cases = [[x, a, b] for x in (0, 1e-6, 0.2, 0.5, 0.9999, 1) for a in (0.5, 3, 80, 5000) for b in (1, 2.5, 300)]
    got = node("data.cases.map((c) => chance.beta(...c))", cases=cases)
    assert got == pytest.approx([float(special.betainc(a, b, x)) for x, a, b in cases], abs=1e-10)


def test_the_noise_of_a_page_is_normal_and_the_same_each_time() -> None:
    code = "data.seeds.map((seed) => chance.normals(20_001, seed))"
    one, other, again = node(code, seeds=[0, 1, 0])
    assert one == again
    for drawn in (one, other):
        assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert abs(stats.pearsonr(one, other).statistic) < 0.03
    assert abs(stats.pearsonr(one[:-1], one[1:]).statistic) < 0.03


@pytest.mark.parametrize("eps", [0, 0.01, 0.03])
def test_accuracy_of_a_line_is_that_of_the_package(eps: float) -> None:
    generator = torch.Generator().manual_seed(4)
    lines = torch.randn(5, len(CLOUDS.mu), generator=generator).double() * 0.02 + CLOUDS.mu.double()
    code = "data.lines.map((w) => tradeoff.accuracy(w, data.mu, data.sigma, data.eps))"
    got = node(code, lines=lines.tolist(), mu=CLOUDS.mu.double().tolist(), sigma=CLOUDS.sigma, eps=eps)
    assert got == pytest.approx([right(w, eps) for w in lines], abs=1e-12)


def test_a_line_that_has_heard_nothing_guesses() -> None:
    assert node("tradeoff.accuracy([0, 0], [0.1, 0], 0.05, 0.2)") == 0.5


@pytest.mark.parametrize("eps", [0.0, 0.012, 0.06])
def test_what_robust_training_keeps_is_the_best_answer_to_the_threat(eps: float) -> None:
    mu = CLOUDS.mu.double()
    kept = node("tradeoff.shrink(data.mu, data.eps)", mu=mu.tolist(), eps=eps)
    close(kept, mu - Linf(eps).clip(mu[None])[0], 1e-15)
    if any(kept):
        assert right(torch.tensor(kept), eps) == pytest.approx(1 - CLOUDS.robust_error(Linf(eps)), abs=1e-12)


def test_the_summary_of_two_learners() -> None:
    n, eps, draws = 30, 0.02, 4
    noise = torch.randn(draws, len(CLOUDS.mu), generator=torch.Generator().manual_seed(5)).double()
    seen = CLOUDS.mu.double() + CLOUDS.sigma / n**0.5 * noise
    kept = seen - seen.clamp(-eps, eps)
    code = """(() => {
        const seen = data.noise.map((z) => tradeoff.learned(data.mu, z, data.sigma, data.n));
        return tradeoff.summary(seen, data.mu, data.sigma, data.eps, data.t);
    })()"""
    t = float(stats.t.ppf(0.975, draws - 1))
    mu = CLOUDS.mu.double().tolist()
    got = node(code, noise=noise.tolist(), mu=mu, sigma=CLOUDS.sigma, n=n, eps=eps, t=t)
    for name, lines in {"standard": seen, "robust": kept}.items():
        for kind, radius in {"clean": 0.0, "attacked": eps}.items():
            want = sum(right(w, radius) for w in lines) / draws
            assert got[name][kind] == pytest.approx(want, abs=1e-12)
    want = Estimate.mean([right(a, 0) - right(b, 0) for a, b in zip(kept, seen, strict=True)], "points", "draws")
    assert got["gain"] == pytest.approx({"value": want.value, "low": want.low, "high": want.high}, abs=1e-12)


@pytest.mark.parametrize(
    ("low", "value", "high", "says"),
    [
        (0.018, 0.036, 0.0532, "+3.6 [+1.8, +5.3] points. Robust training helps."),
        (-0.01, 0.002, 0.013, "+0.2 [−1, +1.3] points. Too close to call."),
        (-0.13, -0.1, -0.07, "−10 [−13, −7] points. Robust training costs."),
        (-0.0004, 0.0, 0.0004, "0 [0, 0] points. Too close to call."),
    ],
)
def test_the_sentence_about_a_gain(low: float, value: float, high: float, says: str) -> None:
    gain = {"eps": 0.2, "low": low, "value": value, "high": high}
    reach = [0.1, 0.2, 0.3]
    got = node("tradeoff.finding('100 digits', data.gain, data.reach)", gain=gain, reach=reach)
    most = "2 of 3 training digits can meet another one"
    assert got == f"Learned from 100 digits, ε = 0.20: {says} {most}."


@pytest.mark.parametrize("values", [[0.2, 0.5, 0.3, 0.5, 0.1], [0.1, 0.2, 0.3], [0.4, 0.4], [0.9, 0.0, 0.5, 0.25]])
def test_best_epoch_and_largest_fall(values: list[float]) -> None:
    v = torch.tensor(values, dtype=torch.float64)
    falls = v[:-1] - v[1:]
    size = falls.max().clamp(min=0)
    at = int((falls == size).nonzero()[0]) + 1 if size > 0 else 0
    assert node("epochs.best(data.values)", values=values) == values.index(max(values))
    assert node("epochs.largestFall(data.values)", values=values) == {"size": float(size), "at": at}


@pytest.mark.parametrize(
    ("value", "e", "says"),
    [
        (
            [0.2, 0.5, 0.1, 0.3],
            2,
            "After epoch 12, PGD: 10 %, 40 points below the best (epoch 8). From the best to the last, 20 points are "
            "lost. Sharpest fall: 40 points, to epoch 12.",
        ),
        ([0.1, 0.2], 1, "After epoch 8, PGD: 20 %, the best of all epochs. The last epoch is the best one."),
    ],
)
def test_the_sentence_about_an_epoch(value: list[float], e: int, says: str) -> None:
    pieces = node("epochs.sentence(data)", epochs=[4, 8, 12, 16][: len(value)], e=e, name="PGD", value=value)
    assert "".join(pieces).replace("\xa0", " ") == says


def test_votes_under_noise(points: tuple[Tensor, Tensor]) -> None:
    net, (x, y) = plane_net(), points
    zero, one = net(torch.tensor([0.4, 0.6]).double().view(1, 1, 1, 2))[0].tolist()
    net[-1].bias.data[1] -= one - zero  # the border runs through the point
    net.half().double()
    looks = torch.randn(500, 2, generator=torch.Generator().manual_seed(6)).double()
    code = "noise.vote(net, data.point, 0.3, Float64Array.from(data.looks))"
    got = js(code, net, x, y, point=[0.4, 0.6], looks=looks.flatten().tolist())
    want = net((torch.tensor([0.4, 0.6]).double() + 0.3 * looks).view(-1, 1, 1, 2)).argmax(1)
    assert 50 < sum(got) < 450
    assert got == want.tolist()


@pytest.mark.parametrize("n", [10, 1000, 100_000])
def test_what_votes_certify_is_what_the_package_certifies(n: int) -> None:
    for hits in (0, n // 2, 3 * n // 4, n):
        low = float(smoothing._at_least(hits, n, 0.001))
        got = node("noise.certified(data.hits, data.n, 0.25, 0.001)", hits=hits, n=n)
        assert got["low"] == pytest.approx(low, abs=1e-9)
        assert got["radius"] == pytest.approx(max(0.0, 0.25 * float(stats.norm.ppf(low))), abs=1e-6)


@pytest.mark.parametrize(
    ("hits", "low", "radius", "says"),
    [
        (644, 0.5962, 0.0244, "at least 59.6 %. Certified radius 0.024; n could show 0.246 at most."),
        (1000, 0.9931, 0.2462, "at least 99.3 %. Certified radius 0.246; all that n can show."),
        (510, 0.4611, 0, "at least 46.1 %. Abstain: that is not surely more than half."),
    ],
)
def test_the_sentence_about_votes(hits: int, low: float, radius: float, says: str) -> None:
    sent = {"top": 1, "n": 1000, "hits": hits, "low": low, "radius": radius, "sigma": 0.1, "limit": 0.2462}
    got = "".join(node("noise.sentence(data)", **sent)).replace("\xa0", " ")
    assert got == f"σ = 0.10, {hits:,} of 1,000 votes for square: its share is {says}"


def tiny_net(seed: int, *sizes: int) -> nn.Sequential:
    torch.manual_seed(seed)
    parts = [part for a, b in zip((2, *sizes), (*sizes, 2), strict=True) for part in (nn.Linear(a, b), nn.ReLU())]
    net = nn.Sequential(*parts[:-1]).double().eval()
    for layer in net[::2]:
        nn.init.normal_(layer.weight, std=1.2)
        layer.bias.data *= 0.2
    net[0].bias.data -= net[0].weight @ TINY_POINT[0]  # so that many signs are open
    return net.requires_grad_(False)


TINY = [(0, 3, 3), (3, 3, 2), (4, 4, 4), (5, 3), (6, 2, 3, 2)]
TINY_POINT, TINY_EPS = torch.tensor([[0.45, 0.9]], dtype=torch.float64), 0.2  # the box ends at 1


@pytest.fixture(params=TINY, ids=str)
def tiny(request: pytest.FixtureRequest) -> nn.Sequential:
    return tiny_net(*request.param)


def tiny_js(net: nn.Sequential, expression: str, label: int = 1, **data: Any) -> Any:
    """The value of an expression over the layers that the page gets, a box around a point, and the box's corners."""
    names = "const layers = data.layers, box = data.box, piece = bounds.corners(box);"
    layers = bounds_flow(net, label=label).state["layers"]
    return node(f"(() => {{ {names} return {expression}; }})()", layers=layers, box=tiny_box().tolist(), **data)


def tiny_box() -> Tensor:
    return torch.stack([TINY_POINT[0] - TINY_EPS, (TINY_POINT[0] + TINY_EPS).clamp(max=1)], 1)


def inside(rows: int = 41) -> Tensor:
    low, high = tiny_box().T
    shares = torch.cartesian_prod(*[torch.linspace(0, 1, rows).double()] * 2)
    return low + shares * (high - low)


def before_relus(net: nn.Sequential, x: Tensor, label: int = 1) -> list[Tensor]:
    values = []
    for layer in net:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            values.append(x)
    return [*values[:-1], x[:, [label]] - x[:, [1 - label]]]


def all_neurons(net: nn.Sequential) -> list[list[int]]:
    return [[k, i] for k, layer in enumerate(net[:-1:2]) for i in range(layer.out_features)]


def test_what_a_tiny_network_computes(tiny: nn.Sequential) -> None:
    label = tiny[0].out_features % 2
    x = inside(3)
    got = tiny_js(tiny, "data.x.map((x) => bounds.trace(layers, x))", label, x=x.tolist())
    for k, want in enumerate(before_relus(tiny, x, label)):
        close([row[k] for row in got], want, 1e-12)


def test_boxes_are_those_of_the_package(tiny: nn.Sequential) -> None:
    label = tiny[0].out_features % 2
    *hidden, margin = tiny_js(tiny, "bounds.boxes(layers, box)", label)
    y, threat = torch.tensor([label]), Linf(TINY_EPS)
    steps = certified.Net(tiny, TINY_POINT, y, threat, tight=False).steps
    for got, step in zip(hidden, steps[1::2], strict=True):
        close(got, torch.stack([step.low[0], step.high[0]], 1))
    assert margin[0][0] == pytest.approx(ibp(tiny, TINY_POINT, y, threat)[0, 1 - label].item(), abs=1e-9)


def test_lines_are_those_of_the_package(tiny: nn.Sequential) -> None:
    label = tiny[0].out_features % 2
    got = tiny_js(tiny, "bounds.lines(layers, piece)", label)
    y = torch.tensor([label])
    net = certified.Net(tiny, TINY_POINT, y, Linf(TINY_EPS), tight=True)
    for bounds, step in zip(got["bounds"][:2], net.steps[1::2][:2], strict=False):
        low, high = torch.tensor(bounds, dtype=torch.float64).T
        open_ = (step.low[0] < 0) & (step.high[0] > 0)
        close(low[open_].tolist(), step.low[0][open_])
        close(high[open_].tolist(), step.high[0][open_])
        # Where the sign is settled the package is content with boxes; the page shows lines there too.
        assert (low >= step.low[0] - 1e-9).all()
        assert (high <= step.high[0] + 1e-9).all()
    if len(got["bounds"]) > 3:
        return  # a third layer profits from it
    behind = torch.tensor(got["bounds"][-2], dtype=torch.float64).clamp(min=0)
    row = tiny[-1].weight[label] - tiny[-1].weight[1 - label]
    boxed = (row[:, None] * behind).min(1).values.sum() + tiny[-1].bias[label] - tiny[-1].bias[1 - label]
    by_lines = net.lowest(net.differences(y))[0, 1 - label].item()
    assert got["margin"] == pytest.approx(max(by_lines, boxed.item()), abs=1e-9)
    assert got["margin"] >= net.margins(y)[0, 1 - label].item() - 1e-9


def clamped(net: nn.Sequential, signs: list[list[int]], label: int = 1) -> float:
    """The margin's lower bound by lines, when split neurons have their box cut off at zero, and nothing else."""
    low, high = (end[None] for end in tiny_box().T)
    box, steps = (low, high), []

    def lowest(weights: Tensor, constant: Tensor) -> Tensor:
        for layer, around in reversed(steps):
            if around is None:
                weights, more = rules.pull(layer, weights, torch.Size([layer.in_features]))
            else:
                below, above, offset = around
                more = (weights.clamp(max=0) * offset).sum(2)
                weights = weights.clamp(min=0) * below + weights.clamp(max=0) * above
            constant = constant + more
        return constant + (weights.clamp(min=0) * low + weights.clamp(max=0) * high).sum(2)

    for k, layer in enumerate(net):
        if isinstance(layer, nn.ReLU):
            eye = torch.eye(box[0].shape[1]).double()[None]
            ends = [lowest(eye, torch.zeros(())), -lowest(-eye, torch.zeros(()))]
            sign = torch.tensor(signs[k // 2])
            a = torch.maximum(box[0], ends[0]).where(sign <= 0, torch.maximum(box[0], ends[0]).clamp(min=0))
            b = torch.minimum(box[1], ends[1]).where(sign >= 0, torch.minimum(box[1], ends[1]).clamp(max=0))
            box = (a, b)
            steps.append((layer, rules.lines(layer, a, b)))
        else:
            steps.append((layer, None))
        box = rules.interval(layer, *box)
    margin = torch.zeros(1, 1, 2).double()
    margin[0, 0, label], margin[0, 0, 1 - label] = 1, -1
    return lowest(margin, torch.zeros(())).item()


def test_cases_hold_what_is_reached_and_are_no_looser_than_clamped_boxes(tiny: nn.Sequential) -> None:
    splits = all_neurons(tiny)[1::2]  # of every layer
    cases = tiny_js(tiny, "bounds.branch(layers, piece, data.splits)", splits=splits)
    assert 1 < len(cases) <= 2 ** len(splits)
    x = inside()
    reached = before_relus(tiny, x)
    left = torch.ones(len(x), dtype=torch.bool)
    for case in cases:
        here = torch.ones(len(x), dtype=torch.bool)
        for k, i in splits:
            here &= reached[k][:, i] * case["signs"][k][i] > 0
        left &= ~here
        for bounds, values in zip(case["bounds"], reached, strict=True):
            low, high = torch.tensor(bounds, dtype=torch.float64).T
            assert (values[here] >= low - 1e-9).all()
            assert (values[here] <= high + 1e-9).all()
        assert (reached[-1][here] >= case["margin"] - 1e-9).all()
        assert case["margin"] >= clamped(tiny, case["signs"]) - 1e-9
    split = torch.stack([reached[k][:, i] != 0 for k, i in splits]).all(0)
    assert not (left & split).any()  # every input belongs to a case


def least_margin(net: nn.Sequential) -> float:
    """The lowest margin in the box: for each pattern of signs the network is linear, and a linear program says it."""
    neurons, box = all_neurons(net), tiny_box().tolist()
    best = float("inf")
    for pattern in range(2 ** len(neurons)):
        signs = iter(1 if pattern >> bit & 1 else -1 for bit in range(len(neurons)))
        weight, bias, limits = torch.eye(2).double(), torch.zeros(2).double(), []
        for k, layer in enumerate(net[::2]):
            weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
            if k < len(net[::2]) - 1:
                sign = torch.tensor([next(signs) for _ in range(layer.out_features)]).double()
                limits += [(-(sign[:, None] * weight), sign * bias)]
                weight, bias = weight * (sign[:, None] > 0), bias * (sign > 0)
        a, b = (torch.cat(parts).numpy() for parts in zip(*limits, strict=True))
        done = optimize.linprog((weight[1] - weight[0]).numpy(), a, b, bounds=box)
        if done.success:
            best = min(best, done.fun + float(bias[1] - bias[0]))
    return best


@pytest.mark.parametrize("sizes", [s for s in TINY if sum(s[1:]) < 7], ids=str)
def test_branching_at_every_neuron_meets_the_truth(sizes: tuple[int, ...]) -> None:
    net = tiny_net(*sizes)
    code = "[bounds.branch(layers, piece, data.splits), bounds.exact(layers, piece)]"
    cases, truth = tiny_js(net, code, splits=all_neurons(net))
    want = least_margin(net)
    assert min(case["margin"] for case in cases) == pytest.approx(want, abs=1e-6)
    assert truth["margin"] == pytest.approx(want, abs=1e-6)
    at = torch.tensor([truth["at"]], dtype=torch.float64)
    assert before_relus(net, at)[-1].item() == pytest.approx(truth["margin"], abs=1e-9)


def test_a_further_split_never_loosens_the_bound(tiny: nn.Sequential) -> None:
    least = "Math.min(...bounds.branch(layers, piece, data.splits.slice(0, n)).map((found) => found.margin))"
    code = f"data.splits.map((_, n) => {least})"
    found = tiny_js(tiny, code, splits=all_neurons(tiny))
    assert found == sorted(found)


def test_a_polygon_is_cut_in_two() -> None:
    code = "[1, -1].map((s) => bounds.cut(bounds.corners([[0, 1], [0, 2]]), [s, s, -1.5 * s]))"
    areas = [
        0.5 * abs(sum(a * d - b * c for (a, b), (c, d) in zip(piece, piece[1:] + piece[:1], strict=True)))
        for piece in node(code)
    ]
    assert areas == pytest.approx([1.0, 1.0])
    assert node("[-2, 0.5].map((c) => bounds.cut(bounds.corners([[0, 1], [0, 1]]), [0, 0, c]).length)") == [0, 4]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            {"boxes": -0.5, "lines": -0.25, "branching": -0.25, "splits": 0, "cases": 1, "truth": 0.125},
            "boxes: −0.50, by lines: −0.25. The lowest reached is 0.13. Not proved yet, and not broken: split an open "
            "neuron.",
        ),
        (
            {"boxes": -0.5, "lines": -0.25, "branching": 0.1, "splits": 1, "cases": 2, "truth": 0.1},
            "boxes: −0.50, by lines: −0.25, branching at 1 neuron, 2 cases: 0.10. The bound is exact. Proved: every "
            "input in the box has this class.",
        ),
        (
            {"boxes": -0.5, "lines": -0.25, "branching": -0.2, "splits": 2, "cases": 3, "truth": -0.001},
            "boxes: −0.50, by lines: −0.25, branching at 2 neurons, 3 cases: −0.20. The lowest reached is 0.00. No "
            "proof can come: some input in the box has the other class.",
        ),
    ],
)
def test_the_sentence_about_bounds(found: dict[str, float], says: str) -> None:
    got = "".join(node("flow.sentence(data)", eps=0.1, **found))
    assert got == f"ε = 0.100. The margin is at least, by {says}"


def test_a_neuron_is_written_as_a_formula() -> None:
    layer = {"weight": [[1, 0, -0.5], [0, 0, 0]], "bias": [-2, 0]}
    got = node("[[0, 0], [1, 0], [1, 1]].map(([k, i]) => flow.written(data.layer, k, i))", layer=layer)
    said = ["a₁ = 1.00 x₁ − 0.50 x₃ − 2.00", "b₁ = 1.00 ReLU(a₁) − 0.50 ReLU(a₃) − 2.00", "b₂ = 0"]
    assert [text.replace("\xa0", " ") for text in got] == said


def hits(seed: int, *shares: float) -> Tensor:
    """Made-up answers of five seeds to 80 images, for a model of each share: the images are equally hard for all."""
    hard = torch.rand(80, generator=torch.Generator().manual_seed(0))
    luck = 0.1 * torch.randn(len(shares), 5, 80, generator=torch.Generator().manual_seed(seed))
    return hard + luck < torch.tensor(shares)[:, None, None]


ROUTES = {
    "scratch": Route([10, 20, 40], hits(1, 0.2, 0.6, 0.5)),
    "tuned": Route([0, 5], hits(2, 0.1, 0.55), starts_from=30),
    "filter": Route([15], hits(3, 0.3)),
}


def test_what_a_route_costs_and_its_best_model_within_a_budget() -> None:
    routes = budget_figure(ROUTES).state["routes"]
    assert node("[true, false].map((free) => budget.costs(data.routes[1], free))", routes=routes) == [[0, 5], [30, 35]]
    picks = "data.budgets.map((most) => data.routes.map((route) => budget.pick(route, most, data.free)))"
    found = node(picks, routes=routes, budgets=[9, 10, 30, 1000], free=False)
    assert found == [[-1, -1, -1], [0, -1, -1], [1, 0, 0], [1, 1, 0]]
    assert node(picks, routes=routes, budgets=[0.1, 5], free=True) == [[-1, 0, -1], [-1, 1, -1]]


@pytest.mark.parametrize("picks", [[0, 0, 0], [1, 1, 0], [2, 1, -1], [-1, 0, 0]])
def test_the_ranking_of_routes_is_that_of_the_estimates(picks: list[int]) -> None:
    state = budget_figure(ROUTES).state
    got = node("budget.ranking(data.routes, data.picks, data.halves)", picks=picks, **state)
    models = {r: route.right[p] for r, (route, p) in enumerate(zip(ROUTES.values(), picks, strict=True)) if p >= 0}
    order = sorted(models, key=lambda r: -models[r].float().mean())
    assert got["order"] == order
    first, *others = (models[r].numpy().astype(int) for r in order)
    ahead = [Estimate.over_seeds(first - other) for other in others]
    assert got["rivals"] == [r for r, e in zip(order[1:], ahead, strict=True) if e.low <= 0]
    assert got["lead"] == pytest.approx({end: getattr(ahead[0], end) for end in ("value", "low", "high")}, abs=3e-4)


def test_a_route_alone_has_no_rival() -> None:
    got = node("budget.ranking(data.routes, [-1, -1, 0], data.halves)", **budget_figure(ROUTES).state)
    assert got == {"order": [2], "rivals": [], "lead": None}


@pytest.mark.parametrize(
    ("order", "rivals", "says"),
    [
        ([], [], "Within 40 passes no route has a model."),
        ([1], [], "Within 40 passes only B (50 % [45, 55]) has a model."),
        (
            [1, 0],
            [],
            "Within 40 passes the best is B (50 % [45, 55]), then A (40 % [36, 44]): +10 [+6, +14] points. B wins.",
        ),
        (
            [1, 0, 2],
            [0, 2],
            "Within 40 passes the best is B (50 % [45, 55]), then A (40 % [36, 44]): +10 [+6, +14] points. Not decided "
            "between B, A and C.",
        ),
    ],
)
def test_the_sentence_about_a_budget(order: list[int], rivals: list[int], says: str) -> None:
    values = {"A": (0.4, 0.36, 0.44), "B": (0.5, 0.45, 0.55), "C": (0.3, 0.3, 0.3)}
    routes = [{"name": name, "value": [v], "low": [a], "high": [b]} for name, (v, a, b) in values.items()]
    lead = {"value": 0.1, "low": 0.06, "high": 0.14}
    sent = {"routes": routes, "picks": [0, 0, 0], "order": order, "rivals": rivals, "lead": lead}
    got = "".join(node("budget.sentence(data)", budget="40 passes", **sent)).replace("\xa0", " ")
    assert got == says


WAVES = fit_curve().state
PLACES = np.linspace(0, 1, 50)
POINTS = np.array(WAVES["x"])


def waves(x: np.ndarray, p: int) -> np.ndarray:
    """(x, p) the first features of the figure."""
    return np.sqrt(2) * np.cos(np.outer(x, WAVES["frequency"][:p]) + WAVES["phase"][:p])


def test_singular_values_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    tall = rng.normal(size=(9, 4)) * [1, 1e-3, 1e-6, 1e-9]
    doubled = rng.normal(size=(5, 8))
    doubled[4] = doubled[0]  # of rank 4
    cases = [tall, tall.T, doubled, doubled.T, np.zeros((3, 3))]
    code = "data.cases.map((rows) => fit.singular(rows.map((row) => Float64Array.from(row))))"
    for matrix, parts in zip(cases, node(code, cases=[case.tolist() for case in cases]), strict=True):
        rank = np.linalg.matrix_rank(matrix)
        values = sorted((part["value"] for part in parts), reverse=True)
        assert values == pytest.approx(np.linalg.svd(matrix)[1][:rank], rel=1e-6)
        if not rank:
            continue
        left, right = (np.array([part[side] for part in parts]) for side in ("left", "right"))
        for side in (left, right):
            np.testing.assert_allclose(side @ side.T, np.eye(rank), atol=1e-12)
        again = (left.T * [part["value"] for part in parts]) @ right
        np.testing.assert_allclose(again, matrix, atol=1e-12)


WIDTHS = [1, 2, 11, 14, 15, 16, 17, 18, 20, 45, 150, 400]


def test_a_fit_is_that_of_numpy_on_both_sides_of_the_threshold() -> None:
    code = """(() => {
        const [seen, shown] = [data.x, data.places].map((at) => fit.features(data.waves, at));
        return data.widths.map((p) => {
            const solver = fit.solver(fit.first(seen, p), fit.first(shown, p));
            return data.targets.map((y) => data.ridges.map((ridge) => {
                const { weights, train, norm } = solver.fit(Float64Array.from(y), ridge);
                return { train, norm, curve: solver.curve(weights) };
            }));
        });
    })()"""
    targets = [
        np.sin(2 * np.pi * POINTS) + sigma * np.array(WAVES["noise"][k]) for k, sigma in enumerate([0, 0.2, 0.6])
    ]
    ridges = [0, 1e-5, 0.1, 10]
    sent = {"widths": WIDTHS, "targets": [y.tolist() for y in targets], "ridges": ridges}
    got = node(code, waves=WAVES, x=WAVES["x"], places=PLACES.tolist(), **sent)
    for p, of_width in zip(WIDTHS, got, strict=True):
        seen, shown = waves(POINTS, p), waves(PLACES, p)
        for y, of_target in zip(targets, of_width, strict=True):
            for ridge, found in zip(ridges, of_target, strict=True):
                # A ridge is least squares with rows √λ below, which keeps the digits that normal equations lose.
                rows = np.concatenate([seen, ridge**0.5 * np.eye(p)]) if ridge else seen
                w = np.linalg.lstsq(rows, np.concatenate([y, np.zeros(len(rows) - len(y))]), rcond=None)[0]
                assert found["norm"] == pytest.approx(np.linalg.norm(w), rel=1e-6)
                assert found["train"] == pytest.approx(np.mean((seen @ w - y) ** 2), rel=1e-6, abs=1e-12)
                np.testing.assert_allclose(found["curve"], shown @ w, rtol=1e-6, atol=1e-6 * np.abs(shown @ w).max())


def test_the_widths_go_through_the_threshold_one_by_one() -> None:
    cases = [(8, 16), (16, 400), (24, 1000)]
    for (n, most), sizes in zip(cases, node("data.cases.map((each) => fit.widths(...each))", cases=cases), strict=True):
        assert sizes[: n + 3] == list(range(1, n + 4))
        assert sizes[-1] == most
        assert all(a < b for a, b in pairwise(sizes))
        assert len(sizes) < 70


def test_the_default_curve_shows_what_the_lesson_says() -> None:
    """With the first noise: a first descent, a peak at the threshold, a second descent; a ridge levels the peak."""

    def errors(ridge: float) -> dict[int, float]:
        y = np.sin(2 * np.pi * POINTS) + 0.2 * np.array(WAVES["noise"][0])
        goal, found = np.sin(2 * np.pi * PLACES), {}
        for p in [*range(1, 40), *range(40, 401, 8)]:
            left, values, right = np.linalg.svd(waves(POINTS, p), full_matrices=False)
            w = right.T @ (values / (values**2 + ridge) * (left.T @ y))
            found[p] = float(np.mean((waves(PLACES, p) @ w - goal) ** 2))
        return found

    plain = errors(0)
    first = min(plain[p] for p in range(1, 16))
    assert max(plain, key=plain.__getitem__) == 16
    assert plain[1] > 5 * first
    assert plain[16] > 100 * first
    assert plain[400] < 2 * first
    assert max(error for p, error in errors(0.1).items() if p > 11) < 4 * first


@pytest.mark.parametrize(
    ("p", "ridge", "train", "says"),
    [
        (1, 0, 0.5, "1 feature for 16 points: the fit misses the points by 0.5. Test error: 1,230."),
        (16, 0, 1e-20, "16 features for 16 points: the fit meets every point. Test error: 1,230."),
        (40, 0.1, 0.0123456, "40 features for 16 points: the fit misses the points by 0.0123, held back by λ = 0.1."),
    ],
)
def test_the_sentence_about_a_fit(p: int, ridge: float, train: float, says: str) -> None:
    sent = {"p": p, "n": 16, "ridge": ridge, "test": 1234.5, "train": train, "norm": 0.00012345}
    text = "".join(node("fit.sentence(data)", **sent))
    assert text.startswith(says)
    assert text.endswith("Test error: 1,230. Size of the weights: 0.000123.")


SCALE = """(() => {
    const { height, loss, ticks } = terrain.scaleOf(data.losses, data.log);
    return { heights: data.losses.map(height), back: data.losses.map(height).map(loss), ticks };
})()"""


def test_heights_of_losses_and_of_their_logarithms() -> None:
    losses = [0.02, 0.5, 3.0, 20.0]
    plain = node(SCALE, losses=losses, log=False)
    assert plain["heights"] == pytest.approx([loss / 20 for loss in losses])
    assert plain["ticks"] == [0, 5, 10, 15, 20]
    logs = node(SCALE, losses=losses, log=True)
    assert logs["heights"] == pytest.approx([math.log10(loss / 0.02) / 3 for loss in losses])
    assert logs["ticks"] == [0.1, 1, 10]
    for scale in (plain, logs):
        assert scale["back"] == pytest.approx(losses)


def test_heights_of_losses_without_a_logarithm() -> None:
    assert node(SCALE, losses=[0, 1e-9, 1], log=True)["heights"] == [0, 0, 1]
    for log in (False, True):
        assert node(SCALE, losses=[3, 3], log=log)["heights"] == [1, 1]
        assert node(SCALE, losses=[0, 0], log=log)["heights"] == [0, 0]


def test_a_landscape_is_seen_as_a_turned_box() -> None:
    points = np.random.default_rng(1).uniform([-1, -1, 0], [1, 1, 1], (20, 3))
    for turned, raised in [(0, 10), (-35, 40), (120, 65), (180, 90)]:
        a, b = np.deg2rad([turned, raised])
        right = np.array([np.cos(a), -np.sin(a), 0])
        upwards = np.array([np.sin(a) * np.sin(b), np.cos(a) * np.sin(b), np.cos(b)])  # of the picture
        code = "data.points.map(terrain.view(data).at)"
        sent = {"turned": turned, "raised": raised, "wide": 400, "tall": 300}
        got = np.array(node(code, points=points.tolist(), **sent))
        unit = 256 / np.sqrt(2**2 + 2**2 + 1.1**2)  # what is left of 300 is for the writing
        box = (points - [0, 0, 0.5]) * [1, 1, 1.1]
        expected = np.stack([200 + unit * box @ right, 150 - unit * box @ upwards], 1)
        np.testing.assert_allclose(got, expected, atol=1e-9)


def test_light_comes_from_the_left_whichever_way_a_landscape_is_turned() -> None:
    code = "data.turns.map((turned) => data.slopes.map(terrain.view({ ...data, turned }).brightness))"
    sent = {"turns": [0, 90], "raised": 90, "wide": 400, "tall": 300}
    at_rest, turned = node(code, slopes=[[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], **sent)
    flat, rising, falling = at_rest[:3]  # from left to right: who rises is turned to the light
    assert rising > flat > falling
    assert turned[3] == pytest.approx(falling)
    assert turned[4] == pytest.approx(rising)


def test_contour_lines_of_a_slope() -> None:
    size = 5
    heights = [(i + 0.5 * j) / 6 for i in range(size) for j in range(size)]  # x goes with i, y with j
    cells = node("terrain.pieces(data.heights, 5, 0.55)", heights=heights)
    assert len(cells) == size * size
    levels = set()
    for k, pieces in enumerate(cells):
        for piece in pieces:
            for x, y, z in piece["ends"]:
                i, j = 2 * (x + 1), 2 * (y + 1)
                assert (i + 0.5 * j) / 6 == pytest.approx(z)
                assert -1e-9 <= i - k // size <= 1 + 1e-9
                assert -1e-9 <= j - k % size <= 1 + 1e-9
            levels.add((round(z, 9), piece["chosen"]))
    assert levels == {(k / 10, False) for k in range(1, 10)} | {(0.55, True)}


def test_the_part_of_a_polygon_below_a_level() -> None:
    square = [[0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 1, 0]]
    code = "data.levels.map((level) => terrain.lowerPart(data.square, level))"
    none, part, whole = node(code, square=square, levels=[-0.5, 0.25, 1])
    assert none == []
    assert part == [[0, 0, 0], [0.25, 0, 0.25], [0.25, 1, 0.25], [0, 1, 0]]
    assert whole == square


def test_the_share_below_a_level_and_its_sentence() -> None:
    losses = torch.rand(50, generator=torch.Generator().manual_seed(5))
    got = node("terrain.below(data.losses, 0.3)", losses=losses.tolist())
    assert got == pytest.approx((losses <= 0.3).double().mean().item())
    lands = [{"name": "standard", "below": 0.934}, {"name": "adversarial", "below": 0.25}]
    says = "Share of the square with a loss of at most 1.06: standard 93 %, adversarial 25 %."
    assert node("terrain.sentence(1.0567, data.lands)", lands=lands).replace("\xa0", " ") == says


def test_the_best_moment_so_far() -> None:
    rows = np.random.default_rng(2).integers(0, 5, (20, 9))  # with many equals, of which the first counts
    got = node("data.rows.map(descent.running)", rows=rows.tolist())
    assert got == [[int(row[: k + 1].argmin()) for k in range(9)] for row in rows]


def test_the_threshold_is_the_first_place_where_labels_are_met() -> None:
    rows = [[0.2, 0.98, 0.99, 1.0], [0.1, 0.5], [1.0, 0.9]]
    assert node("data.rows.map(descent.threshold)", rows=rows) == [2, -1, 0]


def banded(values: list[float], half: float = 0.01) -> dict[str, list[float]]:
    return {"value": values, "low": [v - half for v in values], "high": [v + half for v in values]}


def test_a_hump_stands_out_of_the_intervals_on_both_sides() -> None:
    curves = [
        banded([0.3, 0.1, 0.2, 0.4, 0.3, 0.15, 0.16]),
        banded([0.3, 0.1, 0.2, 0.4, 0.3, 0.15, 0.16], half=0.15),
        banded([0.1, 0.2, 0.3]),  # it never comes down
        banded([0.3, 0.2, 0.1]),
        banded([0.1, 0.2, 0.15, 0.5, 0.2]),  # of two humps the larger one
    ]
    got = node("data.curves.map(descent.hump)", curves=curves)
    assert [found and [found[key] for key in ("from", "peak", "to")] for found in got] == [
        [1, 3, 5],
        None,
        None,
        None,
        [0, 3, 4],
    ]


def test_marks_of_an_axis_stand_apart() -> None:
    values = [math.log10(v) for v in (1, 2, 3, 10, 11, 100, 150, 1000)]
    got = node("descent.apart(data.values, 3)", values=values)
    assert [round(10**v) for v in got] == [1, 10, 100, 1000]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            [0.2, 0.4, 0.05],
            "A second descent: from 20 % (width 2) up to 40 % (width 10), down to 5.0 % (width 1,000).",
        ),
        ([0.4, 0.2, 0.05], "No second descent over the width that stands out of the intervals."),
    ],
)
def test_the_sentence_about_a_descent(values: list[float], says: str) -> None:
    sent = {"setting": "20 % wrong labels", "stop": "30 steps", "widths": [2, 10, 1000], "w": 1}
    curves = {"error": banded(values), "fitted": [0.5, 0.75, 1], "best": [0.1, 0.155, 0.0996]}
    pieces = node("descent.sentence(data)", **sent, **curves)
    value = 100 * values[1]
    assert pieces[1].replace("\xa0", " ") == f"{value:.0f} % [{value - 1:.0f}, {value + 1:.0f}]"
    text = "".join(pieces).replace("\xa0", " ")
    assert text.startswith("20 % wrong labels: test error ")
    assert text.endswith(f", training error 25 %; at its best, after 30 steps: 16 %. {says}")


def test_numbers_are_written_short() -> None:
    values = [0, 1e-9, 0.0123456, -1234.5, 1e-6, 0.25, 1000]
    assert node("data.values.map(base.brief)", values=values) == [
        "0", "0", "0.0123", "−1,230", "0.000001", "0.25", "1,000",
    ]  # fmt: skip


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_one_valid_module(figure: str, tmp_path: Path) -> None:
    """Pasted one after the other, no two modules declare the same name."""
    whole = tmp_path / "whole.mjs"
    whole.write_text(robustcourse.widgets.live.script(figure), "utf-8")
    done = subprocess.run(["node", "--check", str(whole)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_node_helper_notices_a_failure() -> None:
    with pytest.raises(AssertionError, match="ReferenceError"):
        node("nothing_of_that_name")
