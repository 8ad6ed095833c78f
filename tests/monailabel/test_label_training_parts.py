"""The parts of a retraining: augmentation, split, history, publication, comparison, options."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_fpt.features import FeatureSpec, FPTModelCard
from monai_fpt.monailabel.training_augment import augment_batch
from monai_fpt.monailabel.training_before import keep_learned, learned_before
from monai_fpt.monailabel.training_compare import judged
from monai_fpt.monailabel.training_fit import FPTFitOptions, LabelledFeatures, fit_adapter, reset_adapter
from monai_fpt.monailabel.training_history import LabelHistory
from monai_fpt.monailabel.training_options import FPTRetraining, FPTRetrainOptions
from monai_fpt.monailabel.training_publish import present_model_dir, present_version, publish_model
from monai_fpt.monailabel.training_split import (
    LabelSplit,
    RecordedSections,
    hashed_section,
    split_labels,
    split_problem,
)
from monai_fpt.monailabel.training_stats import TrainingStats
from monai_fpt.monailabel.training_words import outcome_sentence
from monai_fpt.networks import FPTClassifier, FPTConfig
from monai_fpt.registry import FPTPredictor
from monai_fpt.transforms import RandFPTSideAugment


def labelled(count: int, patients: int | None = None) -> list[dict[str, Any]]:
    """Two classes in turn; with ``patients`` so many of them."""
    items: list[dict[str, Any]] = [{"key": f"{n}.png", "label": n % 2} for n in range(count)]
    return items if patients is None else [{**item, "group": f"p{n % patients}"} for n, item in enumerate(items)]


@pytest.mark.parametrize(
    "options",
    [{}, {"vertical_flip_prob": 0.5, "rotate_prob": 0.75}, {"scale": (0.05, 0.3)}, {"ratio": (0.2, 5.0)}],
    ids=["paper", "all ways up", "small crops", "long crops"],
)
def test_a_batch_is_augmented_as_the_bundle_s_transform_does_each_image(options: dict[str, Any]) -> None:
    thumbnails = torch.randint(0, 256, (24, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augment = RandFPTSideAugment(32, **options)
    augment.set_random_state(0)
    draws = [augment.randomize(image.shape) for image in thumbnails]

    batch = augment_batch(thumbnails.float() / 255, draws, 32)

    one_by_one = torch.stack([augment(image, draw) for image, draw in zip(thumbnails, draws, strict=True)])
    torch.testing.assert_close(batch, one_by_one, atol=1e-6, rtol=0)


def test_no_patient_moves_or_is_torn_as_labels_come_in() -> None:
    everything = labelled(300, patients=70)
    recorded: dict[str, str] = {}

    for count in (20, 90, 300):
        split = split_labels(everything[:count], 0.2, RecordedSections(recorded))
        sections = split.sections()
        sides = {item["group"]: set() for item in everything[:count]}
        for item in everything[:count]:
            sides[item["group"]].add(sections[item["key"]])

        assert all(len(side) == 1 for side in sides.values())
        assert recorded.items() <= sections.items()
        recorded = sections
    assert 0.1 < sum(s == "validation" for s in recorded.values()) / 300 < 0.3


def test_the_share_of_patients_who_judge_is_as_asked() -> None:
    shares = [sum(hashed_section(f"patient {n}", f) == "validation" for n in range(4000)) / 4000 for f in (0.1, 0.3)]

    assert shares == pytest.approx([0.1, 0.3], abs=0.03)


def test_images_of_patients_who_turn_out_to_be_one_go_to_training_and_are_told() -> None:
    recorded = {"a.png": "training", "b.png": "validation", "c.png": "validation"}
    items = [{"key": key, "label": 0, "group": "one"} for key in ("a.png", "b.png")] + [{"key": "c.png", "label": 1}]

    split = split_labels(items, 0.2, RecordedSections(recorded))

    assert split.sections() == {"a.png": "training", "b.png": "training", "c.png": "validation"}
    assert split.moved == ("b.png",)


@pytest.mark.parametrize(
    ("recorded", "patients"),
    [
        (RecordedSections({"a.png": "training"}), {"a.png": "judge"}),
        (RecordedSections({"a.png": "training"}, {"judge": "training"}), {}),
        (RecordedSections({"a.png": "training"}, {"judge": "training"}), {"a.png": "another"}),
    ],
    ids=["a patient entered later", "an image that is gone", "a patient that was corrected"],
)
def test_an_image_of_a_patient_that_was_learned_from_never_judges_although_that_label_is_gone(
    recorded: RecordedSections, patients: dict[str, str]
) -> None:
    judge = next(str(n) for n in range(100) if hashed_section(f"group:{n}", 0.2) == "validation")
    recorded = RecordedSections(recorded.keys, dict.fromkeys([judge] if recorded.groups else [], "training"))
    patients = {key: judge if group == "judge" else group for key, group in patients.items()}
    items = [{"key": "b.png", "label": 0, "group": judge}]

    assert split_labels(items, 0.2).sections() == {"b.png": "validation"}
    assert split_labels(items, 0.2, recorded, patients).sections() == {"b.png": "training"}


def test_copies_of_an_image_are_never_torn_whatever_they_are_called() -> None:
    items = [{"key": f"{n}/{name}.png", "label": 0, "sha256": f"s{n}"} for n in range(200) for name in ("a", "copy")]
    sections = split_labels(items, 0.2).sections()
    assert all(sections[f"{n}/a.png"] == sections[f"{n}/copy.png"] for n in range(200))
    assert 20 < sum(section == "validation" for section in sections.values()) / 2 < 60
    assert sections.items() >= split_labels(items[::2], 0.2).sections().items()  # before the copies came

    judge, other = (
        next(f"{n}" for n in range(99) if hashed_section(f"group:{n}", 0.2) == side)
        for side in ("validation", "training")
    )
    pair = [{"key": f"{name}.png", "label": 0, "group": name, "sha256": "same"} for name in (judge, other)]
    split = split_labels(pair, 0.2)
    assert len(split.training) in (0, 2) and len(set(split.units.values())) == 1


def test_an_image_that_was_renamed_is_the_one_that_was_learned_from_and_that_is_told() -> None:
    content = next(f"{n}" for n in range(99) if hashed_section(f"content:{n}", 0.2) == "validation")
    items = [{"key": "new/a.png", "label": 0, "sha256": content}]
    recorded = RecordedSections({"old/a.png": "training"}, {}, {content: "training"})

    assert split_labels(items, 0.2).sections() == {"new/a.png": "validation"}
    split = split_labels(items, 0.2, recorded)
    assert (split.sections(), split.learned) == ({"new/a.png": "training"}, ("new/a.png",))
    assert "1 images do not judge, as a model has learned from them" in str(split_problem(split, ("x",), 1))


def test_what_a_run_has_learned_from_is_known_by_content_or_by_path(tmp_path: Path) -> None:
    run, model = tmp_path / "run", tmp_path / "model"
    run.mkdir()
    assert keep_learned(run, model) is None and learned_before(model) == RecordedSections()
    rows = [{"key": "images/a.png", "label": 0, "group": "p"}, {"key": "images/b.png", "label": 1}]
    told = {"training": rows, "validation": [{"key": "images/c.png", "label": 0}]}
    (run / "data_list.json").write_text(json.dumps(told))

    assert keep_learned(run, model) is not None
    by_path = RecordedSections(dict.fromkeys(["images/a.png", "images/b.png"], "training"), {"p": "training"})
    assert learned_before(model) == by_path
    assert next(model.iterdir()).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([], "No image has a label yet"),
        ([0] * 30, "needs 5 labels of each class, and 'malignant' has 0; label more of it"),
        ([0, 1] * 3, "'benign' has 3 and 'malignant' has 3; label more of them"),
        ([0] * 30 + [1] * 5, None),
    ],
    ids=["none", "one class", "few", "enough"],
)
def test_labels_that_are_too_few_are_one_sentence(labels: list[int], told: str | None) -> None:
    split = split_labels([{"key": f"{n}", "label": label} for n, label in enumerate(labels)])

    problem = split_problem(split, ("benign", "malignant"), 5, judged=False)

    assert problem is None if told is None else problem is not None and told in problem


def test_a_class_that_no_validation_image_has_is_told_unless_there_is_nothing_to_compare_with() -> None:
    keys = [f"{n}" for n in range(200)]
    judges = [key for key in keys if hashed_section(f"image:{key}", 0.2) == "validation"]
    items = [{"key": key, "label": 0 if key in judges else n % 2} for n, key in enumerate(keys)]
    split = split_labels(items)

    assert "be judged by is 'malignant'" in str(split_problem(split, ("benign", "malignant"), 5))
    assert split_problem(split, ("benign", "malignant"), 5, judged=False) is None


def test_the_history_keeps_every_table_and_survives_a_torn_line(tmp_path: Path) -> None:
    history = LabelHistory(tmp_path)
    items = [
        {"key": "a", "label": 0, "annotator": "me", "saved": 17, "image": "/secret/a.png"},
        {"key": "b", "label": 1, "group": "one"},
    ]
    history.began("first", items, {"a": "training", "b": "validation"}, ("x", "y"))
    history.publishes("first")
    history.ended("first", {"published": True, "version": 1})
    with history.path.open("ab") as file:
        file.write(b'{"event": "beg')
    history.began("second", items, {"a": "training", "b": "validation"}, ("x", "y"))
    changed = [{**items[0], "label": 1}, items[1]]
    history.began("third", changed, {"a": "training", "b": "training"}, ("x", "y"))
    assert history.recorded() == RecordedSections({"a": "training", "b": "validation"}, {"one": "validation"})
    history.ended("second", {"published": False})
    history.publishes("third")  # and was killed

    tables = dict(history.tables())

    assert list(tables) == ["first", "second", "third"]
    assert tables["first"] == tables["second"]
    assert tables["first"][0] == {"key": "a", "label": 0, "annotator": "me", "saved": 17, "section": "training"}
    assert tables["third"][0]["label"] == 1
    assert history.recorded() == RecordedSections({"a": "training", "b": "training"}, {"one": "training"})
    assert history.unfinished() == ["third"]
    events = ["began", "publishes", "ended", "began", "began", "ended", "publishes"]
    assert [line["event"] for line in history.lines()] == events
    assert "secret" not in history.path.read_text()
    assert all(line["time"] for line in history.lines())
    assert history.path.stat().st_mode & 0o077 == 0


def app_with_model(toy_model: Path, folder: Path) -> tuple[Path, FPTClassifier, FPTModelCard]:
    shutil.copytree(toy_model, folder)
    predictor = FPTPredictor.from_folder(folder)
    return folder, predictor.network, predictor.card


def test_a_published_version_loads_with_its_own_card_and_the_first_model_stays(toy_model: Path, tmp_path: Path) -> None:
    folder, network, card = app_with_model(toy_model, tmp_path / "model")
    original = (folder / "model.pt").read_bytes()
    assert (present_version(folder), present_model_dir(folder)) == (0, folder)

    reset_adapter(network, seed=5)
    assert publish_model(folder, network, card, {"auc": 0.9}) == 1

    loaded = FPTPredictor.from_folder(present_model_dir(folder))
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(loaded.logits(images), network(images).detach())
    assert (folder / "model.pt").read_bytes() == original
    assert json.loads((folder / "versions/1/training.json").read_text()) == {"auc": 0.9}


def test_a_kill_while_publishing_leaves_the_present_model(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, network, card = app_with_model(toy_model, tmp_path / "model")
    publish_model(folder, network, card)

    def die(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(OSError, match="No space"):
        publish_model(folder, network, card)

    assert present_version(folder) == 1
    assert [p.name for p in (folder / "versions").iterdir()] == ["1"]


def test_old_versions_go_but_never_the_present_one(toy_model: Path, tmp_path: Path) -> None:
    folder, network, card = app_with_model(toy_model, tmp_path / "model")
    for _ in range(12):
        publish_model(folder, network, card)

    assert sorted(int(p.name) for p in (folder / "versions").iterdir()) == list(range(3, 13))
    assert present_version(folder) == 12


def read_pointer_until_told(folder: Path, stop: Any, bad: Any) -> None:
    while not stop.is_set():
        try:
            FPTModelCard.load(present_model_dir(folder) / "model.json")
        except Exception:
            bad.set()


def test_a_reader_in_another_process_always_finds_a_whole_model(toy_model: Path, tmp_path: Path) -> None:
    folder, network, card = app_with_model(toy_model, tmp_path / "model")
    context = multiprocessing.get_context("fork")
    stop, bad = context.Event(), context.Event()
    reader = context.Process(target=read_pointer_until_told, args=(folder, stop, bad))
    reader.start()

    for _ in range(8):
        publish_model(folder, network, card)
    stop.set()
    reader.join(30)

    assert not bad.is_set()


def test_a_pointer_to_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "current").write_text("../../etc\n")

    with pytest.raises(ValueError, match=r"names the version '\.\./\.\./etc'"):
        present_version(tmp_path)


LABELS = torch.tensor([0] * 7 + [1] * 4)  # eleven images
GOOD = torch.stack(
    [torch.linspace(3, 1, 11), torch.linspace(0, 2, 11)], dim=1
)  # every image of class 1 above all of class 0
ONE_PAIR = GOOD[[0, 1, 2, 3, 4, 5, 7, 6, 8, 9, 10]]  # but for one pair


def names(count: int) -> list[str]:
    return [f"p{n}" for n in range(count)]


@pytest.mark.parametrize(
    ("present", "challenger", "better"),
    [
        (-GOOD, GOOD, True),
        (GOOD.flip(0) + GOOD, GOOD, True),
        (GOOD, -GOOD, False),
        (GOOD * 0.5, GOOD, False),
        (GOOD, GOOD, False),
        (ONE_PAIR, GOOD, False),
        (GOOD, ONE_PAIR, False),
    ],
    ids=[
        "right for wrong",
        "right for a guess",
        "worse",
        "1.000 against 1.000, surer",
        "the same",
        "one pair",
        "one pair less",
    ],
)
def test_only_a_model_that_is_shown_to_be_better_wins(
    present: torch.Tensor, challenger: torch.Tensor, better: bool
) -> None:
    assert judged(present, challenger, LABELS, names(11), "auc").better is better


def test_the_share_of_resamples_is_that_of_counted_ones_and_patients_are_drawn_whole() -> None:
    """Two images of each class, of which the new model puts one right: it is better where that one and one of class 0 are drawn."""
    labels = torch.tensor([0, 0, 1, 1])
    present = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    challenger = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 2.0]])

    found = judged(present, challenger, labels, names(4), "auc")
    together = judged(present, challenger, labels, ["a", "a", "b", "b"], "auc")

    assert (found.present, found.challenger, found.draws, found.patients) == (0.5, 1.0, 1000, 4)
    assert found.share == pytest.approx(
        0.75, abs=0.04
    )  # 1 - (1/2)^2: the classes are rare, so each is drawn among itself
    assert (together.share, together.patients) == (1.0, 2)
    assert judged(present, challenger, labels, names(4), "auc") == found


@pytest.mark.parametrize("benign", [1, 5])
def test_a_single_patient_of_a_class_shows_nothing(benign: int) -> None:
    labels = torch.tensor([0] * benign + [1])
    present = torch.stack([torch.zeros(benign + 1), torch.tensor([1.0] * benign + [0.0])], dim=1)
    challenger = torch.stack([torch.zeros(benign + 1), torch.tensor([0.0] * benign + [1.0])], dim=1)

    found = judged(present, challenger, labels, names(benign + 1), "auc")

    assert (found.present, found.challenger, found.share, found.fewest) == (0.0, 1.0, 1.0, 1) and not found.better
    split = LabelSplit((), tuple({"key": name} for name in names(benign + 1)))
    assert "a class has a single patient among them" in outcome_sentence(0, "auc", split, 1.0, found)


def test_a_score_that_is_not_defined_does_not_publish() -> None:
    found = judged(-GOOD, GOOD, torch.zeros(11, dtype=torch.long), names(11), "auc")

    assert not found.better and found.draws == 0


@pytest.mark.parametrize("metric", ["auc", "accuracy", "average_precision", "official_auc"])
def test_findings_are_compared_by_every_score(metric: str) -> None:
    labels = torch.stack([LABELS, 1 - LABELS], dim=1).float()
    right = labels * 4 - 2

    assert judged(-right, right, labels, names(11), metric).better
    assert not judged(right, right, labels, names(11), metric).better


def test_options_come_as_clients_send_them() -> None:
    sent = {"max_epochs": "3", "metric": ["accuracy", "auc"], "pretrained": "false", "learning_rate": 1, "model": "fpt"}

    options = FPTRetrainOptions().with_request(sent)

    assert (options.fit.max_epochs, options.metric, options.pretrained) == (3, "accuracy", False)
    assert options.fit.learning_rate == 1.0
    assert FPTRetrainOptions().with_request({}) == FPTRetrainOptions()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"max_epochs": 0}, "max_epochs=0"),
        ({"max_epochs": "many"}, "max_epochs='many'"),
        ({"max_epochs": 2.5}, "max_epochs=2.5"),
        ({"learning_rate": -1}, "learning_rate=-1"),
        ({"metric": "beauty"}, "metric='beauty'"),
        ({"val_fraction": 1}, "val_fraction=1"),
        ({"pretrained": "perhaps"}, "pretrained='perhaps'"),
        ({"class_weights": "some"}, "class_weights='some'"),
        ({"flip_prob": 2}, "flip_prob=2"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_an_option_that_cannot_be_is_told_by_name(sent: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        FPTRetrainOptions().with_request(sent)


def test_a_new_adapter_is_another_and_repeats_by_its_seed(toy_model: Path) -> None:
    network = FPTPredictor.from_folder(toy_model).network
    states = []
    for seed in (1, 2, 1):
        reset_adapter(network, seed)
        states.append({name: value.clone() for name, value in network.state_dict().items()})

    assert torch.equal(states[0]["side.head.weight"], states[2]["side.head.weight"])
    assert not torch.equal(states[0]["side.head.weight"], states[1]["side.head.weight"])
    fresh = FPTClassifier(network.config)
    assert {k: v.shape for k, v in fresh.state_dict().items()} == {k: v.shape for k, v in states[0].items()}
    assert float(states[0]["fusion.prompts"].std()) == pytest.approx(float(fresh.fusion.prompts.std()), rel=0.2)


def test_few_images_are_passed_over_more_often() -> None:
    options = FPTFitOptions(max_epochs=4, min_steps=30, batch_size=8)

    assert [options.epochs(n) for n in (8, 16, 200)] == [30, 15, 4]


def test_a_training_whose_process_is_gone_is_told_as_killed(tmp_path: Path) -> None:
    stats = TrainingStats(tmp_path)
    assert stats.read() == {}
    process = multiprocessing.get_context("fork").Process(target=lambda: TrainingStats(tmp_path).began("t", 5))
    process.start()
    process.join()

    assert stats.read()["status"] == "killed"
    stats.began("u", 7)
    stats.epoch(2, 0.5)
    assert (stats.read()["status"], stats.read()["epoch"], stats.read()["total_epochs"]) == ("running", 2, 7)
    stats.ended(FPTRetraining("u", True, 1, "done", challenger=0.75, better_in=0.91))
    told = stats.read()
    assert (told["status"], told["best_metric"], told["better_in"]) == ("ended", 0.75, 0.91)


def test_each_member_of_a_network_sees_every_image_once_an_epoch_in_an_order_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = FPTConfig(
        backbone="vit_tiny_patch16_224",
        backbone_weights=None,
        image_size=64,
        side_size=32,
        num_tokens=4,
        members=3,
        backbone_kwargs={"depth": 2},
    )
    network = FPTClassifier(config)
    data = LabelledFeatures(
        keys=tuple("abcdefghij"),
        groups=tuple("abcdefghij"),
        labels=torch.arange(10) % 2,
        thumbnails=torch.randint(0, 256, (10, 3, 48, 48), dtype=torch.uint8),
        features=tuple(torch.randn(10, *network.backbone.feature_shape)),
        spec=FeatureSpec.from_network(network),
    )
    batches: list[list[int]] = []
    batch = LabelledFeatures.batch
    monkeypatch.setattr(
        LabelledFeatures, "batch", lambda self, rows: (batches.append(list(rows)), batch(self, rows))[1]
    )

    fit_adapter(network, data, FPTFitOptions(max_epochs=1, min_steps=0, batch_size=4))

    assert [len(rows) for rows in batches] == [12, 12, 6]
    parts = [torch.tensor(rows).tensor_split(3) for rows in batches]
    orders = [torch.cat([part[k] for part in parts]).tolist() for k in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
