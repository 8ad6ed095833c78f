"""A real server that is asked for what cannot be: it says why, and answers the next one."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_toys import draw_studies, picture, write_dicom
from PIL import Image

pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")

from label_server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LONG = "l" * 243 + ".png"  # 247 bytes
MASK = {"label": ("l.json", b'{"label": 0}')}


def form(**fields: str) -> dict[str, Any]:
    return {"data": fields}


def archive_that_leads_out() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../../../../../../../tmp/monai_fpt_led_out.txt"), io.BytesIO(b""))
    return content.getvalue()


@pytest.fixture(scope="module")
def server(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("faults")
    draw_studies(root / "studies", 30)
    Image.fromarray(picture(3)).save(root / "studies" / LONG)
    found = Server(root, toy_model)
    found.start()
    yield found
    found.stop()


ODD = ["[1]", "5", "null", '"text"', "true"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    ("method", "path", "field", "more"),
    [
        ("POST", "/infer/fpt?image=img00.png", "params", {}),
        ("POST", "/infer/wsi_v2/fpt?image=img00.png", "wsi", {}),
        ("PUT", "/datastore/label?image=img00.png", "params", MASK),
        ("PUT", "/datastore/image/info?image=img00.png", "info", {}),
        ("PUT", "/datastore/label/info?label=img00.png&tag=final", "info", {}),
    ],
    ids=["infer", "wsi", "label", "image info", "label info"],
)
def test_a_field_that_is_no_json_object_is_told_by_its_name(
    server: Server, method: str, path: str, field: str, more: dict[str, Any], odd: str
) -> None:
    server.label("img00.png", {"label": "benign"}, annotator="me")

    answer = server.ask(method, path, data={field: odd}, files=more or None)

    assert answer.status_code == 400, answer.text
    assert "send a JSON object" in answer.json()["detail"]
    assert server.json("GET", "/datastore/label/info?label=img00.png&tag=final")["annotator"] == "me"


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "says"),
    [
        ("POST", "/infer/fpt?image=img00.png&output=image", {}, 400, "has no image to send; ask for output=json"),
        ("POST", "/infer/fpt?image=img00.png", form(params='{"model": ["fpt"]}'), 404, "no model"),
        ("POST", "/infer/fpt_saliency?image=img00.png", form(params='{"class": []}'), 422, "no class"),
        ("POST", "/infer/fpt_saliency?image=img00.png", form(params='{"result_extension": []}'), 400, "not written as"),
        ("POST", "/infer/wsi_v2/fpt?image=img00.png", form(wsi='{"location": 5}'), 422, "location"),
        ("POST", "/infer/fpt", {"files": {"file": ("a." + "x" * 300, b"1")}}, 400, "named"),
        ("POST", f"/infer/fpt?image={LONG}", {}, 422, "rename it to at most 246"),
        ("PUT", "/datastore/image?image=" + LONG, {"files": {"file": ("a.png", b"1")}}, 400, "rename it"),
        ("PUT", f"/datastore/label?image={LONG}", {"files": MASK}, 422, "has 247 bytes"),
        ("PUT", "/datastore/image/info?image=img00.png", form(info='{"x": NaN}'), 400, "numbers that are finite"),
        ("PUT", "/datastore/image/info?image=img00.png", form(info='{"x": "\\ud800"}'), 400, "texts that are Unicode"),
        ("PUT", "/datastore/image/info?image=img00.png", form(info='{"strategy": 5}'), 400, "leave both out"),
        ("PUT", "/datastore/image/info?image=img00.png", form(info="[" * 100_000), 400, "no JSON"),
        ("PUT", "/session/", {"files": {"files": ("..", b"1")}}, 400, "no file can be"),
        ("PUT", "/session/", {"files": {"files": ("n" * 300, b"1")}}, 400, "at most 200 bytes"),
        ("PUT", "/session/?uncompress=true", {"files": {"files": ("a.zip", b"1")}}, 422, "cannot be unpacked"),
        ("PUT", "/session/?uncompress=true", {"files": {"files": ("a.tar", archive_that_leads_out())}}, 422, "outside"),
        ("POST", "/activelearning/fpt_margin", {"json": {"diversity": None}}, 422, "diversity"),
        ("POST", "/activelearning/fpt_margin", {"json": {"strategy": ["x"]}}, 404, "no strategy"),
        ("POST", "/train/fpt?run_sync=true", {"json": {"model": ["x"]}}, 404, "no trainer"),
        ("POST", "/scoring/fpt_uncertainty?run_sync=true", {"json": {"method": {}}}, 404, "no scoring method"),
        ("POST", "/batch/infer/fpt?run_sync=true", {"json": {"max_batch_size": [1]}}, 400, "max_batch_size"),
        ("POST", "/batch/infer/fpt?run_sync=true", {"json": {"images": 5}}, 400, "images must be"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_request_that_upstream_stumbles_over_gets_a_sentence(
    server: Server, method: str, path: str, options: dict[str, Any], status: int, says: str
) -> None:
    answer = server.ask(method, path, **options)

    assert (answer.status_code, says in str(answer.json()["detail"])) == (status, True), answer.text
    assert server.ask("GET", "/datastore/?output=all").status_code == 200
    assert server.infer("fpt", "img00.png").status_code == 200
    assert not Path("/tmp/monai_fpt_led_out.txt").exists()


def test_images_that_are_not_listed_and_a_pointer_to_nothing_are_told_to_whoever_connects(server: Server) -> None:
    pointer = server.app / "model" / "current"
    before = pointer.read_text() if pointer.exists() else "0\n"
    (problem,) = server.json("GET", "/info/")["problems"]
    assert LONG in problem and "rename it to at most 246" in problem
    pointer.write_text("99\n")
    try:
        info = server.json("GET", "/info/")
        assert any("names the version '99'" in problem for problem in info["problems"])
        assert server.json("GET", "/model/info/fpt")["checksum"]
        assert server.infer("fpt", "img00.png").status_code == 200
        assert server.ask("POST", "/activelearning/fpt_margin", json={}).status_code == 200
    finally:
        pointer.write_text(before)


def test_dicom_files_of_one_patient_id_are_told_with_the_training(toy_model: Path, tmp_path: Path) -> None:
    for number in range(4):
        write_dicom(tmp_path / "studies" / f"{number}.dcm", picture(number)[..., 0].astype(np.uint16), PatientID="ANON")
    ward = Server(tmp_path, toy_model)
    ward.start()
    try:
        for number in range(4):
            ward.label(f"{number}.dcm", {"label": ("benign", "malignant")[number % 2]})
        outcome = ward.json("POST", "/train/fpt?run_sync=true", json={"min_labels": 1, "max_epochs": 1})
        assert "have one Patient ID" in outcome["warnings"][0]
        assert ward.json("GET", "/info/")["train_stats"]["fpt"]["warnings"] == outcome["warnings"]
    finally:
        ward.stop()


def test_a_training_in_the_server_is_stopped_and_publishes_nothing(server: Server) -> None:
    for number in range(30):
        image = ["img{:02d}.png", "ward1/img{:02d}.JPG", "img{:02d}.jpeg"][number % 3].format(number)
        server.label(image, {"label": ("benign", "malignant")[number % 2]})
    assert server.ask("DELETE", "/train/").json() is None
    before = server.json("GET", "/model/info/fpt")["checksum"]
    ended: list[Any] = []
    endless = {"max_epochs": 100_000, "device": "cpu"}
    thread = threading.Thread(
        target=lambda: ended.append(server.json("POST", "/train/fpt?run_sync=true", json=endless))
    )
    thread.start()
    for _ in range(600):
        if server.json("GET", "/info/")["train_stats"]["fpt"].get("status") == "running":
            break
        time.sleep(0.1)

    stopped = server.json("DELETE", "/train/")
    thread.join(60)

    assert stopped["status"] == "STOPPED"
    assert ended[0]["message"] == "The training was cancelled; the present model stays." and not ended[0]["published"]
    assert server.json("GET", "/model/info/fpt")["checksum"] == before
    assert server.json("GET", "/info/")["train_stats"]["fpt"]["message"] == ended[0]["message"]
    assert server.json("POST", "/train/fpt?run_sync=true", json={"max_epochs": 2})["training_images"] > 0


def test_a_training_in_a_process_of_its_own_is_stopped_and_the_answer_comes_when_it_has_ended(server: Server) -> None:
    history = server.app / "model" / "label_history.jsonl"
    server.json("POST", "/train/fpt", json={"max_epochs": 100_000, "device": "cpu"})
    for _ in range(1200):
        if server.json("GET", "/info/")["train_stats"]["fpt"].get("status") == "running":
            break
        time.sleep(0.1)
    training = server.json("GET", "/info/")["train_stats"]["fpt"]["training"]
    while training not in history.read_text():
        time.sleep(0.1)

    assert server.json("DELETE", "/train/")["status"] == "STOPPED"

    told = server.json("GET", "/info/")["train_stats"]["fpt"]
    assert (told["status"], told["message"]) == ("ended", "The training was stopped; the present model stays.")
    last = json.loads(history.read_text().splitlines()[-1])
    assert (last["event"], last["training"], last["published"]) == ("ended", training, False)
    assert server.json("POST", "/train/fpt?run_sync=true", json={"max_epochs": 2})["training_images"] > 0


def test_a_request_without_an_image_is_no_error_of_the_server(server: Server) -> None:
    answer = server.ask("POST", "/infer/fpt", data={"params": "{}"})

    assert answer.status_code == 400 and "names no image; give the id" in answer.json()["detail"]
