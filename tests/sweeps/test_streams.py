"""What one model draws does not depend on the others, and no call escapes."""

from __future__ import annotations

import pytest
import torch

from robustcourse import L1, L2, Linf
from robustcourse.sweeps.streams import Streams

X = torch.zeros(6, 2)


def streams(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


DRAWS = {
    "rand": lambda x, g: torch.rand(len(x), 2, generator=g),
    "rand(shape)": lambda x, g: torch.rand(x.shape, generator=g, dtype=torch.float64),
    "randn": lambda x, g: torch.randn(x.shape, generator=g),
    "rand_like": lambda x, g: torch.rand_like(x),
    "randn_like": lambda x, g: torch.randn_like(x, dtype=torch.float64),
    "uniform_": lambda x, g: torch.empty_like(x).uniform_(-1, 2, generator=g),
    "normal_": lambda x, g: torch.empty_like(x).normal_(1, 2),
    "exponential_": lambda x, g: torch.empty_like(x).exponential_(generator=g),
    "bernoulli_": lambda x, g: torch.empty_like(x).bernoulli_(0.5, generator=g),
    "Linf": lambda x, g: Linf(0.1).random(x, g),
    "L2": lambda x, g: L2(0.1).random(x, g),
    "L1": lambda x, g: L1(0.1).random(x, g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_each_models_rows_are_those_that_it_would_draw_alone(name):
    draw, named, before = DRAWS[name], torch.Generator().manual_seed(9), torch.get_rng_state()
    state = named.get_state()
    with Streams(streams(1, 2, 1), 6):
        together = draw(X, named)
    alone = []
    for seed in (1, 2, 1):
        with Streams(streams(seed), 2):
            alone.append(draw(X[:2], named))
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together[:2], together[4:])
    assert not torch.equal(together[:2], together[2:4])
    assert torch.equal(named.get_state(), state)
    assert torch.equal(torch.get_rng_state(), before)


def test_alone_a_stream_is_a_generator():
    with Streams(streams(3), 6):
        drawn = torch.rand(6, 2), torch.randn_like(X)
    (generator,) = streams(3)
    assert torch.equal(drawn[0], torch.rand(6, 2, generator=generator))
    assert torch.equal(drawn[1], torch.empty(6, 2).normal_(generator=generator))


def test_what_is_no_models_own_is_drawn_as_ever():
    with Streams(streams(1, 2), 6):
        drawn = torch.rand(5, generator=torch.Generator().manual_seed(4)), torch.rand((), generator=streams(5)[0])
    assert torch.equal(drawn[0], torch.rand(5, generator=streams(4)[0]))
    assert torch.equal(drawn[1], torch.rand((), generator=streams(5)[0]))
