"""Several independent adapters in one network: a small deep ensemble (Lakshminarayanan et al., NeurIPS 2017) on one frozen backbone.

Decisions:

- K members share nothing that learns and nothing that they learn from: in training a batch is dealt among them, part after part, and each
  answers for its own part alone. So every member sees images in an order of its own, which is half of what makes an ensemble better than
  its members, and whatever takes logits of a batch (losses, metrics) need not know of members. A training gives batches K times as large,
  of K times as many images an epoch; each member then takes as many steps of the same size as it would alone.
- Otherwise the answer is the mean of their logits, which needs to know nothing of the task and is their normalised geometric mean as
  probabilities. Their prompts are one list of prompts then, also to whoever looks at the fusion's attention, and all of them read the
  features in one pass, which is most of the cost of reading.
- A member is a fusion module and what reads its fused prompts, a side network or a linear layer; nobody else need know which. They may have
  different numbers of prompts; in training parts of a batch are filled up with zeros that nobody reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_fpt.networks.fusion import CachedFeatures, Fusion, QuantizedFeatures
from monai_fpt.networks.linear_side import LinearSide
from monai_fpt.networks.side import SideViT

__all__ = ["FusionMembers", "SideMembers", "clip_member_gradients", "join_members", "names_by_member"]

_MEMBER = re.compile(r"\.members\.(\d+)\.")


class FusionMembers(Fusion):
    """K fusion modules: in training each for its part of the batch, otherwise as one with the prompts of all.

    Args:
        members: fusion modules on one backbone for side networks of one width. P prompts and R fused prompts are those of all.
    """

    members: Sequence[Fusion]  # in truth a ModuleList

    def __init__(self, members: Sequence[Fusion]) -> None:
        super().__init__(members[0].num_heads, members[0].recompute, sum(member.num_rows for member in members))
        self.members = nn.ModuleList(members)  # type: ignore[assignment]

    def forward(self, features: CachedFeatures) -> Tensor:
        """Features (B, L, 2, H, M, D) -> fused prompts of all members (B, L, R, S); in training of the member whose part an image is in,
        filled up with zeros where another has more.
        """
        if not self.training:
            return super().forward(features)
        dealt = _dealt(len(self.members), *(features if isinstance(features, QuantizedFeatures) else (features,)))
        most = max(member.num_rows for member in self.members)
        fused = [(k, self.members[k](QuantizedFeatures(*part) if part[1:] else part[0])) for k, part in dealt]
        return torch.cat([F.pad(own, (0, 0, 0, most - self.members[k].num_rows)) for k, own in fused])

    def queries(self) -> Tensor:
        """(L, P, C)."""
        return torch.cat([member.queries() for member in self.members], dim=1)

    def fuse(self, attended: Tensor) -> Tensor:
        """(B, L, P, C) -> (B, L, R, S), each member's of its own answers."""
        parts = attended.split([member.prompts.shape[1] for member in self.members], dim=2)  # type: ignore[no-untyped-call]
        return torch.cat([member.fuse(part) for member, part in zip(self.members, parts, strict=True)], dim=2)


class SideMembers(nn.Module):
    """K side networks: in training each for its part of the batch, otherwise all on every image, each with its own fused prompts.

    Args:
        members: what reads the fused prompts of each member.
        num_rows: how many of them each member has.
    """

    def __init__(self, members: Sequence[SideViT | LinearSide], num_rows: Sequence[int]) -> None:
        super().__init__()
        self.num_rows = tuple(num_rows)
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor, prompts: Tensor) -> Tensor:
        """Image (B, 3, h, w) and what :class:`FusionMembers` made of the features -> logits (B, classes), the mean over members; in training
        of the member whose part an image is in.
        """
        count = len(self.members)
        if self.training:
            parts = _dealt(count, image, prompts)
            return torch.cat([self.members[k](own, fused[:, :, : self.num_rows[k]]) for k, (own, fused) in parts])
        each = zip(self.members, prompts.split(self.num_rows, dim=2), strict=True)  # type: ignore[no-untyped-call]
        return torch.stack([member(image, fused) for member, fused in each]).mean(dim=0)


def join_members(
    pairs: Sequence[tuple[Fusion, SideViT | LinearSide]],
) -> tuple[Fusion, SideViT | LinearSide | SideMembers]:
    """One fusion module and one side network of several of each; a single pair stays as it is."""
    if len(pairs) == 1:
        return pairs[0]
    fusions, sides = zip(*pairs, strict=True)
    return FusionMembers(fusions), SideMembers(sides, [fusion.num_rows for fusion in fusions])


def names_by_member(names: Iterable[str]) -> list[list[str]]:
    """Names of a network's learnable weights, a list for each member; one list of all where there is one member.

    Example:
        >>> names_by_member(["fusion.members.0.prompts", "fusion.members.1.prompts", "side.members.0.head.bias"])
        [['fusion.members.0.prompts', 'side.members.0.head.bias'], ['fusion.members.1.prompts']]
    """
    found: dict[str, list[str]] = {}
    for name in names:
        number = _MEMBER.search(name)
        found.setdefault(number[1] if number else "", []).append(name)
    return list(found.values())


def clip_member_gradients(gradients: Mapping[str, Tensor], max_norm: float) -> None:
    """Limit the norm of gradients in place, of each member alone, as if its own loss had been its only one: of the mean of K losses it has
    a K-th of the gradient, so that a K-th of the norm is its limit. With one member it is ``torch.nn.utils.clip_grad_norm_``.

    Args:
        gradients: by the name of their weight in the network.
        max_norm: largest L2 norm.
    """
    members = names_by_member(gradients)
    for names in members:
        own = [gradients[name] for name in names]
        factor = torch.clamp(max_norm / len(members) / (nn.utils.get_total_norm(own) + 1e-6), max=1.0)
        for gradient in own:
            gradient.mul_(factor)


def _dealt(count: int, *batch: Tensor) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """The members that get any of a batch, by number, and their parts, as even as they can be."""
    for k, part in enumerate(zip(*(one.tensor_split(count) for one in batch), strict=True)):
        if len(part[0]):
            yield k, part
