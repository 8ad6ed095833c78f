"""The bundle without this app: MONAI Label's own ``monaibundle`` app, as a real server, classifies with it as it stands."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from label_toys import CLASSES, draw_studies, picture, write_dicom

pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")

import monailabel
from label_server import Server

from monai_fpt.registry import FPTPredictor, package_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NAME = "fpt_classification"  # MONAI Label reads the kind of task from the folder's name
OPTIONS = ["models", NAME, "zoo_source", "ngc", "sam2", "false", "skip_trainers", "true"]


def stock_app() -> Path:
    """Where the wheel has put it; installers differ in what they make of its data folder."""
    packages = Path(monailabel.__file__).parents[1]
    homes = [Path(sys.prefix), *packages.glob("monailabel-0.8.5*.data/data")]
    found = [path for home in homes if (path := home / "monailabel" / "sample-apps" / "monaibundle").is_dir()]
    if not found:
        pytest.skip("MONAI Label's sample apps are not installed")
    return found[0]


@pytest.fixture(scope="module")
def server(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("stock")
    shutil.copytree(stock_app(), root / "app")
    bundle = root / "app" / "model" / NAME
    package_model(toy_model, root / "package")
    shutil.copytree(root / "package" / "bundle", bundle)
    (bundle / "models").mkdir()
    for name in ("model.pt", "model.json"):
        shutil.copyfile(toy_model / name, bundle / "models" / name)
    draw_studies(root / "studies", 4)
    write_dicom(root / "sent.dcm", picture(8)[..., 0].astype("uint16"))
    found = Server(root, None)
    found.options = OPTIONS
    found.start()
    yield found
    found.stop()


def test_the_stock_app_shows_the_bundle_as_a_classifier_of_its_classes(server: Server) -> None:
    info = server.json("GET", "/info/")

    assert info["models"][NAME]["type"] == "classification"
    assert info["models"][NAME]["labels"] == {name: number for number, name in enumerate(CLASSES)}
    assert info["trainers"] == {}


def test_images_of_the_studies_and_sent_along_are_answered_as_the_model_answers(
    server: Server, toy_model: Path
) -> None:
    studies = sorted(server.json("GET", "/datastore/?output=all")["objects"])
    assert studies == ["img00", "img03"]  # by its own rules: no sub-folder, no upper case, no .jpeg and no .dcm
    files = [server.studies / f"{name}.png" for name in studies] + [server.root / "sent.dcm"]
    told = FPTPredictor.from_folder(toy_model).predict(files)

    answers = [server.infer(NAME, name, device="cpu").json() for name in studies]
    with files[-1].open("rb") as content:
        sent = {"files": {"file": ("sent.dcm", content)}, "data": {"params": "{}"}}
        answers.append(server.json("POST", f"/infer/{NAME}?output=json", **sent))

    for answer, expected in zip(answers, told, strict=True):
        assert [part["label"] for part in answer["prediction"]] == list(CLASSES)
        assert [part["score"] for part in answer["prediction"]] == pytest.approx(expected.probabilities, abs=1e-4)


def test_what_the_stock_app_does_not_do_for_a_classifier_is_as_the_manual_says(server: Server) -> None:
    server.infer(NAME, "img00", device="cpu", save_label=True)
    assert server.json("GET", "/datastore/")["label_tags"] == {}  # a classification is no file, so nothing is kept

    assert server.infer(NAME, "img00", "image", device="cpu").status_code == 500
    assert server.infer(NAME, "img00", device="cpu").status_code == 200
