"""A package holds what a model is and nothing of where it was made, is the same whenever it is made, and is refused when it
was changed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from registry_toys import CLASSES, CONFIG, PATIENT, copied_run, untrained_run, weights_of, with_weights_file
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from monai_fpt.metrics import FPTPredictions
from monai_fpt.networks import BackboneMismatchError
from monai_fpt.networks._weights import create_trunk
from monai_fpt.quickstart.settings import BACKBONE_KWARGS, BACKBONE_NAME, BACKBONE_WEIGHTS
from monai_fpt.registry import FPTPackage, FPTPackageError, FPTPredictor, package_model
from monai_fpt.registry.pseudonyms import pseudonymous

ONES = torch.ones(2, 3, 64, 64)


@pytest.fixture(scope="module")
def package(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> FPTPackage:
    return package_model(toy_run, tmp_path_factory.mktemp("package") / "fpt")


def test_it_holds_the_facts_of_the_model(package: FPTPackage, toy_run: Path) -> None:
    trained = torch.load(toy_run / "model.pt", weights_only=True)
    packed = load_file(package.folder / "adapter.safetensors")
    assert packed.keys() == trained.keys() and all(torch.equal(packed[name], trained[name]) for name in packed)
    assert package.card.classes == CLASSES and package.card.preparing[0]["roi_size"] == [60, 50]
    assert package.backbone.source == "random" and len(package.backbone.weights_sha256) == 64
    assert package.data["digest"] == package.card.data_digest
    assert package.data["test"] == {"images": 8, "groups": 4, "classes": {"benign": 4, "malignant": 4}}
    metadata = json.loads((package.folder / "bundle" / "configs" / "metadata.json").read_text(encoding="utf-8"))
    prediction = metadata["network_data_format"]["outputs"]["pred"]
    assert prediction["channel_def"] == {"0": "benign", "1": "malignant"} and prediction["num_channels"] == 2
    assert (package.folder / "bundle" / "configs" / "inference.json").is_file()
    assert (package.folder / "calibration.json").read_bytes() == (toy_run / "calibration.json").read_bytes()


def test_its_report_is_that_of_the_test_predictions(package: FPTPackage, toy_run: Path) -> None:
    kept, full = package.predictions(), FPTPredictions.load(toy_run / "test_predictions.json")
    assert kept is not None and package.report is not None
    assert sorted(map(tuple, kept.logits.tolist())) == sorted(map(tuple, full.logits.tolist()))
    auc = roc_auc_score(full.labels, full.logits[:, 1] - full.logits[:, 0])
    assert package.report["scores"]["auc"]["value"] == pytest.approx(auc)
    assert f"{auc:.3f}" in package.readme and "8 test images of 4 patients" in package.readme


def test_no_text_of_it_names_a_patient_or_a_folder(package: FPTPackage, toy_run: Path, toy_images: Path) -> None:
    files = [path for path in package.folder.rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        content = path.read_bytes()
        for private in (PATIENT, str(toy_run), str(toy_images), str(Path.home()) + "/", "labels.csv\n"):
            assert private.encode() not in content, path.name
    executed = json.loads((package.folder / "config.json").read_text(encoding="utf-8"))
    assert executed["run_dir"] == "run" and executed["dataset_dir"] == "images" and executed["image_size"] == 64


def test_the_same_model_gives_the_same_package(package: FPTPackage, toy_run: Path, tmp_path: Path) -> None:
    assert package_model(copied_run(toy_run, tmp_path / "elsewhere"), tmp_path / "again").digest == package.digest


def test_another_model_gives_another(package: FPTPackage, toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    state = torch.load(run / "model.pt", weights_only=True)
    state["fusion.prompts"][0, 0, 0] += 1e-6
    torch.save(state, run / "model.pt")
    for name in ("calibration.json", "test_predictions.json", "validation_predictions.json"):
        (run / name).unlink()
    for name in ("calibration.json", "test_predictions.json"):
        content = json.loads((toy_run / name).read_text(encoding="utf-8"))
        (run / name).write_text(json.dumps(content | {"weights_sha256": weights_of(run)}), encoding="utf-8")
    assert package_model(run, tmp_path / "fpt").digest != package.digest


def spoil_byte(folder: Path) -> None:
    content = bytearray((folder / "adapter.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "adapter.safetensors").write_bytes(content)


def spoil_class_order(folder: Path) -> None:
    path = folder / "model.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"benign",', '"malignant",', 1), encoding="utf-8")


def spoil_with_a_new_hash(folder: Path) -> None:
    spoil_class_order(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["model.json"] = hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_byte,
        spoil_class_order,
        spoil_with_a_new_hash,
        lambda folder: (folder / "calibration.json").unlink(),
        lambda folder: (folder / "backbone.pth").write_bytes(b"x"),
        lambda folder: (folder / "manifest.json").write_text("{}"),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
    ids=["byte", "class-order", "with-its-hash", "missing", "added", "empty-manifest", "no-manifest"],
)
def test_a_changed_package_is_refused(package: FPTPackage, tmp_path: Path, spoil: object) -> None:
    copy = Path(shutil.copytree(package.folder, tmp_path / "fpt"))
    assert FPTPackage.load(copy).digest == package.digest
    assert callable(spoil)
    spoil(copy)
    with pytest.raises(FPTPackageError, match=r"was changed after it was packed|is no package"):
        FPTPackage.load(copy)


def test_a_package_appears_whole_or_not_at_all(toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("monai_fpt.registry.package._write_data", broken)
    with pytest.raises(OSError, match="no space left"):
        package_model(toy_run, tmp_path / "fpt")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_would_be_told_is_refused(toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    with pytest.raises(ValueError, match=r"README\.md would tell the registry of the folder"):
        package_model(run, tmp_path / "fpt", intended_use=f"For the images in {run}.")


def test_predictions_and_lists_of_another_model_are_refused(toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "a")
    foreign = FPTPredictions(("a",), ("a",), np.array([0]), np.zeros((1, 2)), ("x", "y"))
    dataclasses.replace(foreign, weights_sha256=weights_of(run)).save(run / "test_predictions.json")
    with pytest.raises(ValueError, match=r"is for \['x', 'y'\] .* evaluate this model again"):
        package_model(run, tmp_path / "fpt")
    run = copied_run(toy_run, tmp_path / "b")
    content = json.loads((run / "data_list.json").read_text(encoding="utf-8"))
    (run / "data_list.json").write_text(json.dumps(content | {"digest": "0" * 64}), encoding="utf-8")
    with pytest.raises(ValueError, match="not the list that this model was trained on"):
        package_model(run, tmp_path / "fpt")


def test_a_model_that_was_not_tested_says_so(tmp_path: Path) -> None:
    package = package_model(untrained_run(tmp_path / "run"), tmp_path / "fpt")
    assert package.report is None and package.predictions() is None
    assert "**Not evaluated.**" in package.readme and "None was fitted" in package.readme


# --- the backbone


def test_a_file_of_the_user_is_told_by_name_and_hash_and_must_be_shown_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "secret" / "vit.safetensors"
    run = with_weights_file(tmp_path / "run", weights)
    package = package_model(run, tmp_path / "fpt", backbone_licence="CC-BY-4.0")
    reference = package.backbone
    assert (reference.source, reference.file, reference.licence) == ("file", "vit.safetensors", "CC-BY-4.0")
    assert reference.file_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert not any(b"secret" in path.read_bytes() for path in package.folder.rglob("*") if path.is_file())
    with pytest.raises(FileNotFoundError, match=r'"vit\.safetensors" \(sha256 .*MONAI_FPT_BACKBONE'):
        FPTPredictor.from_folder(package.folder)
    wanted = FPTPredictor.from_folder(run).logits(ONES)
    assert torch.equal(FPTPredictor.from_folder(package.folder, backbone_weights=weights).logits(ONES), wanted)
    for place in (weights, weights.parent):
        monkeypatch.setenv("MONAI_FPT_BACKBONE", str(place))
        assert torch.equal(FPTPredictor.from_folder(package.folder).logits(ONES), wanted)
    monkeypatch.setenv("MONAI_FPT_BACKBONE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="MONAI_FPT_BACKBONE leads to no weights"):
        FPTPredictor.from_folder(package.folder)


def test_the_same_weights_in_another_file_are_the_same_backbone_and_changed_ones_are_not(tmp_path: Path) -> None:
    weights = tmp_path / "vit.safetensors"
    package = package_model(with_weights_file(tmp_path / "run", weights), tmp_path / "fpt")
    state = load_file(weights)
    torch.save(state, tmp_path / "vit.pth")
    assert FPTPredictor.from_folder(package.folder, backbone_weights=tmp_path / "vit.pth")
    state["blocks.0.attn.qkv.weight"][0, 0] += 1e-6
    save_file(state, tmp_path / "vit.safetensors")
    with pytest.raises(BackboneMismatchError):
        FPTPredictor.from_folder(package.folder, backbone_weights=weights)


def test_a_package_is_made_with_the_right_backbone_or_not_at_all(tmp_path: Path) -> None:
    weights = tmp_path / "a" / "vit.safetensors"
    run = with_weights_file(tmp_path / "run", weights)
    with_weights_file(tmp_path / "other", tmp_path / "b" / "vit.safetensors", seed=7)
    for place in (tmp_path / "b", tmp_path / "b" / "vit.safetensors"):
        with pytest.raises(BackboneMismatchError, match="give the right ones as backbone_weights"):
            package_model(run, tmp_path / "fpt", backbone_weights=place)
    (tmp_path / "moved").mkdir()
    weights.rename(tmp_path / "moved" / "vit.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        package_model(run, tmp_path / "fpt")
    package = package_model(run, tmp_path / "fpt", backbone_weights=tmp_path / "moved", embed_backbone=True)
    assert package.backbone.file == "vit.safetensors" and FPTPredictor.from_folder(package.folder)


def test_an_embedded_backbone_needs_no_other_file(tmp_path: Path) -> None:
    weights = tmp_path / "vit.safetensors"
    run = with_weights_file(tmp_path / "run", weights)
    wanted = FPTPredictor.from_folder(run).logits(ONES)
    package = package_model(run, tmp_path / "fpt", embed_backbone=True)
    assert (package.folder / "backbone.safetensors").read_bytes() == weights.read_bytes()
    weights.unlink()
    assert torch.equal(FPTPredictor.from_folder(package.folder).logits(ONES), wanted)
    assert "- backbone in this package: yes" in package.readme


def test_weights_that_timm_fetched_are_told_by_hub_and_revision_and_can_be_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, backbone="vit_tiny_patch16_224.augreg_in21k_ft_in1k", backbone_weights="timm")
    snapshot = tmp_path / f"models--timm--{config.backbone}" / "snapshots" / ("c0ffee" * 7)[:40]
    snapshot.mkdir(parents=True)
    trunk = create_trunk(config.backbone, None, CONFIG.backbone_kwargs)
    save_file({name: value + 0.01 for name, value in trunk.state_dict().items()}, snapshot / "model.safetensors")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(snapshot.name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    package = package_model(untrained_run(tmp_path / "run", config), tmp_path / "fpt", embed_backbone=True)
    reference = package.backbone
    assert (reference.source, reference.hub, reference.revision) == ("timm", f"timm/{config.backbone}", snapshot.name)
    assert reference.licence == "apache-2.0" and reference.file == "model.safetensors"
    assert reference.file_sha256 == hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest()
    assert snapshot.name[:12] in package.readme
    wanted = FPTPredictor.from_folder(tmp_path / "run").logits(ONES)
    shutil.rmtree(snapshot.parents[1])
    assert torch.equal(FPTPredictor.from_folder(package.folder).logits(ONES), wanted)


def test_weights_that_ship_with_this_package_are_found_wherever_it_is_installed(tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG,
        backbone=BACKBONE_NAME,
        backbone_kwargs=BACKBONE_KWARGS,
        backbone_weights=BACKBONE_WEIGHTS,
        side_reduction=4,
    )
    package = package_model(untrained_run(tmp_path / "run", config), tmp_path / "fpt")
    assert package.backbone.source == "package" and package.backbone.file == "quickstart/texture_vit.safetensors"
    assert FPTPredictor.from_folder(package.folder)


# --- names


def test_pseudonyms_pair_the_same_test_set_and_hide_everything_else(toy_run: Path) -> None:
    full = FPTPredictions.load(toy_run / "test_predictions.json")
    backwards = full.subset(range(len(full) - 1, -1, -1))
    one, other = pseudonymous(full), pseudonymous(backwards)
    assert one.keys == other.keys and one.groups == other.groups and np.array_equal(one.logits, other.logits)
    assert len(set(one.groups)) == len(set(full.groups)) == 4
    assert one.keys == tuple(sorted(one.keys)) and one.facts == {}
    fewer = pseudonymous(full.subset(range(7)))
    assert not set(fewer.keys) & set(one.keys)
