"""The app without a server: what requests get, and what they do not get."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from label_toys import CLASSES, draw_studies, label_file, picture, tiny_run
from PIL import Image

pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")

from monailabel.config import settings

from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.app import FPTApp
from monai_fpt.monailabel.errors import RequestError
from monai_fpt.monailabel.infer import uncertainty
from monai_fpt.monailabel.training_publish import publish_model
from monai_fpt.registry import FPTPredictor


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(tmp_path / "sessions"))
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before


@pytest.fixture
def app(toy_model: Path, tmp_path: Path) -> FPTApp:
    draw_studies(tmp_path / "studies")
    return FPTApp(str(tmp_path / "app"), str(tmp_path / "studies"), {"model": str(toy_model)})


def ask(app: FPTApp, image: str = "img00.png", model: str = "fpt", **options: Any) -> dict[str, Any]:
    return app.infer({"model": model, "image": image, **options})


def test_an_answer_has_the_probabilities_of_the_model(app: FPTApp, toy_model: Path, tmp_path: Path) -> None:
    params = ask(app)["params"]
    told = FPTPredictor.from_folder(toy_model).predict([tmp_path / "studies" / "img00.png"])[0]

    assert [part["label"] for part in params["prediction"]] == list(CLASSES)
    assert [part["score"] for part in params["prediction"]] == pytest.approx(told.probabilities, abs=2e-3)
    assert params["label"] == told.predicted[0]
    assert params["label_names"] == {"benign": 0, "malignant": 1}
    assert {"pre", "infer", "total"} <= set(params["latencies"])
    json.dumps(params)


@pytest.mark.parametrize(
    ("probabilities", "task", "expected"),
    [
        ([0.5, 0.5], "multiclass", 1.0),
        ([0.9, 0.1], "multiclass", 0.468996),
        ([1, 0, 0], "multiclass", 0.0),
        ([0.5, 1.0], "multilabel", 0.5),
    ],
)
def test_uncertainty_is_the_entropy_as_a_share_of_the_highest(
    probabilities: list[float], task: str, expected: float
) -> None:
    assert uncertainty(probabilities, task) == pytest.approx(expected, abs=1e-5)  # 0.468996 bit: a biased coin


@pytest.mark.parametrize("save_label", [True, "true"])
def test_a_prediction_is_kept_where_that_is_asked(app: FPTApp, save_label: Any) -> None:
    answered = ask(app, save_label=save_label, label_tag="original")

    assert answered["label"] == "img00.png"
    kept = json.loads(Path(app.datastore().get_label_uri("img00.png", "original")).read_text())
    assert kept["label"] == answered["params"]["label"]
    assert app.datastore().get_label_info("img00.png", "original")["model"] == "fpt"
    assert app.datastore().get_labeled_images() == []


def test_a_map_is_kept_beside_the_prediction_and_not_in_its_place(app: FPTApp) -> None:
    ask(app, save_label=True)
    answered = ask(app, model="fpt_saliency", save_label=True)

    assert answered["tag"] == "saliency"
    assert app.datastore().status()["label_tags"] == {"original": 1, "saliency": 1}
    app.batch_infer({"model": "fpt_saliency", "images": ["img03.png"]})
    assert app.datastore().status()["label_tags"] == {"original": 1, "saliency": 2}


def test_a_word_that_is_no_truth_is_not_taken_for_false(app: FPTApp) -> None:
    with pytest.raises(RequestError, match="save_label 'perhaps' is neither true nor false") as refused:
        ask(app, save_label="perhaps")

    assert refused.value.status_code == 422


def test_what_cannot_be_read_is_told_by_its_id_and_with_what_can_be_done_here(app: FPTApp, tmp_path: Path) -> None:
    pages = [Image.fromarray(picture(n)) for n in range(2)]
    pages[0].save(tmp_path / "studies" / "ward1" / "pages.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "studies" / "empty.png").write_bytes(b"")
    app.datastore().refresh()
    for image in ("ward1/pages.tif", "empty.png"):
        with pytest.raises(RequestError) as refused:
            ask(app, image)
        assert f"'{image}'" in refused.value.detail and str(tmp_path) not in refused.value.detail
        if image == "ward1/pages.tif":
            assert (
                "none is chosen; a reader sees one picture an image, so save each frame that counts"
                in refused.value.detail
            )

    (told,) = app.info()["problems"]
    assert told.startswith(
        "2 images are not served and not trained on, for want of reading; 'empty.png': cannot read image"
    )
    for name in ("empty.png", "ward1/pages.tif"):
        (tmp_path / "studies" / name).unlink()
    assert app.info()["problems"] == []


def test_a_file_that_was_sent_and_cannot_be_read_is_answered_without_the_servers_path(app: FPTApp) -> None:
    received = Path(tempfile.gettempdir()) / "tmpxyz.png"
    received.write_bytes(b"")

    with pytest.raises(RequestError) as refused:
        ask(app, str(received))
    assert "cannot read image 'that was sent'" in refused.value.detail and "/" not in refused.value.detail


def test_a_studies_folder_without_images_is_a_problem(toy_model: Path, tmp_path: Path) -> None:
    (tmp_path / "studeis").mkdir()
    app = FPTApp(str(tmp_path / "app"), str(tmp_path / "studeis"), {"model": str(toy_model), "warm_up": "false"})

    (told,) = app.info()["problems"]
    assert told.startswith("There is no image in the studies folder") and "check --studies" in told


def test_a_label_is_named_after_its_image_in_a_refusal(app: FPTApp, tmp_path: Path) -> None:
    sent = label_file(tmp_path, {"label": "melanoma"}, "tmp78j2u9ys.json")

    with pytest.raises(RequestError, match=r'The label "img00.png.json" names .melanoma.'):
        app.datastore().save_label("img00", str(sent), "final", {})


@pytest.mark.parametrize("save_label", [False, "false", None, "0"])
def test_nothing_is_kept_where_it_is_not_asked(app: FPTApp, save_label: Any) -> None:
    ask(app, save_label=save_label)

    assert app.datastore().status()["label_tags"] == {}


def test_batch_inference_keeps_every_prediction_and_tells_what_failed(app: FPTApp, tmp_path: Path) -> None:
    (tmp_path / "studies" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    app.datastore().refresh()
    label = label_file(tmp_path, {"label": "benign"})
    app.datastore().save_label("img00.png", str(label), "final", {})

    done = app.batch_infer({"model": "fpt", "images": "unlabeled", "device": "cpu"})

    assert "cannot read image" in done.pop("broken.png")["error"]
    assert "img00.png" not in done and len(done) == 5
    assert app.datastore().status()["label_tags"] == {"final": 1, "original": 5}


@pytest.mark.parametrize(
    "image",
    ["/etc/passwd", "../studies/img00.png", "nobody", "/tmp", "labels/final/img00.png.json", ".info/lock", ""],
)
def test_an_image_that_is_none_of_the_studies_is_refused(app: FPTApp, image: str) -> None:
    with pytest.raises(RequestError) as refused:
        ask(app, image)

    assert refused.value.status_code in (400, 404)


def test_a_file_that_the_server_received_is_answered_and_another_of_the_same_folder_kind_is_not(
    app: FPTApp, tmp_path: Path
) -> None:
    received = Path(tempfile.gettempdir()) / "tmpabc.png"
    received.write_bytes((tmp_path / "studies" / "img00.png").read_bytes())

    sent, known = ask(app, str(received), save_label=True), ask(app)
    assert sent["params"]["prediction"][0]["score"] == pytest.approx(
        known["params"]["prediction"][0]["score"], abs=2e-3
    )
    assert app.datastore().status()["label_tags"] == {}
    with pytest.raises(RequestError, match="is a path"):
        ask(app, str(tmp_path / "studies" / "img00.png"))


def test_a_file_that_cannot_be_read_is_answered_with_its_reason(app: FPTApp, tmp_path: Path) -> None:
    (tmp_path / "studies" / "broken.jpg").write_bytes(b"\xff\xd8\xff no")

    with pytest.raises(RequestError, match="cannot read image") as refused:
        ask(app, "broken.jpg")

    assert refused.value.status_code == 422
    assert ask(app)["params"]["label"] in CLASSES


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"class": "melanoma"}, "no class 'melanoma'"),
        ({"result_extension": "/../../x"}, "not written as"),
        ({"result_extension": ".exe"}, "not written as"),
        ({"result_dtype": "float32"}, "has bytes"),
    ],
)
def test_a_map_that_cannot_be_is_refused(app: FPTApp, options: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        ask(app, model="fpt_saliency", **options)


def test_a_map_has_the_size_of_the_file_and_the_labels_that_are_told(app: FPTApp) -> None:
    import SimpleITK as sitk

    answered = ask(app, "ward1/img01.JPG", "fpt_saliency", **{"class": "malignant"})
    image = sitk.ReadImage(answered["file"])

    assert image.GetSize() == (70, 90, 1)
    assert set(sitk.GetArrayFromImage(image).ravel().tolist()) <= {0, *answered["params"]["label_names"].values()}
    assert answered["params"]["saliency"]["class"] == "malignant"


@pytest.mark.parametrize(
    ("model", "output"), [("fpt", "asap"), ("fpt_saliency", "asap"), ("fpt", "dsa"), ("fpt_saliency", "dsa")]
)
def test_outlines_for_qupath_and_dsa_are_whole_xml_and_json(app: FPTApp, model: str, output: str) -> None:
    import xml.etree.ElementTree as ET

    file = app.infer_wsi({"model": model, "image": "img00.png", "output": output})["file"]
    text = Path(file).read_text()

    if output == "asap":
        assert ET.fromstring(text).tag == "ASAP_Annotations"
    else:
        assert {"name", "elements"} <= set(json.loads(text))


def test_a_published_model_answers_without_a_restart(app: FPTApp) -> None:
    before = ask(app)["params"]
    predictor = app.model.predictor
    with torch.no_grad():
        predictor.network.side.head.bias += torch.tensor([0.0, 5.0])
    number = publish_model(app.model_dir, predictor.network, predictor.card)
    with torch.no_grad():
        predictor.network.side.head.bias -= torch.tensor([0.0, 5.0])

    after = ask(app)["params"]
    assert (before["model_version"], after["model_version"]) == (0, number)
    assert after["prediction"][1]["score"] > before["prediction"][1]["score"] + 0.1
    assert app.model.predictor.network.backbone is app.model.features.backbone


def test_an_answer_names_the_version_that_gave_it_whenever_another_is_published(
    app: FPTApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ask(app)["params"]
    predictor, present = app.model.predictor, app.model.present
    with torch.no_grad():
        predictor.network.side.head.bias += torch.tensor([0.0, 5.0])
    publish_model(app.model_dir, predictor.network, predictor.card)
    with torch.no_grad():
        predictor.network.side.head.bias -= torch.tensor([0.0, 5.0])
    (app.model_dir / "current").write_text("0\n")

    def exchanged_after_the_question() -> Any:
        now = present()
        (app.model_dir / "current").write_text("1\n")
        return now

    monkeypatch.setattr(app.model, "present", exchanged_after_the_question)
    first, second = ask(app)["params"], ask(app)["params"]
    assert (first["model_version"], first["prediction"]) == (0, before["prediction"])
    assert (second["model_version"], second["prediction"]) != (1, before["prediction"])


def test_a_pointer_to_nothing_leaves_the_model_before_and_is_told_with_how_to_mend_it(app: FPTApp) -> None:
    before, weights = ask(app)["params"], app.model_info("fpt")
    assert app.info()["problems"] == []
    (app.model_dir / "current").write_text("7\n")

    told = app.info()["problems"]
    assert len(told) == 1 and "names the version '7'" in told[0] and "write the number of one that is, or 0" in told[0]
    assert ask(app)["params"]["prediction"] == before["prediction"]
    assert (ask(app)["params"]["model_version"], app.model_info("fpt")) == (0, weights)
    (app.model_dir / "current").write_text("0\n")
    assert app.info()["problems"] == []


def test_a_retraining_mirrors_images_as_the_run_did(toy_model: Path, tmp_path: Path) -> None:
    import shutil

    run = shutil.copytree(toy_model, tmp_path / "run")
    (run / "config.json").write_text('{"flip_prob": 0, "vertical_flip_prob": 0.25, "rotate_prob": 0.75}')
    draw_studies(tmp_path / "studies", 2)
    for _ in range(2):  # as the server begins, and begins again
        app = FPTApp(str(tmp_path / "app"), str(tmp_path / "studies"), {"model": str(run)})
        told = app.info()["trainers"]["fpt"]["config"]
        assert (told["flip_prob"], told["vertical_flip_prob"], told["rotate_prob"]) == (0, 0.25, 0.75)
        assert app._trainers["fpt"].defaults.fit.flip_prob == 0


def test_a_published_model_that_is_broken_leaves_the_one_before(app: FPTApp) -> None:
    before = ask(app)["params"]
    number = publish_model(app.model_dir, app.model.predictor.network, app.model.predictor.card)
    (app.model_dir / "versions" / str(number) / "model.pt").write_bytes(b"no weights")

    assert ask(app)["params"]["prediction"] == before["prediction"]


def test_an_app_begins_without_a_trained_model_and_says_so(toy_model: Path, tmp_path: Path) -> None:
    draw_studies(tmp_path / "studies", 2)
    card = FPTModelCard.load(toy_model / "model.json")
    (tmp_path / "app" / "model").mkdir(parents=True)
    card.save(tmp_path / "app" / "model" / "model.json")

    app = FPTApp(str(tmp_path / "app"), str(tmp_path / "studies"), {})
    assert ask(app)["params"]["trained"] is False


def test_an_app_without_any_model_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--conf model FOLDER"):
        FPTApp(str(tmp_path / "app"), str(tmp_path / "studies"), {})


def test_an_app_does_not_exchange_its_model_for_another_silently(app: FPTApp, tmp_path: Path) -> None:
    other = tiny_run(tmp_path / "other", classes=("a", "b", "c"))

    with pytest.raises(ValueError, match="holds another model"):
        FPTApp(str(tmp_path / "app"), str(tmp_path / "studies"), {"model": str(other)})


def test_a_first_start_without_its_backbone_does_not_stand_in_the_way_of_the_next(
    toy_model: Path, tmp_path: Path
) -> None:
    draw_studies(tmp_path / "studies", 2)
    conf = {"classes": "benign,malignant", "backbone_weights": str(toy_model / "backbone_weights.safetensors")}
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        FPTApp(
            str(tmp_path / "app"),
            str(tmp_path / "studies"),
            {**conf, "backbone_weights": str(tmp_path / "none.safetensors")},
        )
    assert list((tmp_path / "app" / "model").iterdir()) == []


def test_options_that_do_nothing_and_words_that_are_no_truth_are_told(toy_model: Path, tmp_path: Path) -> None:
    draw_studies(tmp_path / "studies", 2)
    conf = {"model": str(toy_model), "flip_prob": "0", "typo_option": "5", "warm_up": "no"}
    app = FPTApp(str(tmp_path / "app"), str(tmp_path / "studies"), conf)

    assert [problem[:18] for problem in app.info()["problems"]] == ["--conf typo_option"]
    assert app.info()["trainers"]["fpt"]["config"]["flip_prob"] == 0
    with pytest.raises(ValueError, match="--conf warm_up 'perhaps' is neither true nor false"):
        FPTApp(str(tmp_path / "app"), str(tmp_path / "studies"), {**conf, "warm_up": "perhaps"})


def test_studies_behind_an_address_are_refused_by_name(toy_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reads a folder of studies"):
        FPTApp(str(tmp_path / "app"), "http://127.0.0.1:1/dicom-web", {"model": str(toy_model)})
