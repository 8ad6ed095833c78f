"""FPTDeployedNetwork: what goes into an exported file. Image in [0, 1] -> logits and probabilities.

Decisions:

- Normalisation, backbone, side image and side network are inside. Reading a file and resizing it to the square are not: they depend on the
  file, not on the model, and what they must do is said in the file's facts.
- A file cannot raise a sentence. An image outside [0, 1] (0..255, or normalised already), which the package's own way refuses, gets NaN as
  every answer, so that it is never silently wrong.
- The network is asked through ``FPTClassifier.forward(image)`` alone, so whatever it becomes inside is exported.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_fpt.networks import FPTClassifier
from monai_fpt.transforms import FPTNormalize

__all__ = ["OUTPUTS", "FPTDeployedNetwork", "exported_program"]

OUTPUTS = ("logits", "probabilities")


class FPTDeployedNetwork(nn.Module):
    """A trained network from plain images to named answers.

    Args:
        network: with its weights; set to eval mode.
        mean: of the training's normalisation, one value a channel, on the scale [0, 1].
        std: likewise.
        task: ``"multiclass"`` (softmax) or ``"multilabel"`` (sigmoid).

    Example:
        >>> from monai_fpt.networks import FPTConfig
        >>> config = FPTConfig(backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=64, backbone_kwargs={"depth": 2})
        >>> deployed = FPTDeployedNetwork(FPTClassifier(config), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "multiclass")
        >>> deployed(torch.rand(2, 3, 64, 64))["probabilities"].shape
        torch.Size([2, 2])
        >>> deployed(255 * torch.rand(1, 3, 64, 64))["logits"].isnan().all()
        tensor(True)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: FPTClassifier, mean: Sequence[float], std: Sequence[float], task: str) -> None:
        super().__init__()
        self.network = network
        self.image_size = network.backbone.image_size
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(tuple(values)).view(-1, 1, 1))
        self.activation = nn.Sigmoid() if task == "multilabel" else nn.Softmax(dim=1)
        self.tolerance = FPTNormalize.tolerance
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``logits`` and ``probabilities``, (B, K) each.

        Args:
            image: float32 (B, 3, image_size, image_size) in [0, 1], not normalised.
        """
        low, high = image.amin(dim=(1, 2, 3)), image.amax(dim=(1, 2, 3))
        is_image = (low >= -self.tolerance) & (high <= 1 + self.tolerance)
        logits = self.network((image - self.mean) / self.std)
        logits = torch.where(is_image.unsqueeze(1), logits, torch.nan)
        return {"logits": logits, "probabilities": self.activation(logits)}


def exported_program(deployed: FPTDeployedNetwork) -> torch.export.ExportedProgram:
    """The network as ``torch.export`` records it, for any number of images.

    The tap of the backbone is a torch-function mode, so the recording runs the Python (``strict=False``) and leaves in the graph what the mode
    computes.
    """
    example = torch.zeros(2, 3, deployed.image_size, deployed.image_size)  # of one image the number would be fixed
    with torch.no_grad():
        program = torch.export.export(
            deployed, (example,), dynamic_shapes={"image": {0: torch.export.Dim("batch")}}, strict=False
        )
    program.example_inputs = None  # megabytes of zeros
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # names folders of this machine
    return program
