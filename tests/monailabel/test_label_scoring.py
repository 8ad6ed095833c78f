"""Scores are kept beside the labels, and readers get the image that is worth most, at once."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from label_toys import draw_studies

from monai_fpt.monailabel.active import margin_uncertainty
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.monailabel.scoring_board import ScoreFile
from monai_fpt.monailabel.scoring_run import ImageScorer
from monai_fpt.monailabel.training_fit import reset_adapter
from monai_fpt.monailabel.training_publish import publish_model

COUNT = 9


class Images:
    """As much of a datastore as a strategy asks for."""

    def __init__(self, ids: list[str]) -> None:
        self.ids, self.labels = ids, set()
        self.files: dict[str, Path] = {}

    def list_images(self) -> list[str]:
        return self.ids

    def get_unlabeled_images(self, label_tag: str | None = None, labels: Any = None) -> list[str]:
        return [image_id for image_id in self.ids if image_id not in self.labels]

    def get_image_uri(self, image_id: str) -> str:
        return str(self.files.get(image_id, ""))

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        return {}


@pytest.fixture(scope="module")
def filled(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scoring")
    studies = draw_studies(folder / "studies", COUNT)
    shutil.copytree(toy_model, folder / "app" / "model")
    model = PresentModel(folder / "app" / "model", folder / "app" / "cache")
    files = sorted(p for p in studies.rglob("*") if p.is_file())
    model.features.ensure_all((p.relative_to(studies).as_posix(), p) for p in files)
    model.features.close()
    return folder / "app"


@pytest.fixture
def scorer(filled: Path, tmp_path: Path) -> ImageScorer:
    shutil.copytree(filled, tmp_path / "app")
    return ImageScorer(PresentModel(tmp_path / "app" / "model", tmp_path / "app" / "cache"))


def test_every_cached_image_is_scored_once_and_read_back_whole(scorer: ImageScorer) -> None:
    first, second = scorer.refresh(), scorer.refresh()

    assert (first.total, first.executed, second.executed) == (COUNT, COUNT, 0)
    board = ScoreFile(scorer.model.model_dir).read()
    assert board is not None and set(board.ids) == set(scorer.model.features.ids())
    model = scorer.model
    row = board.rows()["img00.png"]
    thumbnails, features = model.features.get(["img00.png"])
    side = model.features.side_images(thumbnails, model.predictor.network.side_size)
    expected = model.predictor.network(side, features).detach().softmax(1)[0]
    torch.testing.assert_close(board.probabilities[row], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(board.pooled[row], model.features.tokens(["img00.png"])[0])
    assert bool((board.bald > 0).all())


def test_another_version_and_another_content_are_scored_anew(scorer: ImageScorer, tmp_path: Path) -> None:
    scorer.refresh()
    model = scorer.model
    network = model.predictor.network
    reset_adapter(network, 3)
    publish_model(model.model_dir, network, model.card)
    assert (model.predictor is not None, scorer.refresh().executed) == (True, COUNT)
    other = draw_studies(tmp_path / "other", COUNT + 1) / "img09.png"
    model.features.ensure("img00.png", other)

    assert scorer.refresh().executed == 1
    board = scorer.file.read()
    assert board is not None and (len(board), board.version) == (COUNT, 1)


def test_a_broken_file_of_scores_is_made_again(scorer: ImageScorer) -> None:
    scorer.refresh()
    scorer.file.path.write_bytes(b"\0" * 20)

    assert scorer.file.read() is None
    assert scorer.refresh().executed == COUNT


def test_scores_are_told_under_the_version_that_gave_them_whenever_another_is_published(
    scorer: ImageScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scorer.model
    first = {image_id: model.answer(model.study(image_id, "")).probabilities for image_id in model.features.ids()}
    network = model.predictor.network
    with torch.no_grad():
        network.side.head.bias += torch.tensor([0.0, 5.0])
    publish_model(model.model_dir, network, model.card)
    with torch.no_grad():
        network.side.head.bias -= torch.tensor([0.0, 5.0])
    (model.model_dir / "current").write_text("0\n")
    present, asked = model.present, []

    def exchanged_after_each_question() -> Any:
        now = present()
        asked.append(now.number)
        (model.model_dir / "current").write_text(f"{1 - now.number}\n")
        return now

    monkeypatch.setattr(model, "present", exchanged_after_each_question)
    for version in (0, 1):
        scorer.refresh()
        board = scorer.file.read()
        assert board is not None and board.version == version
        scored = dict(zip(board.ids, board.probabilities.tolist(), strict=True))
        same = [scored[image_id] == pytest.approx(first[image_id], abs=1e-3) for image_id in first]
        assert all(same) if version == 0 else not any(same)


def test_scoring_in_the_background_ends_up_to_date_however_often_it_is_asked_for(scorer: ImageScorer) -> None:
    for _ in range(20):
        scorer.refresh_later()
    thread = scorer._thread
    if thread is not None:
        thread.join(60)

    board = scorer.file.read()
    assert board is not None and len(board) == COUNT
    assert scorer._thread is None


@pytest.fixture
def strategies(scorer: ImageScorer) -> dict[str, Any]:
    pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")
    from monai_fpt.monailabel.scoring import active_strategies

    scorer.refresh()
    return active_strategies(scorer.model, scorer)


@pytest.fixture
def images(scorer: ImageScorer) -> Images:
    return Images(sorted(scorer.model.features.ids()))


def test_margin_without_diversity_serves_the_least_certain_image_first(
    strategies: dict[str, Any], scorer: ImageScorer, images: Images
) -> None:
    board = scorer.file.read()
    assert board is not None
    doubt = margin_uncertainty(board.probabilities.double().numpy())
    expected = [board.ids[i] for i in (-doubt).argsort()[:3]]

    served = [strategies["fpt_margin"]({"diversity": 0}, images) for _ in range(3)]

    assert [one["id"] for one in served] == expected
    assert served[0]["uncertainty"] == pytest.approx(doubt.max())
    assert sum(served[0]["prediction"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["fpt_margin", "fpt_entropy", "fpt_bald", "fpt_diverse"])
def test_readers_who_label_see_every_image_once_and_then_none(
    strategies: dict[str, Any], images: Images, name: str
) -> None:
    seen = []
    while chosen := strategies[name]({}, images):
        seen.append(chosen["id"])
        images.labels.add(chosen["id"])

    assert sorted(seen) == images.ids


def test_two_readers_never_get_the_same_image_while_others_are_left(strategies: dict[str, Any], images: Images) -> None:
    seen: list[str] = []
    ask = lambda name: [seen.append(strategies[name]({}, images)["id"]) for _ in range(COUNT // 3)]  # noqa: E731
    readers = [threading.Thread(target=ask, args=(name,)) for name in ("fpt_margin", "fpt_bald", "fpt_diverse")]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()

    assert sorted(seen) == images.ids
    assert strategies["fpt_margin"]({}, images)["id"] in images.ids


def test_without_a_trained_model_images_are_chosen_by_diversity(scorer: ImageScorer, images: Images) -> None:
    pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")
    from monai_fpt.monailabel.scoring import active_strategies

    (scorer.model.model_dir / "model.pt").unlink()
    beginning = PresentModel(scorer.model.model_dir, scorer.model.features.store.path)
    strategies = active_strategies(beginning, ImageScorer(beginning))
    strategies["fpt_margin"].scorer.refresh()

    assert strategies["fpt_margin"]({}, images)["measure"] == "fpt_diverse"


def test_before_the_first_scoring_a_cached_image_is_served(strategies: dict[str, Any], scorer: ImageScorer) -> None:
    scorer.file.path.unlink()

    assert strategies["fpt_margin"]({}, Images(["a-new.png", "img03.png"])) == {"id": "img03.png", "measure": "first"}
    assert strategies["fpt_margin"]({}, Images(["only-new.png"]))["id"] == "only-new.png"


@pytest.mark.parametrize("name", ["fpt_margin", "fpt_diverse", "random"])
def test_what_could_not_be_read_is_not_served_until_its_file_has_changed(
    name: str, strategies: dict[str, Any], scorer: ImageScorer, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    images = Images(["a-broken.png"])
    images.files["a-broken.png"] = broken
    ask = lambda: strategies[name]({"strategy": name}, images)  # noqa: E731
    assert set(scorer.model.features.ensure_all([("a-broken.png", broken)])) == {"a-broken.png"}

    assert ask() == {}
    broken.write_bytes(b"another file")
    assert ask()["id"] == "a-broken.png"


def test_an_image_that_is_gone_is_none_that_was_labelled(strategies: dict[str, Any], scorer: ImageScorer) -> None:
    """Its scores are still there: the choice is the one of a folder in which it never was."""
    board = scorer.file.read()
    assert board is not None
    gone = next(
        i
        for i in board.ids
        if served_without(strategies, board.ids, i, labelled=True) != served_without(strategies, board.ids, i)
    )
    images = Images([image_id for image_id in board.ids if image_id != gone])

    strategies["fpt_diverse"].served.hold = -1
    assert strategies["fpt_diverse"]({}, images)["id"] == served_without(strategies, board.ids, gone)


def served_without(strategies: dict[str, Any], ids: Any, one: str, labelled: bool = False) -> str:
    """What k-centre serves first when an image is labelled, or was never there."""
    from monai_fpt.monailabel.active import k_centre_greedy

    board = strategies["fpt_diverse"].scorer.file.read()
    rows = [row for row, image_id in enumerate(board.ids) if labelled or image_id != one]
    blocked = [board.ids.index(one)] if labelled else []
    return str(board.ids[rows[k_centre_greedy(board.pooled[rows].double().numpy(), blocked, 1)[0]]])


def test_a_diversity_beyond_its_range_is_refused(strategies: dict[str, Any], images: Images) -> None:
    with pytest.raises(ValueError, match="diversity=2"):
        strategies["fpt_margin"]({"diversity": 2}, images)


def test_the_scoring_method_tells_what_it_did_and_leaves_the_datastore_alone(scorer: ImageScorer) -> None:
    pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")
    from monai_fpt.monailabel.scoring import FPTUncertaintyScoring

    told = FPTUncertaintyScoring(scorer)({}, datastore=object())

    assert (told["total"], told["executed"], told["version"]) == (COUNT, COUNT, 0)
