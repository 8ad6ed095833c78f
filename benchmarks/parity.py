"""Agreement with the authors' program, number by number.

    python -m benchmarks.parity FILE...

Each FILE is a ``.safetensors`` with a ``.json`` of the same name beside it: weights under their original names
(``frozen/...``, ``model/...``), inputs (``input/lpm``, ``input/side``, ``input/labels``), and, per precision ``f32/``
and ``f64/``, what the authors' program computed from them. Prints the agreement of the token indices and the largest
absolute differences; exits 1 beyond tolerance.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from monai_fpt.importing import load_authors_state
from monai_fpt.networks import FPTClassifier, FPTConfig, convert_adapter_state

TOLERANCE = {  # precision -> (values, gradients)
    "f32": (1e-5, 1e-4),
    "f64": (1e-9, 1e-8),
}
DTYPE = {"f32": torch.float32, "f64": torch.float64}


def block_indices(text: Any) -> tuple[int, ...]:
    """``"2-3"``, ``"0,2,3"``, ``"1"`` or a list of indices -> indices."""
    if isinstance(text, list | tuple):
        return tuple(int(i) for i in text)
    ranges = [part.partition("-") for part in str(text).split(",")]
    return tuple(i for first, _, last in ranges for i in range(int(first), int(last or first) + 1))


def case_config(case: dict[str, Any]) -> FPTConfig:
    """The FPTConfig that a golden's JSON describes."""
    vit, network = case["vit"], case["network"]
    return FPTConfig(
        method="fpt" if network.get("prompt_proj") else "fpt_plus",
        backbone="vit_base_patch16_224",
        backbone_weights=None,
        image_size=case["input_size"],
        num_classes=case["num_classes"],
        side_size=network["side_input_size"],
        blocks=block_indices(network["layers_to_extract"]),
        importance=network["token_imp"],
        token_ratio=network["token_ratio"],
        num_tokens=case.get("n_kept"),
        num_prompts=network["num_prompts"],
        side_reduction=network["side_reduction_ratio"],
        norm_eps=vit["layer_norm_eps"],
        backbone_kwargs={
            "img_size": vit["image_size"],
            "patch_size": vit["patch_size"],
            "embed_dim": vit["hidden_size"],
            "depth": vit["num_hidden_layers"],
            "num_heads": vit["num_attention_heads"],
            "mlp_ratio": vit["intermediate_size"] / vit["hidden_size"],
            "qkv_bias": vit.get("qkv_bias", True),
        },
    )


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def largest(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes differ: ours {tuple(ours.shape)}, theirs {tuple(theirs.shape)}")
    return (ours - theirs).abs().max().item() if ours.numel() else 0.0


def compare(path: Path, precision: str) -> dict[str, float]:
    """Differences between our network and one golden file in one precision; ``indices`` is the share of equal token
    indices.
    """
    tensors = load_file(path)
    case = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    expected, dtype = under(tensors, f"{precision}/"), DTYPE[precision]
    torch.set_default_dtype(dtype)  # positions are resampled when the network is built
    try:
        model = FPTClassifier(case_config(case), backbone_state=under(tensors, "frozen/"))
    finally:
        torch.set_default_dtype(torch.float32)
    model = load_authors_state(model, under(tensors, "model/")).to(dtype).eval()
    image, side = tensors["input/lpm"].to(dtype), tensors["input/side"].to(dtype)

    features, indices = model.backbone(image)
    result = {"indices": (indices.transpose(0, 1) == tensors["token_indices"]).double().mean().item()}
    result["keys"] = largest(features[:, :, 0].transpose(0, 1), expected["key_states"])
    result["values"] = largest(features[:, :, 1].transpose(0, 1), expected["value_states"])
    with torch.no_grad():
        result["prompts"] = largest(model.fusion(features).transpose(0, 1), expected["prompts_fused"])
        logits = model(side, features)
        result["logits"] = largest(logits, expected["logits"])
        if "loss_eval" in expected:
            loss = torch.nn.functional.cross_entropy(logits, tensors["input/labels"])
            result["loss_eval"] = largest(loss, expected["loss_eval"])

    model.train()
    model.fusion.dropout.p = 0.0
    loss = torch.nn.functional.cross_entropy(model(side, features), tensors["input/labels"])
    loss.backward()  # type: ignore[no-untyped-call]
    result["loss"] = largest(loss.detach(), expected["loss_train_p0"])
    gradients = convert_adapter_state(under(expected, "grad/"))
    own = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    if set(own) != set(gradients):
        raise ValueError(f"learnable parameters differ: {sorted(set(own) ^ set(gradients))}")
    result["gradients"] = max(largest(own[name], gradients[name]) for name in own)
    return result


def passes(result: dict[str, float], precision: str) -> bool:
    values, gradients = TOLERANCE[precision]
    limits = {"gradients": gradients}
    return result["indices"] == 1.0 and all(
        difference <= limits.get(name, values) for name, difference in result.items() if name != "indices"
    )


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    failed = False
    for argument in arguments:
        path = Path(argument).with_suffix(".safetensors")
        if not path.is_file() or not path.with_suffix(".json").is_file():
            print(f"{argument}: needs both {path.name} and {path.with_suffix('.json').name}")
            failed = True
            continue
        present = load_file(path)
        for precision in [p for p in TOLERANCE if any(name.startswith(f"{p}/") for name in present)]:
            result = compare(path, precision)
            ok = passes(result, precision)
            failed |= not ok
            numbers = "  ".join(f"{name} {value:.1e}" for name, value in result.items() if name != "indices")
            print(
                f"{path.stem} {precision}: indices {100 * result['indices']:.2f} % equal  {numbers}  {'ok' if ok else 'BEYOND TOLERANCE'}"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
