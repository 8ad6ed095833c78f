"""Several trainings in one loop: the bundle's epoch, step and choice of the best, for a stack of networks.

Decisions:

- A step is one batch of every member. A member whose epoch has fewer batches than its neighbours' (folds differ by an
  image or two) sits the last step out; its schedule has as many steps as its own training would have.
- Gradients are clipped and applied member by member, by the bundle's optimizer on the member's row of weights.
- The best epoch is chosen on the validation section by the bundle's key metric; NaN is worse than any number, the first
  validated epoch counts whatever its value, and without a validation section, or where ``model_selection`` says so, the last
  epoch is taken: the rules of ``FPTCheckpointHandler``.
- Validation and test images are prepared once and kept, as long as they take less than 2 GB.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_fpt.experiments.member import FPTMember
from monai_fpt.experiments.stack import FPTStack
from monai_fpt.handlers import fpt_strictly_better
from monai_fpt.metrics import FPT_SCORES, classification_scores

__all__ = ["FPTTrained", "train_members"]

_MOST_PREPARED = 2e9  # bytes


@dataclasses.dataclass
class FPTTrained:
    """What came out of one training. The member's network holds the best weights.

    Attributes:
        member: that was trained.
        best_epoch: whose weights were kept, counted from 1.
        best_score: of the key metric on the validation section at that epoch, or at the last that was validated; NaN without one.
        history: of every epoch its metrics, under the names that the bundle tracks (``train_loss``, ``lr``,
            ``val_auc``, ...).
        logits: section to logits (N, K) of the best weights.
    """

    member: FPTMember
    best_epoch: int = 0
    best_score: float = math.nan
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    logits: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def scores(self, section: str) -> dict[str, float]:
        """All scores of a section by the best weights."""
        return _scores(self.member, self.logits[section], _labels(self.member, section))


def train_members(
    members: Sequence[FPTMember],
    *,
    together: bool | None = None,
    on_epoch: Callable[[int, dict[str, float], FPTTrained], None] | None = None,
    quiet: bool = False,
) -> list[FPTTrained]:
    """Train members side by side, and let each read its validation and test section with its best weights.

    Args:
        members: of one ``stack_key``.
        together: compute their networks in one pass, see :class:`FPTStack`; None does so where it is faster, which is on
            an accelerator and not on a CPU (docs/experiments.md).
        on_epoch: called after every epoch of every member with the epoch, its metrics, and what is known so far.
        quiet: print nothing.

    Raises:
        ValueError: the members cannot be trained in one stack.
    """
    if len({member.stack_key for member in members}) != 1:
        raise ValueError("members of one stack need the same network, batch size and epochs; train them in turn.")
    run = _Run(members, members[0].recipe.device.type != "cpu" if together is None else together)
    for epoch in range(1, members[0].max_epochs + 1):
        began = time.monotonic()
        losses = run.train_epoch(epoch)
        run.validate(epoch, losses)
        for trained in run.results:
            if on_epoch is not None:
                on_epoch(epoch, trained.history[-1], trained)
        if not quiet:
            print(_progress(epoch, run.results, losses, time.monotonic() - began), flush=True)
    run.finish()
    return run.results


class _Run:
    """The state of the loop."""

    def __init__(self, members: Sequence[FPTMember], together: bool) -> None:
        self.members = list(members)
        self.stack = FPTStack([member.network for member in members], together)
        self.engines = [member.optimize(row) for member, row in zip(members, self.stack.rows, strict=True)]
        self.best = self.stack.weights.clone()
        self.results = [FPTTrained(member) for member in members]
        self.prepared: dict[Any, Tensor] = {}

    def train_epoch(self, epoch: int) -> list[float]:
        """One epoch; the mean loss of each member."""
        plans = [member.begin_epoch(epoch) for member in self.members]
        rates = [optimizer.param_groups[0]["lr"] for optimizer, _ in self.engines]
        for trained, rate in zip(self.results, rates, strict=True):
            trained.history.append({"lr": float(rate)})
        sums, counts = [0.0] * len(self.members), [0] * len(self.members)
        for step in range(max(map(len, plans))):
            which = [s for s, plan in enumerate(plans) if step < len(plan)]
            for part in _alike([(s, plans[s][step]) for s in which]):
                for s, loss in self._step(part):
                    count = len(plans[s][step])
                    sums[s], counts[s] = sums[s] + loss * count, counts[s] + count
        return [total / count for total, count in zip(sums, counts, strict=True)]

    def _step(self, batches: Sequence[tuple[int, Sequence[int]]]) -> list[tuple[int, float]]:
        which = [s for s, _ in batches]
        images, features, labels = zip(*(self.members[s].batch(rows) for s, rows in batches), strict=True)
        inputs = list(zip(images, features, strict=True))
        logits = self.stack.train_logits(inputs, [self.members[s].stream for s in which], which)
        losses = [self.members[s].loss(logits[place], labels[place]) for place, s in enumerate(which)]
        self.stack.backward(torch.stack(losses).sum())
        for s in which:
            optimizer, scheduler = self.engines[s]
            self.stack.clip(s, self.members[s].clip_norm)
            optimizer.step()
            scheduler.step()
        return list(zip(which, torch.stack(losses).detach().tolist(), strict=True))

    def validate(self, epoch: int, losses: Sequence[float]) -> None:
        """Score the validation sections where it is time, and keep what is better than ever before."""
        for trained, loss in zip(self.results, losses, strict=True):
            trained.history[-1]["train_loss"] = loss
        if epoch % self.members[0].val_interval:
            return
        for s, logits in self.read("validation").items():
            member, trained = self.members[s], self.results[s]
            scores = _scores(member, logits, _labels(member, "validation"))
            trained.history[-1] |= {f"val_{name}": value for name, value in scores.items()}
            if member.selection == "last":
                trained.best_score = scores[member.score]
            elif not trained.best_epoch or fpt_strictly_better(scores[member.score], trained.best_score):
                trained.best_epoch, trained.best_score = epoch, scores[member.score]
                self.best[s] = self.stack.weights[s]

    def finish(self) -> None:
        """Put the best weights into the networks and read the test sections with them."""
        for s, trained in enumerate(self.results):
            if not trained.best_epoch:  # never validated, or the last is wanted
                trained.best_epoch, self.best[s] = self.members[s].max_epochs, self.stack.weights[s]
        self.stack.weights.copy_(self.best)
        for section in ("validation", "test"):
            for s, logits in self.read(section).items():
                self.results[s].logits[section] = logits
        for s in range(len(self.members)):
            self.stack.write(s)

    def read(self, section: str) -> dict[int, Tensor]:
        """Logits (N, K) of every member that has images in a section, by number of the member."""
        lengths = {s: len(member.sections[section]) for s, member in enumerate(self.members)}
        which = [s for s, length in lengths.items() if length]
        size = self.members[0].batch_size
        found: dict[int, list[Tensor]] = {s: [] for s in which}
        for start in range(0, max(lengths.values()), size):
            stop = min(start + size, max(lengths.values()))
            rows = [[row % lengths[s] for row in range(start, stop)] for s in which]  # the shorter ones go round
            batches = [
                self.members[s].eval_batch(section, own, self.prepared) for s, own in zip(which, rows, strict=True)
            ]
            logits = self.stack.eval_logits([(image, features) for image, features, _ in batches], which)
            for s, values in zip(which, logits, strict=True):
                found[s].append(values[: max(0, lengths[s] - start)].float().cpu())
            self._forget_much()
        return {s: torch.cat(parts) for s, parts in found.items()}

    def _forget_much(self) -> None:
        if sum(image.nbytes for image in self.prepared.values()) > _MOST_PREPARED:
            self.prepared.clear()


def _alike(batches: Sequence[tuple[int, Sequence[int]]]) -> Iterable[list[tuple[int, Sequence[int]]]]:
    """Batches in groups of one size; all full ones are one group."""
    for size in sorted({len(rows) for _, rows in batches}, reverse=True):
        yield [(s, rows) for s, rows in batches if len(rows) == size]


def _labels(member: FPTMember, section: str) -> Any:
    return [item["label"] for item in member.data.section(section)]


def _scores(member: FPTMember, logits: Tensor, labels: Any) -> dict[str, float]:
    probabilities = logits.softmax(1) if member.task == "multiclass" else logits.sigmoid()
    if not torch.isfinite(probabilities).all():
        return dict.fromkeys(FPT_SCORES, math.nan)
    return classification_scores(probabilities, labels, task=member.task, logits=logits)


def _progress(epoch: int, results: Sequence[FPTTrained], losses: Sequence[float], seconds: float) -> str:
    member = results[0].member
    name = f"val_{member.score}"
    now = [f"{trained.history[-1][name]:.4f}" for trained in results if name in trained.history[-1]]
    told = f"  validation {member.score_name} {' '.join(now)}" if now else ""
    return f"epoch {epoch}/{member.max_epochs}  loss {sum(losses) / len(losses):.4f}{told}  {seconds:.1f} s"
