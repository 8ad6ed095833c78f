"""Files are found once, by whatever way links lead to them."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import pytest

from monai_fpt.data.datasets import fpt_dataset_list
from monai_fpt.data.datasets.files import files_below

pytestmark = pytest.mark.filterwarnings("ignore:.*an incomplete copy", "ignore:.*no groups are known")


def names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in files_below(root)]


@pytest.mark.parametrize(
    ("link", "target"),
    [("a/self", "."), ("a/up", ".."), ("b", "a"), ("0", "a"), ("a/b/round", "../../a")],
    ids=["itself", "above", "beside", "before its target", "in a circle"],
)
def test_a_link_to_a_folder_below_the_root_multiplies_nothing(tmp_path: Path, link: str, target: str) -> None:
    for name in ("a/1.png", "a/b/2.png"):
        trees.write_text(tmp_path / name, name)
    (tmp_path / link).symlink_to(target, target_is_directory=True)
    assert names(tmp_path) == ["a/1.png", "a/b/2.png"]


def test_links_to_other_folders_are_followed_and_hidden_ones_are_not(tmp_path: Path) -> None:
    trees.write_text(tmp_path / "disk/1.png", "")
    trees.write_text(tmp_path / "disk/sub/2.png", "")
    (tmp_path / "root").mkdir()
    for name in ("z", "y", ".hidden"):
        (tmp_path / "root" / name).symlink_to("../disk", target_is_directory=True)
    assert names(tmp_path / "root") == ["y/1.png", "y/sub/2.png"]
    (tmp_path / "way").symlink_to("root", target_is_directory=True)
    assert names(tmp_path / "way") == ["y/1.png", "y/sub/2.png"]


def test_a_loop_multiplies_no_image_of_a_data_set(tmp_path: Path) -> None:
    trees.covid(tmp_path)
    expected = fpt_dataset_list("covid", tmp_path, progress=False)
    (tmp_path / "COVID_IEEE/covid/covid").symlink_to(".", target_is_directory=True)
    assert fpt_dataset_list("covid", tmp_path, progress=False) == expected
