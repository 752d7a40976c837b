"""MART: spend the effort on examples that the model does not yet read.

Source: Wang et al. 2020, "Improving adversarial robustness requires revisiting misclassified examples" (ICLR 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcourse.attacks import Attack
from robustcourse.checks import check_nonnegative, check_untargeted
from robustcourse.train.objectives import Network, Robust, search
from robustcourse.train.trades import divergence


@dataclass(frozen=True)
class MART(Robust):
    """Mean of BCE(p(x + δ), y) + λ KL(p(x) ‖ p(x + δ)) (1 − p_y(x)), where p are the model's probabilities.

    The boosted cross-entropy BCE = −log p_y − log(1 − max_{k≠y} p_k) also pushes the best wrong class down.

    Args:
        attack: the inner maximization of the plain cross-entropy, as PGD(threat, steps=7).
        weight: λ ≥ 0; the paper's is 5.

    Cost: with k steps, k + 2 forward and backward passes.

    Raises:
        ValueError: the attack is targeted, or λ is negative or not finite.
    """

    attack: Attack
    weight: float = 5.0

    def __post_init__(self) -> None:
        check_untargeted(self.attack)
        check_nonnegative("weight", self.weight)

    def worst(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return search(self.attack, model, x, y)

    def loss(self, model: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        clean, attacked = model(x), model(x_adv)
        log_q, at_y = attacked.log_softmax(1), y[:, None]
        wrong = log_q.scatter(1, at_y, -torch.inf)
        # log(1 − max p_k) as the log of what the other classes hold: exact also where the wrong class is sure.
        rest = log_q.scatter(1, wrong.argmax(1, keepdim=True), -torch.inf).logsumexp(1)
        boosted = -log_q.gather(1, at_y).squeeze(1) - rest
        unread = 1 - clean.softmax(1).gather(1, at_y).squeeze(1)
        return (boosted + self.weight * divergence(clean, attacked) * unread).mean()
