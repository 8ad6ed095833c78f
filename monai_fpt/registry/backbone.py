"""Which frozen backbone an adapter belongs to, said so exactly that another site can get the same one, and a check that it did.

Decisions:

- What decides is the sha256 of the weights as they are loaded (the fingerprint that the adapter itself carries), not of
  the file: the same weights in another container are the same backbone, and a file that changed under its name is not.
- The file's name, size and sha256, the hub's repository and revision, and the licence are for people who have to find it.
- A path of the machine that trained is never told; where the weights lie here is said when a model is loaded: as an
  argument, or as ``MONAI_FPT_BACKBONE``, a file or a folder of files.
- Nothing is fetched to describe a backbone: hub revision and file are read from the caches of this machine, where timm
  left them.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import timm
import torch

import monai_fpt
from monai_fpt._files import file_sha256
from monai_fpt.networks import FPTConfig

__all__ = ["BACKBONE_VARIABLE", "FPTBackboneReference", "local_weights"]

BACKBONE_VARIABLE = "MONAI_FPT_BACKBONE"
SOURCES = ("timm", "file", "package", "random")
_PACKAGE = Path(monai_fpt.__file__).resolve().parent
_HUB_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")


@dataclasses.dataclass(frozen=True)
class FPTBackboneReference:
    """A frozen backbone as others can find it and as a loader can check it.

    Attributes:
        name: timm name or ``hf-hub:`` id.
        source: ``"timm"`` (fetched by timm under that name), ``"file"`` (a file that the user gave), ``"package"`` (a file
            that ships with monai_fpt), or ``"random"`` (fixed random weights, for tests).
        weights_sha256: of the weights as loaded; see :attr:`~monai_fpt.networks.FrozenViT.fingerprint`.
        file: name of the weight file; for ``"package"`` its path in the package; empty where unknown.
        file_sha256: of that file.
        file_bytes: its size; 0 where unknown.
        hub: repository on the Hugging Face hub.
        revision: its commit that lay in this machine's cache; empty where unknown.
        licence: of the weights; empty where unknown.
        embedded: name of the weights' file inside the package; empty where only the reference is stored.

    Raises:
        ValueError: an unknown source, or no fingerprint.
    """

    name: str
    source: str
    weights_sha256: str
    file: str = ""
    file_sha256: str = ""
    file_bytes: int = 0
    hub: str = ""
    revision: str = ""
    licence: str = ""
    embedded: str = ""

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"backbone reference: source is {self.source!r}; choose one of {SOURCES}.")
        if len(self.weights_sha256) != 64:
            raise ValueError(
                f"backbone reference: the weights of {self.name!r} have no fingerprint; train or import the model again."
            )

    @classmethod
    def of(cls, config: FPTConfig, weights_sha256: str, licence: str | None = None) -> FPTBackboneReference:
        """Describe the backbone of a network.

        Args:
            config: of the network on this machine.
            weights_sha256: of the weights that the adapter was trained on.
            licence: of the weights; by default what timm says of its own.
        """
        weights = config.backbone_weights
        source = (
            "random"
            if weights is None
            else "timm"
            if weights == "timm"
            else "package"
            if _in_package(weights)
            else "file"
        )
        known: dict[str, Any] = {}
        path = _timm_file(config.backbone, known) if source == "timm" else None
        if source in ("file", "package"):
            path = Path(str(weights)).expanduser()
        if path is not None and path.is_file():
            name = path.resolve().relative_to(_PACKAGE).as_posix() if source == "package" else path.name
            known |= {"file": name, "file_sha256": file_sha256(path), "file_bytes": path.stat().st_size}
        if licence is not None:
            known["licence"] = licence
        return cls(name=config.backbone, source=source, weights_sha256=weights_sha256, **known)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary of all fields."""
        return dataclasses.asdict(self)

    @classmethod
    def load(cls, path: str | Path) -> FPTBackboneReference:
        """Read a reference from JSON.

        Raises:
            ValueError: the file holds none.
        """
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(
                f'"{Path(path).name}" is no reference to a backbone ({error}); register the model again.'
            ) from error

    def __str__(self) -> str:
        """One line for people."""
        where = {"timm": "weights of timm", "file": f"file {self.file}", "package": "ships with monai-fpt"}.get(
            self.source
        )
        if self.hub:
            where = f"{self.hub} on the Hugging Face hub" + (
                f", revision {self.revision[:12]}" if self.revision else ""
            )
        return f"{self.name} ({where or 'random weights, for tests'})"


def local_weights(
    reference: FPTBackboneReference,
    folder: Path,
    told: str | Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str | None:
    """Where the weights of a referenced backbone are on this machine, as ``FPTConfig.backbone_weights``.

    Looked for in this order: where the caller says, inside the package, where ``MONAI_FPT_BACKBONE`` says, where the
    reference itself leads. Whatever is found is checked when the adapter is loaded onto it.

    Args:
        reference: the backbone.
        folder: of the package, for embedded weights.
        told: a file, a folder of files, or ``"timm"``.
        environment: of the process.

    Returns:
        a path, ``"timm"``, or None for fixed random weights.

    Raises:
        FileNotFoundError: the weights are nowhere.
    """
    if told is not None:
        return "timm" if str(told) == "timm" else str(_file_at(Path(told), reference, "backbone_weights"))
    if reference.embedded:
        return str(folder / reference.embedded)
    variable = environment.get(BACKBONE_VARIABLE)
    if variable and (reference.source == "file" or Path(variable).is_file()):
        return str(_file_at(Path(variable), reference, BACKBONE_VARIABLE))
    if variable and reference.source == "timm" and reference.file and (Path(variable) / reference.file).is_file():
        return str(Path(variable) / reference.file)
    if reference.source == "file":
        raise FileNotFoundError(
            f'This model needs the weights of its backbone "{reference.name}", a file that was called "{reference.file}" '
            f"(sha256 {reference.file_sha256[:16]}, {reference.file_bytes:,} bytes); give its path as backbone_weights or in {BACKBONE_VARIABLE}."
        )
    return {"timm": "timm", "package": str(_PACKAGE / reference.file), "random": None}[reference.source]


def _file_at(path: Path, reference: FPTBackboneReference, asked: str) -> Path:
    path = path.expanduser()
    found = path / Path(reference.file).name if path.is_dir() and reference.file else path
    if not found.is_file():
        raise FileNotFoundError(
            f'{asked} leads to no weights of the backbone "{reference.name}": there is no file "{found}"; '
            f"give the file, or a folder that holds {reference.file or 'it'}."
        )
    return found


def _in_package(weights: str) -> bool:
    return Path(weights).expanduser().resolve().is_relative_to(_PACKAGE)


def _timm_file(name: str, known: dict[str, Any]) -> Path | None:
    """Where timm's own file lies in the caches of this machine; what its configuration says is added to ``known``."""
    from huggingface_hub import try_to_load_from_cache

    if name.startswith(("hf-hub:", "hf_hub:")):
        hub, _, asked = name[len("hf-hub:") :].partition("@")
        known |= {"hub": hub, "revision": asked}
        names: tuple[str, ...] = _HUB_FILES
        config = None
    else:
        config = timm.get_pretrained_cfg(name)
        if config is None:
            return None
        hub = str(config.hf_hub_id or "")
        known |= {"hub": hub, "licence": str(config.license or "")}
        names = (config.hf_hub_filename, *_HUB_FILES) if config.hf_hub_filename else _HUB_FILES
    for file in names if hub else ():
        found = try_to_load_from_cache(hub, file, revision=known.get("revision") or None)
        if isinstance(found, str):
            snapshots = Path(found).parts
            known["revision"] = snapshots[snapshots.index("snapshots") + 1] if "snapshots" in snapshots else ""
            return Path(found)
    url = config.url if config is not None else None
    if isinstance(url, str) and url:
        return Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(urlparse(url).path)
    return None
