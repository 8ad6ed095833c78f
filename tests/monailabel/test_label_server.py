"""A real server, as a process, over HTTP: what clients call, a kill, a restart, two readers and a training at once."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_toys import draw_studies, picture, write_dicom

pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")

import SimpleITK as sitk
from label_server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PNG = {"result_extension": ".png"}


@pytest.fixture(scope="module")
def server(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("server")
    draw_studies(root / "studies", 40)
    write_dicom(
        root / "studies" / "ward2" / "A.DCM",
        picture(7)[..., 0].astype(np.uint16),
        PhotometricInterpretation="MONOCHROME1",
    )
    write_dicom(root / "studies" / "b.dcm", picture(8)[..., 0].astype(np.uint16), PixelSpacing=[0.5, 0.25])
    (root / "studies" / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    found = Server(root, toy_model)
    found.start()
    yield found
    found.stop()


def images(server: Server) -> list[str]:
    return sorted(server.json("GET", "/datastore/?output=all")["objects"])


def truth(image: str) -> str:
    """Every second picture that was drawn is bright, which is the class malignant."""
    return ("benign", "malignant")[int("".join(filter(str.isdigit, Path(image).stem))) % 2]


def drawn(server: Server) -> list[str]:
    return [image for image in images(server) if "img" in image]


def test_a_client_sees_models_trainers_strategies_and_studies(server: Server) -> None:
    info = server.json("GET", "/info/")

    assert info["models"]["fpt"]["type"] == "classification"
    assert info["models"]["fpt"]["labels"] == {"benign": 0, "malignant": 1}
    assert info["models"]["fpt_saliency"]["type"] == "segmentation"
    assert "fpt" in info["trainers"] and "fpt" in info["train_stats"]
    assert {"fpt_margin", "fpt_entropy", "fpt_bald", "fpt_diverse", "random"} <= set(info["strategies"])
    assert info["datastore"]["total"] == 43


@pytest.mark.parametrize("image", ["img00.png", "img00", "ward1/img01.JPG", "img02.jpeg", "ward2/A.DCM", "b.dcm"])
def test_every_kind_of_file_is_answered(server: Server, image: str) -> None:
    params = server.infer("fpt", image, device="cpu").json()

    assert sum(part["score"] for part in params["prediction"]) == pytest.approx(1)
    assert 0 <= params["uncertainty"] <= 1


def test_a_file_that_is_sent_along_is_answered(server: Server) -> None:
    file = server.studies / "img00.png"
    with file.open("rb") as content:
        sent = server.json("POST", "/infer/fpt?output=json", files={"file": ("x.png", content)}, data={"params": "{}"})

    known = server.infer("fpt", "img00.png").json()
    assert sent["prediction"][0]["score"] == pytest.approx(known["prediction"][0]["score"], abs=2e-3)


def test_a_map_comes_as_clients_ask_for_it(server: Server, tmp_path: Path) -> None:
    slicer = server.infer(
        "fpt_saliency", "b.dcm", "image", result_extension=".nrrd", result_dtype="uint8", result_compress=False
    )
    assert slicer.headers["content-type"] == "application/octet-stream"
    (tmp_path / "map.nrrd").write_bytes(slicer.content)
    found, image = sitk.ReadImage(str(tmp_path / "map.nrrd")), sitk.ReadImage(str(server.studies / "b.dcm"))
    assert found.GetSize() == image.GetSize() == (70, 90, 1)
    assert found.GetSpacing()[:2] == pytest.approx((0.25, 0.5))
    assert server.infer("fpt_saliency", "img00.png", "image", **PNG).headers["content-type"] == "image/png"
    both = server.infer("fpt_saliency", "img00.png", None)
    assert both.headers["content-type"].startswith("multipart/form-data")
    assert b'name="params"' in both.content and b'name="image"' in both.content
    cvat = server.json("POST", "/infer/fpt_saliency?image=img00.png", data={"params": '{"output": "json"}'})
    assert "elements" in cvat["annotations"][0]["annotation"]
    wsi = {"wsi": json.dumps({"location": [0, 0], "size": [0, 0], "params": {}})}
    qupath = server.ask("POST", "/infer/wsi_v2/fpt_saliency?image=img00.png&output=asap", data=wsi)
    assert qupath.headers["content-type"] == "application/xml" and b"<ASAP_Annotations>" in qupath.content


def test_a_label_is_saved_read_changed_and_removed(server: Server) -> None:
    assert server.label("img00.png", {"label": "benign"}, annotator="me").json() == {
        "image": "img00.png",
        "label": "img00.png",
    }
    assert server.json("GET", "/datastore/label?label=img00.png&tag=final") == {"label": "benign"}
    assert server.ask("HEAD", "/datastore/label?image=img00.png&tag=final").status_code == 200
    server.json("PUT", "/datastore/label/info?label=img00.png&tag=final", data={"info": '{"reviewed": true}'})
    info = server.json("GET", "/datastore/label/info?label=img00.png&tag=final")
    assert info["annotator"] == "me" and info["reviewed"] is True
    assert server.json("DELETE", "/datastore/label?id=img00.png&tag=final") == {}
    assert server.ask("HEAD", "/datastore/label?image=img00.png&tag=final").status_code == 404
    assert server.json("GET", "/datastore/")["completed"] == 0


def test_predictions_are_kept_one_by_one_and_for_all(server: Server) -> None:
    server.infer("fpt", "img00.png", save_label=True, label_tag="original")
    info = server.json("GET", "/datastore/label/info?label=img00.png&tag=original")
    assert info["model"] == "fpt"

    done = server.json(
        "POST", "/batch/infer/fpt?images=unlabeled&run_sync=true", json={"device": "cpu", "max_workers": 1}
    )
    assert "cannot read image" in done["broken.jpg"]["error"]
    assert server.json("GET", "/datastore/")["label_tags"]["original"] == 42


def test_an_image_is_sent_shown_and_removed(server: Server) -> None:
    with (server.studies / "img00.png").open("rb") as content:
        assert server.json("PUT", "/datastore/image?image=up01", files={"file": ("up.png", content)}) == {
            "image": "up01.png"
        }
    assert server.json("GET", "/datastore/image/info?image=up01")["name"] == "up01.png"
    assert server.ask("GET", "/datastore/image?image=up01.png").content == (server.studies / "img00.png").read_bytes()
    assert server.json("DELETE", "/datastore/image?id=up01.png") == {}
    assert server.ask("GET", "/datastore/image?image=up01.png").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "says"),
    [
        ("POST", "/infer/nobody?image=img00.png", {}, 404, "no model 'nobody'"),
        ("POST", "/infer/fpt?image=nobody", {}, 404, "no image 'nobody'"),
        ("POST", "/infer/fpt", {}, 400, "names no image"),
        ("POST", "/infer/fpt?image=broken.jpg", {}, 422, "cannot read image"),
        ("POST", "/infer/fpt?image=/etc/passwd", {}, 400, "is a path"),
        ("POST", "/infer/fpt?image=../app/main.py", {}, 404, "no image"),
        ("POST", "/infer/fpt?image=img00.png", {"data": {"params": '{"image": "/etc/passwd"}'}}, 400, "is a path"),
        ("POST", "/infer/fpt?image=img00.png", {"data": {"params": "{broken"}}, 400, "JSON cannot be read"),
        ("POST", "/infer/fpt_saliency?image=img00.png", {"data": {"params": '{"class": "x"}'}}, 422, "no class 'x'"),
        ("GET", "/datastore/image?image=/etc/passwd", {}, 404, "NOT Found"),
        ("GET", "/datastore/label?label=img00.png&tag=../..", {}, 404, "NOT Found"),
        (
            "PUT",
            "/datastore/label?image=img00.png&tag=../x",
            {"files": {"label": ("l.json", b'{"label": 0}')}},
            400,
            "tag",
        ),
        (
            "PUT",
            "/datastore/label?image=img00.png",
            {"files": {"label": ("l.json", b'{"label": "x"}')}},
            422,
            "no class",
        ),
        (
            "PUT",
            "/datastore/image?image=../../evil",
            {"files": {"file": ("a.png", b"x")}},
            400,
            "cannot be an image's id",
        ),
        ("POST", "/activelearning/nobody", {"json": {}}, 404, "no strategy"),
        ("POST", "/train/nobody?run_sync=true", {"json": {}}, 404, "no trainer"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_that_cannot_be_answered_gets_json_with_the_reason_and_the_server_lives(
    server: Server, method: str, path: str, options: dict[str, Any], status: int, says: str
) -> None:
    answer = server.ask(method, path, **options)

    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert server.ask("GET", "/info/").status_code == 200


def test_the_next_image_is_one_without_a_label(server: Server) -> None:
    server.label("img03.png", {"label": "malignant"})
    for strategy in ("fpt_margin", "fpt_diverse", "random"):
        found = server.json("POST", f"/activelearning/{strategy}", json={"client_id": "me"})
        assert found["id"] != "img03.png" and Path(found["path"]).is_file()
    server.json("DELETE", "/datastore/label?id=img03.png&tag=final")


def test_two_readers_label_and_one_trains_at_the_same_time_and_nothing_is_lost(server: Server) -> None:
    todo = drawn(server)
    for image in todo[:24]:
        assert server.label(image, {"label": truth(image)}, annotator="before").status_code == 200
    problems: list[str] = []
    waits: list[float] = []
    trained: list[Any] = []

    def read(part: list[str], name: str) -> None:
        for image in part:
            asked = time.monotonic()
            answers = [server.infer("fpt", image), server.label(image, {"label": truth(image)}, annotator=name)]
            waits.append(time.monotonic() - asked)
            problems.extend(answer.text for answer in answers if answer.status_code != 200)

    def train() -> None:
        trained.append(server.json("POST", "/train/fpt?run_sync=true", json={"max_epochs": 20, "device": "cpu"}))

    hands = [threading.Thread(target=read, args=(todo[24:32], "first"))]
    hands += [threading.Thread(target=read, args=(todo[32:], "second")), threading.Thread(target=train)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()

    assert not problems
    assert trained[0]["message"] and trained[0]["stats"]["status"] != "running"
    listed = server.json("GET", "/datastore/?output=all")["objects"]
    assert {image: listed[image]["labels"]["final"]["info"]["annotator"] for image in todo} == (
        dict.fromkeys(todo[:24], "before") | dict.fromkeys(todo[24:32], "first") | dict.fromkeys(todo[32:], "second")
    )


def test_a_published_model_answers_at_once(server: Server) -> None:
    (server.app / "model" / "current").write_text("0\n")  # the model that has learned nothing
    before = server.json("GET", "/model/info/fpt")
    outcome = server.json("POST", "/train/fpt?run_sync=true", json={"max_epochs": 30, "device": "cpu"})

    assert outcome["published"], outcome["message"]
    after = server.json("GET", "/model/info/fpt")
    assert after["checksum"] != before["checksum"]
    assert server.infer("fpt", "img00.png").json()["model_version"] == outcome["version"]
    assert server.json("GET", "/info/")["train_stats"]["fpt"]["best_metric"] == pytest.approx(outcome["challenger"])


def test_labels_outlive_a_kill_a_restart_and_a_lost_index(server: Server) -> None:
    before = server.json("GET", "/datastore/")
    version = server.infer("fpt", "img00.png").json()["model_version"]
    assert before["completed"] == 40
    server.stop(signal.SIGKILL)
    for index in server.studies.glob("datastore*.json"):
        index.unlink()
    server.start()

    assert server.json("GET", "/datastore/") == before
    assert server.infer("fpt", "img00.png").json()["model_version"] == version
    server.json("DELETE", "/datastore/label?id=img00.png&tag=final")
    assert server.json("GET", "/datastore/")["completed"] == 39
    assert server.json("POST", "/train/fpt?run_sync=true", json={"max_epochs": 2})["message"]


def test_a_training_in_a_process_of_its_own_is_followed(server: Server) -> None:
    started = server.json("POST", "/train/fpt", json={"max_epochs": 2, "device": "cpu"})
    assert started["status"] in ("SUBMITTED", "RUNNING")  # its thread may be quicker than the answer
    for _ in range(600):
        status = server.json("GET", "/train/")["status"]
        if status in ("DONE", "ERROR"):
            break
        assert server.ask("GET", "/info/").status_code == 200  # the server answers meanwhile
        time.sleep(0.5)

    assert status == "DONE", server.json("GET", "/train/")
    assert server.ask("GET", "/train/?check_if_running=true").status_code == 404


def test_the_servers_own_roles_are_kept(toy_model: Path, tmp_path: Path) -> None:
    jwt = pytest.importorskip("jwt")
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    import base64

    class Realm(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(
                {"public_key": base64.b64encode(public).decode(), "token_endpoint": "http://127.0.0.1/t"}
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    realm = ThreadingHTTPServer(("127.0.0.1", 0), Realm)
    threading.Thread(target=realm.serve_forever, daemon=True).start()
    draw_studies(tmp_path / "studies", 2)
    address = f"http://127.0.0.1:{realm.server_address[1]}"
    guarded = Server(tmp_path, toy_model, MONAI_LABEL_AUTH_ENABLE="true", MONAI_LABEL_AUTH_REALM_URI=address)
    guarded.start()
    try:

        def bearer(role: str) -> dict[str, str]:
            claims = {
                "preferred_username": "r",
                "email": "r@x",
                "name": "r",
                "realm_access": {"roles": [f"monailabel-{role}"]},
            }
            return {
                "Authorization": f"Bearer {jwt.encode(claims | {'exp': time.time() + 600}, key, algorithm='RS256')}"
            }

        save = {"files": {"label": ("l.json", b'{"label": "benign"}')}}
        place = "/datastore/label?image=img00.png&tag=final"
        assert guarded.ask("GET", "/datastore/").status_code == 401
        assert guarded.ask("POST", "/infer/fpt?image=img00.png").status_code == 401
        assert guarded.ask("POST", "/infer/fpt?image=img00.png&output=json", headers=bearer("user")).status_code == 200
        assert guarded.ask("PUT", place, headers=bearer("user"), **save).status_code == 403
        assert guarded.ask("PUT", place, headers=bearer("annotator"), **save).status_code == 200
        assert guarded.ask("POST", "/train/fpt?run_sync=true", headers=bearer("annotator"), json={}).status_code == 403
        assert (
            guarded.ask("DELETE", "/datastore/label?id=img00.png&tag=final", headers=bearer("admin")).status_code == 200
        )
    finally:
        guarded.stop()
        realm.shutdown()
