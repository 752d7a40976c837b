"""Attacks on another view of the model, against defences that spoil the direct way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcourse import FGSM, L2, PGD, Linf, robust_accuracy
from robustcourse.attacks import APGD, BPDA, EOT, Adaptive, transfer
from robustcourse.evaluate import counting
from tests.nets import Detached, Noisy, Rounded, Scaled, digits, generator, hits, images, network, trained, wrong

X, Y = images(low=0, high=1), torch.arange(50) % 3


def view(model):
    """Past the rounding, with its gradient replaced by that of the identity."""
    return nn.Sequential(BPDA(model.round), model.model).eval()


def test_the_attack_runs_on_the_view_and_on_nothing_else():
    model, other = network(6), network(6, seed=1)
    asked = []

    def views(given):
        asked.append(given)
        return other

    with counting(model) as passes:
        found = Adaptive.of(PGD(Linf(0.1), steps=3), views)(model, X, Y, generator=generator(4))
    assert asked == [model]
    assert passes.forward == 0
    assert torch.equal(found, PGD(Linf(0.1), steps=3)(other, X, Y, generator=generator(4)))


def test_a_transferred_attack_asks_the_victim_nothing():
    victim, surrogate = trained("robust"), trained()
    attack = transfer(PGD(Linf(0.15)), surrogate)
    with counting(victim) as asked:
        x_adv = attack(victim, digits().x, digits().y)
    assert (asked.forward, asked.backward) == (0, 0)
    assert torch.equal(x_adv, PGD(Linf(0.15))(surrogate, digits().x, digits().y))
    # It costs the victim something, and less than an attack of its own.
    clean = hits(victim, digits().x, digits().y).float().mean()
    borrowed, own = (robust_accuracy(victim, digits(), a).value for a in (attack, PGD(Linf(0.15))))
    assert own < borrowed < clean


def test_a_surrogate_in_training_mode_is_refused():
    with pytest.raises(ValueError, match="model is in training mode"):
        transfer(PGD(Linf(0.1)), network(6).train())


def test_an_attack_for_another_set_is_refused():
    with pytest.raises(ValueError, match=r"attack must search Linf\(eps=0.1\), got one for L2\(eps=0.1\)"):
        Adaptive(Linf(0.1), PGD(L2(0.1)), lambda model: model)


def test_it_is_targeted_as_its_attack_is():
    assert Adaptive.of(PGD(Linf(0.1), targeted=True), view).targeted
    assert not Adaptive.of(PGD(Linf(0.1)), view).targeted
    assert not Adaptive.of(APGD(Linf(0.1)), view).targeted


@pytest.mark.parametrize("threat", [Linf(0.15), L2(0.8)], ids=str)
def test_the_right_view_breaks_what_rounding_hid(threat):
    defended = Rounded(trained())
    blind, sees = (robust_accuracy(defended, digits(), a).value for a in (PGD(threat), Adaptive.of(PGD(threat), view)))
    assert blind > 0.6
    assert sees < 0.35


def test_the_right_view_breaks_what_scaling_hid():
    defended, attack = Scaled(trained()), PGD(Linf(0.15))
    sees = Adaptive.of(attack, lambda model: model.model)
    assert robust_accuracy(defended, digits(), attack).value > 0.6
    assert robust_accuracy(defended, digits(), sees).value < 0.35


def test_bpda_computes_one_function_and_differentiates_another():
    x = torch.tensor([[0.2, 0.6]], requires_grad=True)
    for function, stand_in, slope in ((torch.round, None, 1.0), (torch.floor, lambda x: 3 * x, 3.0)):
        value = BPDA(function, stand_in)(x)
        assert torch.equal(value, function(x))
        assert torch.autograd.grad((value * torch.tensor([[1.0, 2.0]])).sum(), x)[0].tolist() == [[slope, 2 * slope]]


def test_bpda_is_exact_where_its_stand_in_is_far_off():
    value = BPDA(torch.round, lambda x: 1e4 * x)(torch.tensor([[0.2, 0.6]]))
    torch.testing.assert_close(value, torch.tensor([[0.0, 1.0]]), rtol=0, atol=1e-3)


def test_eot_averages_log_probabilities():
    class Alternates(nn.Module):
        """Logits that differ from copy to copy, and not by chance."""

        def forward(self, x):
            sign = 1 - 2 * (torch.arange(len(x)) // 2 % 2)[:, None]
            return torch.cat([sign * x, torch.zeros_like(x)], 1)

    x = torch.tensor([[1.0], [2.0]])
    found = EOT(Alternates(), samples=2)(x)  # the two images, then the two again with the other sign
    both = [torch.cat([sign * x, torch.zeros_like(x)], 1).log_softmax(1) for sign in (1, -1)]
    torch.testing.assert_close(found, (both[0] + both[1]) / 2)


def test_eot_draws_for_each_example_and_each_sample():
    model = network(6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noisy = EOT(Noisy(model, size=0.3), samples=5)(X[:1].expand(3, -1, -1, -1))
        assert noisy.unique(dim=0).shape[0] == 3
        many = EOT(Noisy(model, size=0.3), samples=4000)(X[:1])
        again = EOT(Noisy(model, size=0.3), samples=4000)(X[:1])
    assert (many - again).abs().max() < (noisy - noisy[0]).abs().max()
    torch.testing.assert_close(EOT(model, samples=3)(X), model(X).log_softmax(1))
    with counting(model) as passes:
        EOT(model, samples=7)(X)
    assert passes.forward == 7 * 50


def test_averaged_gradients_find_more_than_those_of_one_draw():
    # The noise is much longer than ε, so one draw says little about the next.
    model, step, (x, y) = Noisy(trained("robust"), size=0.5), FGSM(L2(0.8)), (digits().x, digits().y)
    found = [attack(model, x, y) for attack in (step, Adaptive.of(step, lambda model: EOT(model, samples=20)))]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, many = (float(torch.stack([hits(model, x_adv, y) for _ in range(30)]).float().mean()) for x_adv in found)
    assert many < one - 0.01


def test_a_view_does_not_help_where_nothing_reaches_the_input():
    cut = Detached(network(6))
    with pytest.raises(ValueError, match="this attack is blind"):
        Adaptive.of(PGD(Linf(0.1)), lambda model: EOT(model))(cut, X, Y)
    found = Adaptive.of(PGD(Linf(0.1)), lambda model: model.model)(cut, X, Y)
    assert wrong(cut, found, Y).sum() > wrong(cut, X, Y).sum()


def test_settings_that_are_refused():
    with pytest.raises(ValueError, match="samples must be >= 1, got 0"):
        EOT(network(6), samples=0)
