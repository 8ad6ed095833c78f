"""FPTMember: one of several trainings that run side by side, with everything that the bundle would give it.

A member is what ``monai-fpt train`` would train with the same data list and the same overrides: same weights at the
start, same order of images, same augmentation, same dropout, same optimizer and schedule. It draws its numbers as the
bundle's run does, from its seed and the epoch, and from nothing that its neighbours do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data.utils import set_rnd
from torch import Tensor, nn
from torch.utils.data import DataLoader

from monai_fpt.data import FPTDataList
from monai_fpt.experiments.recipe import FPTRecipe, stack_refusal
from monai_fpt.experiments.stack import FPTRandomStream
from monai_fpt.features import FeatureDataset, FPTModelCard
from monai_fpt.handlers import FPTEpochSeedHandler, fpt_flag
from monai_fpt.handlers.checkpoint import checked_selection
from monai_fpt.networks import FPTClassifier, QuantizedFeatures

__all__ = ["FPTMember", "FPTMemberPlan", "collated", "make_member"]


@dataclasses.dataclass(frozen=True)
class FPTMemberPlan:
    """What one training is.

    Attributes:
        name: of its folder and its run.
        data: images, labels, sections.
        overrides: ids of the bundle that it has of its own (``seed``, ``learning_rate``, ...).
    """

    name: str
    data: FPTDataList
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class _Row(nn.Module):
    """A network's learnable weights as one parameter, for the bundle's optimizer."""

    def __init__(self, row: nn.Parameter) -> None:
        super().__init__()
        self.row = row


class FPTMember:
    """One training, made of the bundle's objects. Made by :func:`make_member`."""

    def __init__(self, plan: FPTMemberPlan, parser: ConfigParser, network: FPTClassifier, recipe: FPTRecipe) -> None:
        self.plan = plan
        self.parser = parser
        self.network = network
        self.recipe = recipe
        self.data = plan.data
        value = parser.get_parsed_content
        self.seed = int(value("seed"))
        self.max_epochs = int(value("max_epochs"))
        self.batch_size = int(value("train#dataloader#batch_size"))
        self.clip_norm = float(parser.get_parsed_content(_argument(parser, "FPTGradientClipHandler", "max_norm")))
        self.val_interval = int(parser.get_parsed_content(_argument(parser, "ValidationHandler", "interval")))
        self.selection = checked_selection(value("model_selection"))
        self.loss = value("loss_function")
        ((self.score_name, key_metric),) = parser.get("validate#key_metric").items()
        self.score = str(key_metric["score"])
        self.task = str(value("task"))
        use_features = fpt_flag(value("use_features"), "use_features")
        self.training: FeatureDataset = value("train#dataset")
        self.prepare = value("validate#preprocessing")
        self.sections = {
            name: FeatureDataset(self.data.section(name), recipe.store, None, use_features, load=value("side_loading"))
            for name in ("validation", "test")
        }
        self.card: FPTModelCard = value("card")
        self.tracked_params: dict[str, Any] = value("tracker#params")
        self.stream = FPTRandomStream(self.seed)
        self.steps = max(1, len(DataLoader(range(len(self.training)), **self._loading())))  # type: ignore[arg-type]

    @property
    def stack_key(self) -> tuple[Any, ...]:
        """Members with equal keys can be trained in one stack."""
        shapes = tuple((n, tuple(p.shape)) for n, p in self.network.named_parameters() if p.requires_grad)
        return shapes, self.batch_size, self.max_epochs, self.val_interval, self.network.side_size

    def optimize(self, row: nn.Parameter) -> tuple[Any, Any]:
        """The bundle's optimizer and schedule for the weights in one row."""
        self.parser["network"] = _Row(row)
        self.parser["train#dataloader"] = range(self.steps)
        return self.parser.get_parsed_content("optimizer"), self.parser.get_parsed_content("lr_scheduler")

    def begin_epoch(self, epoch: int) -> list[list[int]]:
        """Seed everything for this epoch, as the bundle does, and deal the training images into batches."""
        torch_seed, _, _, transform_seed, _ = FPTEpochSeedHandler(self.seed).epoch_seeds(epoch)
        set_rnd(self.training, transform_seed)
        self.loss.set_progress((epoch - 1) / self.max_epochs)
        self.stream = FPTRandomStream(torch_seed)
        indices: Any = range(len(self.training))
        with self.stream:
            return list(DataLoader(indices, shuffle=True, collate_fn=list, **self._loading()))

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Any, Tensor]:
        """Side images, features and labels of some training images, on the device."""
        return self._moved(collated([self.training[row] for row in rows]))

    def eval_batch(self, section: str, rows: Sequence[int], prepared: dict[Any, Tensor]) -> tuple[Tensor, Any, Tensor]:
        """Likewise of another section; ``prepared`` keeps side images, which are the same every time."""
        items = []
        for row in rows:
            item = self.sections[section][row]
            name = (item["key"], self.network.side_size)
            if name not in prepared:
                prepared[name] = self.prepare({"image": item["image"]})["image"]
            items.append(item | {"image": prepared[name]})
        return self._moved(collated(items))

    def _moved(self, batch: tuple[Tensor, Any, Tensor]) -> tuple[Tensor, Any, Tensor]:
        image, features, label = batch
        device = self.recipe.device
        if isinstance(features, QuantizedFeatures):
            moved: Any = QuantizedFeatures(*(part.to(device) for part in features))
        else:
            moved = features.to(device)
        return image.to(device), moved, label.to(device)

    def _loading(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "drop_last": len(self.training) > self.batch_size}


def make_member(plan: FPTMemberPlan, recipe: FPTRecipe, backbone_of: FPTMember | None = None) -> FPTMember:
    """Build a member by the bundle's configuration.

    Args:
        plan: what it is.
        recipe: the opened configuration.
        backbone_of: shares the frozen backbone of this member, where it has the same.

    Raises:
        ValueError: it asks for what cannot be trained side by side, or for features that the cache does not hold.
    """
    parser = recipe.parser(plan.overrides)
    refusal = stack_refusal(parser)
    if refusal:
        raise ValueError(f"{plan.name} cannot be trained beside others ({refusal}); give engine=bundle.")
    parser["data"], parser["store"] = plan.data, recipe.store
    seed = int(parser.get_parsed_content("seed"))
    with FPTRandomStream(seed):
        network: FPTClassifier = parser.get_parsed_content("network_def")
    spec = parser.get_parsed_content("spec")
    if spec != recipe.store.spec:
        spec.require_equal(recipe.store.spec, f'in "{recipe.store.path}"')
    if backbone_of is not None and backbone_of.network.backbone.fingerprint == network.backbone.fingerprint:
        network.backbone = backbone_of.network.backbone
    network.to(recipe.device)
    return FPTMember(plan, parser, network, recipe)


def collated(items: Sequence[Mapping[str, Any]]) -> tuple[Tensor, Any, Tensor]:
    """Items of a FeatureDataset as one batch of images, features and labels."""
    first = items[0]["features"]
    if isinstance(first, QuantizedFeatures):
        parts = zip(*(item["features"] for item in items), strict=True)
        features: Any = QuantizedFeatures(*(torch.stack(part) for part in parts))
    else:
        features = torch.stack([item["features"] for item in items])
    images = torch.stack([torch.as_tensor(item["image"]) for item in items])
    labels = torch.stack([torch.as_tensor(item["label"]) for item in items])
    return images, features, labels


def _argument(parser: ConfigParser, handler: str, argument: str) -> str:
    """Id of an argument of one of the trainer's handlers."""
    handlers = parser.get("train#handlers")
    place = next(i for i, one in enumerate(handlers) if str(one["_target_"]).endswith(handler))
    return f"train#handlers#{place}#{argument}"
