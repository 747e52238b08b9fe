"""What the objectives share: which rivals are there, how far the chosen item stands before each, sums over them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recbole_lpo.core.precision import at_least_float32


def check(ok: bool, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise ValueError(f"{name} = {value!r}: must be {allowed}.")


def check_positive(name: str, value: float, meaning: str) -> None:
    check(0 < value < float("inf"), name, value, f"> 0 and finite ({meaning})")


def present_rivals(log_prob_rejected: Tensor) -> Tensor:
    return ~torch.isneginf(log_prob_rejected)


def margins(chosen: Tensor, rejected: Tensor, present: Tensor) -> Tensor:
    """How far the chosen item leads each rival; (B,), (B, K), (B, K) bool -> (B, K), 0 for absent rivals.

    An absent rival is taken out here, while its infinity has met nothing but a subtraction: masked any later, it would
    leave NaN in the gradients.
    """
    return (at_least_float32(chosen)[:, None] - at_least_float32(rejected)).masked_fill(~present, 0.0)


def log_ratio_margins(
    name: str,
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None,
    ref_log_prob_rejected: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """(D, which rivals are present); (B, K) both, for the objective called `name`.

        D_l = log(pi_w / ref_w) - log(pi_l / ref_l),   0 for absent rivals

    Only differences of log-probabilities within one policy occur, so its softmax denominator cancels. A rival is absent
    where the policy's log-probability is -inf; what the reference says of it is not read.
    """
    if ref_log_prob_chosen is None or ref_log_prob_rejected is None:
        raise ValueError(
            f"{name} compares with a reference policy: ref_log_prob_chosen and ref_log_prob_rejected are needed."
        )
    for policy, reference in [(log_prob_chosen, ref_log_prob_chosen), (log_prob_rejected, ref_log_prob_rejected)]:
        if policy.shape != reference.shape:
            raise ValueError(
                f"{name}: the reference's log-probabilities have shape {tuple(reference.shape)}, "
                f"the policy's {tuple(policy.shape)}; they must be of the same items."
            )
    present = present_rivals(log_prob_rejected)
    # Item by item: policy and reference are close to each other, two items need not be, and close numbers lose least.
    ratio_chosen = at_least_float32(log_prob_chosen) - at_least_float32(ref_log_prob_chosen)
    ratio_rejected = at_least_float32(log_prob_rejected) - at_least_float32(ref_log_prob_rejected)
    return margins(ratio_chosen, ratio_rejected, present), present


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) at any x; torch's own is cut to x beyond 20."""
    return -functional.logsigmoid(-x)


def mean_over(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of a row's counted values; (B, K), (B, K) bool -> (B,), 0 where none counts."""
    return values.masked_fill(~counted, 0.0).sum(dim=1) / counted.sum(dim=1).clamp(min=1)


def log1p_sum_exp(values: Tensor, counted: Tensor) -> Tensor:
    """log(1 + sum of exp over a row's counted values); (B, K), (B, K) bool -> (B,), 0 where none counts."""
    own = values.new_zeros(len(values), 1)
    return torch.logsumexp(torch.cat([own, values.masked_fill(~counted, -torch.inf)], dim=1), dim=1)


def zero_without_rivals(loss: Tensor, counted: Tensor) -> Tensor:
    """The loss (B,), 0 in a row where no rival counts; counted (B, K) bool."""
    return loss.masked_fill(~counted.any(dim=1), 0.0)
