"""The features of an app's studies: the same numbers as the model's own, once for each image, for all threads and processes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from label_toys import draw_studies, picture
from PIL import Image

from monai_fpt._files import file_sha256
from monai_fpt.data import ImageReadError
from monai_fpt.monailabel.features import StudyFeatures
from monai_fpt.registry import FPTPredictor


@pytest.fixture
def predictor(toy_model: Path) -> FPTPredictor:
    return FPTPredictor.from_folder(toy_model)


@pytest.fixture
def features(predictor: FPTPredictor, tmp_path: Path) -> StudyFeatures:
    return StudyFeatures(predictor, tmp_path / "cache")


@pytest.fixture
def studies(tmp_path: Path) -> list[tuple[str, Path]]:
    folder = draw_studies(tmp_path / "studies")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path) for path in paths]


def test_answers_from_the_cache_are_those_of_the_whole_network(
    predictor: FPTPredictor, features: StudyFeatures, studies: list[tuple[str, Path]]
) -> None:
    assert features.ensure_all(studies) == {}
    ids = [image_id for image_id, _ in studies]
    thumbnails, kept = features.get(ids)

    with torch.no_grad():
        cached = predictor.network(features.side_images(thumbnails, predictor.network.side_size), kept.float())
    whole = predictor.logits(torch.stack([predictor.prepare(path) for _, path in studies]))

    torch.testing.assert_close(cached, whole, atol=2e-3, rtol=0)
    assert features.indices(ids).shape == (6, 1, 3, 4)


def test_a_file_of_an_archive_is_hashed_once_and_again_when_it_was_touched(
    features: StudyFeatures, studies: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id, path = studies[0]
    os.utime(path, (1_700_000_000, 1_700_000_000))
    features.ensure(image_id, path)
    hashed: list[Any] = []
    monkeypatch.setattr("monai_fpt.features.store.file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    monkeypatch.setattr("monai_fpt.monailabel.features._SETTLED", -1)

    assert all(features.has(image_id, path) for _ in range(5))
    assert len(hashed) <= 1
    Image.fromarray(picture(77)).save(path)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert not features.has(image_id, path)


def test_an_image_is_read_once_whatever_number_of_threads_ask(
    features: StudyFeatures, studies: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    real = features._extract
    monkeypatch.setattr(features, "_extract", lambda image: passes.append(1) or real(image))

    threads = [threading.Thread(target=features.ensure_all, args=(studies,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(passes) == len(studies)
    assert sorted(features.ids()) == sorted(image_id for image_id, _ in studies)
    assert len(list((features.store.path / "parts").glob("*.bin"))) == 1


def test_what_another_process_has_written_is_not_made_again(
    predictor: FPTPredictor, features: StudyFeatures, studies: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    features.ensure(*studies[0])
    other = StudyFeatures(predictor, features.store.path)
    other.ensure_all(studies)
    monkeypatch.setattr(features, "_extract", lambda image: pytest.fail("the backbone ran again"))

    assert features.ensure_all(studies) == {}
    assert all(features.has(image_id, path) for image_id, path in studies)


def test_a_file_that_changed_is_another_image(features: StudyFeatures, studies: list[tuple[str, Path]]) -> None:
    image_id, path = studies[0]
    features.ensure(image_id, path)
    before = features.tokens([image_id])
    Image.fromarray(picture(99, (40, 80))).save(path)

    assert features.has(image_id) and not features.has(image_id, path)
    features.ensure(image_id, path)
    assert not torch.equal(features.tokens([image_id]), before)


def test_a_file_that_cannot_be_read_is_told_and_holds_up_no_other(
    features: StudyFeatures, studies: list[tuple[str, Path]], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")

    failed = features.ensure_all([("broken.png", broken), ("gone.png", tmp_path / "gone.png"), studies[0]])

    assert set(failed) == {"broken.png", "gone.png"}
    assert "cannot read image" in failed["broken.png"] and "no such file" in failed["gone.png"]
    assert features.ids() == [studies[0][0]]
    with pytest.raises(ImageReadError):
        features.ensure("broken.png", broken)


def test_vectors_for_distances_have_length_one_and_tell_images_apart(
    features: StudyFeatures, studies: list[tuple[str, Path]]
) -> None:
    features.ensure_all(studies)
    vectors = features.tokens([image_id for image_id, _ in studies])

    assert vectors.shape == (6, 192)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    assert (torch.cdist(vectors, vectors) + torch.eye(6) > 1e-4).all()
    with pytest.raises(KeyError, match="not in the cache"):
        features.tokens(["nobody.png"])


def test_reading_goes_on_while_the_backbone_works(features: StudyFeatures, studies: list[tuple[str, Path]]) -> None:
    features.ensure(*studies[0])
    with features._pass:  # as a pass of another thread holds it
        done = threading.Event()
        reader = threading.Thread(
            target=lambda: (features.ensure(*studies[0]), features.get([studies[0][0]]), done.set())
        )
        reader.start()
        assert done.wait(20)
        reader.join()
