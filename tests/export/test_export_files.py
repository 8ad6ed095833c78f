"""What is in an exported file, and what it answers, asked without this package."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from export_toys import CLASSES, MEAN, STD, drawn, file_answers, file_facts, loud_run, model_answers, tiny_config

import monai_fpt
from monai_fpt.export import FACTS_KEY, FPTExported, fpt_export
from monai_fpt.export.facts import export_facts
from monai_fpt.metrics import fpt_weights_sha256
from monai_fpt.metrics.calibration import FPTCalibration
from monai_fpt.registry import FPTPredictor

ODD_IMAGES = {
    "0 to 255": lambda image: 255 * image,
    "normalised already": lambda image: (image - 0.5) / 0.5,
    "not a number": lambda image: image.masked_fill(image > 0.99, float("nan")),
}


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_a_file_answers_any_number_of_images_as_the_model_does(exported: FPTExported, number: int) -> None:
    images = drawn(number)
    expected = model_answers(tiny_config(), images)

    answers = file_answers(exported.path, exported.format, images)

    assert list(answers) == ["logits", "probabilities"]
    assert expected.abs().max() > 0.5
    assert torch.allclose(answers["logits"], expected, rtol=0, atol=1e-4)
    assert torch.allclose(answers["probabilities"], expected.softmax(dim=1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("odd", ODD_IMAGES.values(), ids=ODD_IMAGES.keys())
def test_an_image_that_is_not_within_0_and_1_is_answered_with_nan_and_the_others_are_not(
    exported: FPTExported, odd: object
) -> None:
    images = drawn(3)
    good = file_answers(exported.path, exported.format, images)
    images[1] = odd(images[1])  # type: ignore[operator]

    answers = file_answers(exported.path, exported.format, images)

    for name in ("logits", "probabilities"):
        assert answers[name][1].isnan().all()
        assert torch.allclose(answers[name][::2], good[name][::2], rtol=0, atol=1e-5)


def test_several_findings_get_a_probability_each(tmp_path: Path) -> None:
    run = loud_run(tmp_path, task="multilabel")

    made = fpt_export(run, "torchscript")

    answers = file_answers(made.path, "torchscript", drawn(2))
    assert torch.allclose(answers["probabilities"], answers["logits"].sigmoid())
    assert made.facts["outputs"]["probabilities"]["activation"] == "sigmoid"


def test_a_file_says_what_it_answers_and_what_it_wants(exported: FPTExported, run: Path) -> None:
    facts = file_facts(exported.path, exported.format)

    card = json.loads((run / "model.json").read_text(encoding="utf-8"))
    assert facts == json.loads(json.dumps(exported.facts))
    assert facts["classes"] == list(CLASSES)
    assert facts["task"] == "multiclass"
    assert facts["image_size"] == 64
    assert facts["normalization_inside"] == {"mean": list(MEAN), "std": list(STD)}
    assert facts["backbone"]["weights_sha256"] == card["features"]["backbone_fingerprint"]
    assert facts["backbone"]["licence"] == "mit"
    assert facts["made_with"]["monai_fpt"] == monai_fpt.__version__
    assert facts["reader"] == card["reader"] and facts["preparing"] == card["preparing"]


def test_a_calibration_of_these_weights_goes_along(tmp_path: Path) -> None:
    run = loud_run(tmp_path)
    weights = fpt_weights_sha256(torch.load(run / "model.pt", weights_only=True))
    FPTCalibration(1.7, {"melanoma/youden": 0.4}, classes=CLASSES, weights_sha256=weights).save(
        run / "calibration.json"
    )

    facts = export_facts(FPTPredictor.from_folder(run), run)

    assert facts["calibration"] == {"temperature": 1.7, "thresholds": {"melanoma/youden": 0.4}, "aggregate": None}


def test_a_file_tells_no_folder_of_the_machine_that_wrote_it(exported: FPTExported, run: Path) -> None:
    parts = [exported.path.read_bytes()]
    if zipfile.is_zipfile(exported.path):
        with zipfile.ZipFile(exported.path) as archive:
            parts = [archive.read(name) + name.encode() for name in archive.namelist()]

    private = [Path(monai_fpt.__file__).parent, Path(torch.__file__).parent, run, exported.path.parent, Path.home()]
    assert not [folder for folder in private for part in parts if f"{folder}/".encode() in part]


def test_an_onnx_file_is_valid_states_its_opset_and_names_its_axes(onnx_file: FPTExported) -> None:
    import onnx

    model = onnx.load(onnx_file.path)
    onnx.checker.check_model(model, full_check=True)

    def dims(value: onnx.ValueInfoProto) -> list[str | int]:
        return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]

    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert {value.name: dims(value) for value in model.graph.input} == {"image": ["batch", 3, 64, 64]}
    assert {value.name: dims(value) for value in model.graph.output} == {
        "logits": ["batch", 3],
        "probabilities": ["batch", 3],
    }
    assert [entry.key for entry in model.metadata_props] == [FACTS_KEY]
    assert [path.name for path in onnx_file.path.parent.iterdir()] == [onnx_file.path.name]


ALONE = """
import sys
for name in ("monai_fpt", "monai", "timm", *(["torch"] if sys.argv[2] == "onnx" else [])):
    sys.modules[name] = None
import numpy
image = numpy.full((3, 3, 64, 64), 0.25, numpy.float32)
if sys.argv[2] == "onnx":
    import onnxruntime
    told = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"]).run(["probabilities"], {"image": image})[0]
else:
    import torch
    loaded = torch.jit.load(sys.argv[1]) if sys.argv[2] == "torchscript" else torch.export.load(sys.argv[1]).module()
    told = loaded(torch.from_numpy(image))["probabilities"].detach().numpy()
print(told.shape, round(float(told.sum()), 4))
"""


@pytest.mark.parametrize(
    "exported",
    ["onnx", pytest.param("torch_export", marks=pytest.mark.slow), pytest.param("torchscript", marks=pytest.mark.slow)],
    indirect=True,
)
def test_a_file_is_asked_where_this_package_is_not_installed(exported: FPTExported) -> None:
    command = [sys.executable, "-c", ALONE, str(exported.path), exported.format]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert done.stdout.strip() == "(3, 3) 3.0", done.stderr
