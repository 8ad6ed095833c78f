"""Downloads go on where they stopped, are what they should be, and never leave a half file or folder."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import dataset_trees as trees
import pytest
from local_server import LocalSite

from monai_fpt.data.datasets import (
    CMMDDataset,
    ISIC2016Dataset,
    ISIC2018Dataset,
    MedMNISTPlusDataset,
    ShenzhenCXRDataset,
    check_fpt_dataset,
    download_fpt_dataset,
    fpt_dataset_list,
)
from monai_fpt.data.datasets import transfer as transfer_module
from monai_fpt.data.datasets import unpack as unpack_module
from monai_fpt.data.datasets.medmnist_facts import MEDMNIST_SUBSETS
from monai_fpt.data.datasets.obtain import obtain_files
from monai_fpt.data.datasets.published import FPTSourceFile
from monai_fpt.data.datasets.tcia import obtain_collection
from monai_fpt.data.datasets.transfer import fetch_file
from monai_fpt.data.datasets.unpack import unpack_archive

pytestmark = pytest.mark.filterwarnings("ignore:.*an incomplete copy")
CONTENT = bytes(range(256)) * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


def fetch(site: LocalSite, folder: Path, *, md5: str = "", retries: int = 3) -> None:
    fetch_file(f"{site.url}a.bin", folder / "a.bin", md5=md5, retries=retries, wait=0.0, progress=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_with_its_sha256_beside_it(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"] = CONTENT
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["a.bin", "a.bin.sha256"]
    assert (tmp_path / "a.bin.sha256").read_text().split() == [hashlib.sha256(CONTENT).hexdigest(), "a.bin"]


def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"], site.breaks["a.bin"] = CONTENT, [100_000, 50_000]
    fetch(site, tmp_path, md5=MD5)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [asked for _, asked in site.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_run_goes_on_too(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"], site.breaks["a.bin"] = CONTENT, [100_000, 0]
    with pytest.raises(RuntimeError, match=r"broke off 2 times, 100,000 bytes are kept .* run it again to go on"):
        fetch(site, tmp_path, retries=1)
    assert not (tmp_path / "a.bin").exists()
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT and site.asked[-1][1] == "bytes=100000-"


def test_another_version_on_the_server_is_not_glued_to_the_first(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"], site.breaks["a.bin"] = CONTENT, [100_000]
    with pytest.raises(RuntimeError, match="broke off 1 times"):
        fetch(site, tmp_path, retries=0)
    site.files["a.bin"], site.versions["a.bin"] = CONTENT[::-1], '"2"'
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT[::-1]


def test_two_versions_of_one_size_are_not_glued_where_the_server_names_none(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"], site.versions["a.bin"], site.breaks["a.bin"] = CONTENT, "", [100_000, 50_000]
    with pytest.raises(RuntimeError, match=r"does not say which version of the file it has .* again from the start"):
        fetch(site, tmp_path, retries=1)
    site.files["a.bin"] = CONTENT[::-1]
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT[::-1] and {asked for _, asked in site.asked} == {None}


def test_a_published_checksum_lets_a_transfer_without_version_go_on(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"], site.versions["a.bin"], site.breaks["a.bin"] = CONTENT, "", [100_000]
    fetch(site, tmp_path, md5=MD5)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT and site.asked[-1][1] == "bytes=100000-"


def test_a_server_without_ranges_is_asked_from_the_start(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"], site.breaks["a.bin"], site.ranges = CONTENT, [100_000], False
    fetch(site, tmp_path, md5=MD5)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_run_that_ended_before_the_renaming_needs_no_second_transfer(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"] = CONTENT
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    (tmp_path / "a.bin.part.of").write_text(f'"1" {len(CONTENT)}')
    fetch(site, tmp_path, md5=MD5)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT and site.asked == []


@pytest.mark.parametrize("refusals", [[503], [429, 502]])
def test_passing_refusals_are_waited_out(tmp_path: Path, site: LocalSite, refusals: list[int]) -> None:
    site.files["a.bin"], site.refusals["a.bin"] = CONTENT, list(refusals)
    fetch(site, tmp_path)
    assert len(site.asked) == len(refusals) + 1


def test_a_missing_file_is_asked_for_once(tmp_path: Path, site: LocalSite) -> None:
    with pytest.raises(RuntimeError, match=r"a\.bin was answered with 404; check the address"):
        fetch(site, tmp_path)
    assert len(site.asked) == 1 and names(tmp_path) == []


def test_a_wrong_checksum_leaves_nothing(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"] = CONTENT
    with pytest.raises(RuntimeError, match=f"does not have the published MD5 {'0' * 32}"):
        fetch(site, tmp_path, md5="0" * 32)
    assert names(tmp_path) == []


def test_a_file_that_is_there_is_checked_and_kept(tmp_path: Path, site: LocalSite) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    fetch(site, tmp_path, md5=MD5)
    assert site.asked == []
    with pytest.raises(RuntimeError, match=f"has MD5 {MD5}, {'0' * 32} is published"):
        fetch(site, tmp_path, md5="0" * 32)
    (tmp_path / "a.bin.sha256").write_text("12ab  a.bin\n")
    with pytest.raises(RuntimeError, match="12ab was downloaded"):
        fetch(site, tmp_path)


def test_another_file_than_the_one_downloaded_before_is_said(tmp_path: Path, site: LocalSite) -> None:
    site.files["a.bin"] = CONTENT
    (tmp_path / "a.bin.sha256").write_text("12ab  a.bin\n")
    with pytest.warns(UserWarning, match=r"a\.bin is another file than the one downloaded before .* was 12ab"):
        fetch(site, tmp_path)


def test_a_full_disk_is_said_before_the_transfer(
    tmp_path: Path, site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["a.bin"] = CONTENT
    monkeypatch.setattr(transfer_module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(RuntimeError, match=r"needs 256,000 bytes more, the disk .* has 1,000; make room"):
        fetch(site, tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "set/../../evil.txt", "..\\evil.txt", "C:/evil.txt"])
def test_members_that_would_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    archive = trees.write_zip(tmp_path / "inner.zip", {"set/good.txt": b"good", name: b"evil"})
    with pytest.raises(RuntimeError, match="would leave the folder, nothing was unpacked"):
        unpack_archive(archive, tmp_path / "deep/set", progress=False)
    assert not list(tmp_path.rglob("*.txt")) and not (tmp_path / "deep/set").exists()


def test_links_and_twins_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("set/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(RuntimeError, match="is a link"):
        unpack_archive(tmp_path / "link.zip", tmp_path / "set", progress=False)
    trees.write_zip(tmp_path / "twins.zip", {"set/a.txt": b"1", "set/A.txt": b"2"})
    with pytest.raises(RuntimeError, match="two files of one name"):
        unpack_archive(tmp_path / "twins.zip", tmp_path / "set", progress=False)


def test_archives_unpack_with_or_without_their_own_folder(tmp_path: Path) -> None:
    trees.write_zip(tmp_path / "with.zip", {"set/a/1.txt": b"1", "set/2.txt": b"2"})
    trees.write_zip(tmp_path / "without.zip", {"a/1.txt": b"1", "2.txt": b"2", "__MACOSX/._2.txt": b"x"})
    for name in ("with", "without"):
        unpack_archive(tmp_path / f"{name}.zip", tmp_path / name / "set", progress=False)
        assert sorted(p.relative_to(tmp_path / name).as_posix() for p in (tmp_path / name).rglob("*.txt")) == [
            "set/2.txt",
            "set/a/1.txt",
        ]


def test_a_broken_archive_leaves_no_folder(tmp_path: Path) -> None:
    archive = trees.write_zip(tmp_path / "a.zip", {"set/1.txt": b"1" * 1000})
    content = bytearray(archive.read_bytes())
    content[60] ^= 255  # within the stored bytes, so the checksum is wrong
    archive.write_bytes(bytes(content))
    with pytest.raises(RuntimeError, match="cannot be unpacked"):
        unpack_archive(archive, tmp_path / "set", progress=False)
    assert names(tmp_path) == ["a.zip"]


def test_an_interrupted_unpacking_is_begun_anew_and_a_half_folder_is_found(tmp_path: Path) -> None:
    archive = trees.write_zip(tmp_path / "a.zip", {"set/1.txt": b"1", "set/2.txt": b"2"})
    (tmp_path / ".set.unfinished").mkdir()
    (tmp_path / ".set.unfinished/old.txt").write_text("old")
    unpack_archive(archive, tmp_path / "set", progress=False)
    assert names(tmp_path) == ["a.zip", "set"] and names(tmp_path / "set") == ["1.txt", "2.txt"]
    unpack_archive(archive, tmp_path / "set", progress=False)
    (tmp_path / "set/2.txt").write_text("longer")
    with pytest.raises(
        RuntimeError, match=r"half unpacked, 1 file\(s\) of 'a\.zip' are missing or of another size, first '2\.txt'"
    ):
        unpack_archive(archive, tmp_path / "set", progress=False)


def test_an_archive_larger_than_the_disk_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = trees.write_zip(tmp_path / "a.zip", {"set/1.txt": b"1" * 2000})
    monkeypatch.setattr(unpack_module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(RuntimeError, match=r"'a\.zip' needs 2,000 bytes, the disk .* has 1,000"):
        unpack_archive(archive, tmp_path / "set", progress=False)


def zipped(folder: Path, base: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{base}/{path.relative_to(folder).as_posix()}")
    return buffer.getvalue()


@pytest.fixture
def isic_site(tmp_path: Path, site: LocalSite, monkeypatch: pytest.MonkeyPatch) -> LocalSite:
    """A server that offers a small ISIC 2016."""
    trees.isic2016(tmp_path / "source")
    for path in (tmp_path / "source").iterdir():
        if path.is_dir():
            site.files[f"2016/{path.name}.zip"] = zipped(path, path.name)
        else:
            site.files[f"2016/{path.name}"] = path.read_bytes()
    monkeypatch.setattr(ISIC2016Dataset, "base_url", f"{site.url}2016/")
    return site


def test_isic2016_downloads_unpacks_and_is_not_fetched_twice(tmp_path: Path, isic_site: LocalSite) -> None:
    (tmp_path / "root").mkdir()
    training = ISIC2016Dataset(tmp_path / "root", "training", download=True, progress=False)
    assert len(training) == 18 and training[0]["image"].shape == (3, 8, 8)
    asked = len(isic_site.asked)
    assert len(ISIC2016Dataset(tmp_path / "root", "test", download=True, progress=False)) == 10
    assert len(isic_site.asked) == asked == 4
    assert fpt_dataset_list("isic2016", tmp_path / "root", progress=False).digest == fpt_dataset_list("isic2016", tmp_path / "source", progress=False).digest  # fmt: skip


def test_a_half_unpacked_isic2016_is_found(tmp_path: Path, isic_site: LocalSite) -> None:
    (tmp_path / "root").mkdir()
    download_fpt_dataset("isic2016", tmp_path / "root", progress=False)
    (tmp_path / "root/ISBI2016_ISIC_Part3_Test_Data/ISIC_0000003.jpg").unlink()
    with pytest.raises(RuntimeError, match="is half unpacked"):
        ISIC2016Dataset(tmp_path / "root", "test", download=True, progress=False)
    corrupt = check_fpt_dataset("isic2016", tmp_path / "root", progress=False).corrupt
    assert corrupt == ("ISBI2016_ISIC_Part3_Test_Data: half unpacked, 1 files are missing, first 'ISIC_0000003.jpg'",)


def test_an_empty_folder_without_its_archive_is_fetched_and_a_half_one_is_said(
    tmp_path: Path, isic_site: LocalSite
) -> None:
    folder = tmp_path / "root/ISBI2016_ISIC_Part3_Test_Data"
    folder.mkdir(parents=True)
    download_fpt_dataset("isic2016", tmp_path / "root", progress=False)
    assert len(names(folder)) == 10
    (tmp_path / "root/ISBI2016_ISIC_Part3_Test_Data.zip").unlink()
    with pytest.raises(RuntimeError, match=r"Test_Data' has 10 of 379 images and '.*Test_Data\.zip' is not beside it"):
        download_fpt_dataset("isic2016", tmp_path / "root", progress=False)
    assert len(names(folder)) == 10


def test_a_whole_folder_without_its_archive_is_the_user_s_own(tmp_path: Path, site: LocalSite) -> None:
    trees.write_images(tmp_path / "set", ["1.jpg", "2.jpg"])
    obtain_files([FPTSourceFile("a.zip", "a.zip", folder="set", images=2)], site.url, tmp_path, progress=False)
    assert site.asked == []
    trees.write_text(tmp_path / "table/deep/.hidden", "")
    with pytest.raises(RuntimeError, match="table' has no file"):
        obtain_files([FPTSourceFile("b.zip", "b.zip", folder="table")], site.url, tmp_path, progress=False)


def test_every_archive_of_images_has_a_published_number() -> None:
    for dataset in (ISIC2016Dataset, ISIC2018Dataset, ShenzhenCXRDataset):
        totals = [count for count in dataset.counts if count.verified and not count.class_name]
        assert [f.images for f in dataset.source_files if f.images] == [count.number for count in totals]


def test_shenzhen_downloads_one_archive(tmp_path: Path, site: LocalSite, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.shenzhen(tmp_path / "source")
    site.files["ChinaSet_AllFiles.zip"] = zipped(tmp_path / "source/ChinaSet_AllFiles", "ChinaSet_AllFiles")
    monkeypatch.setattr(ShenzhenCXRDataset, "base_url", site.url)
    (tmp_path / "root").mkdir()
    assert len(ShenzhenCXRDataset(tmp_path / "root", "training", download=True, progress=False)) == 14


def test_medmnist_downloads_one_file_and_wants_its_md5(
    tmp_path: Path, site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.medmnist_npz(tmp_path / "source.npz")
    site.files["breastmnist_64.npz"] = (tmp_path / "source.npz").read_bytes()
    monkeypatch.setattr(MedMNISTPlusDataset, "base_url", site.url)
    (tmp_path / "root").mkdir()
    with pytest.raises(RuntimeError, match=f"published MD5 {MEDMNIST_SUBSETS['breastmnist'].md5[64]}"):
        MedMNISTPlusDataset(tmp_path / "root", "test", download=True, progress=False, subset="breastmnist", size=64)
    md5 = hashlib.md5(site.files["breastmnist_64.npz"]).hexdigest()
    file = FPTSourceFile("breastmnist_64.npz", "breastmnist_64.npz?download=1", md5=md5)
    monkeypatch.setattr(MedMNISTPlusDataset, "source_files", (file,))
    with pytest.warns(
        UserWarning, match="has not the published MD5"
    ):  # the facts' one, which the loader holds it against
        made = MedMNISTPlusDataset(
            tmp_path / "root", "test", download=True, progress=False, subset="breastmnist", size=64
        )
    assert len(made) == 6 and [name for name, _ in site.asked] == ["breastmnist_64.npz?download=1"] * 2


def test_medmnist_says_before_a_download_that_the_folder_is_another_one(tmp_path: Path, site: LocalSite) -> None:
    trees.medmnist_npz(tmp_path / "breastmnist_64.npz")
    with pytest.warns(UserWarning, match="has not the published MD5"):
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    (tmp_path / "breastmnist_64.npz").unlink()
    with pytest.raises(RuntimeError, match=r"has not the published MD5 .*; remove the folder and the file"):
        download_fpt_dataset("breastmnist_64", tmp_path, progress=False)


def offer_cmmd(site: LocalSite, folder: Path, patients: int) -> list[dict[str, object]]:
    """A stand-in for NBIA: a list of series, each of which is an archive with a licence."""
    listed: list[dict[str, object]] = []
    for n in range(patients):
        patient, uid = f"D1-{n + 1:04d}", f"1.2.{n}"
        for v, view in enumerate(("CC", "MLO")):
            trees.write_mammogram(folder / patient / f"1-{v + 1}.dcm", patient, "R", view, seed=n)
        trees.write_text(folder / patient / "LICENSE", "CC BY 4.0, as the collection says")
        members = {path.name: path.read_bytes() for path in (folder / patient).iterdir()}
        site.files[f"nbia/getImage?SeriesInstanceUID={uid}"] = trees.write_zip(
            folder / f"{uid}.zip", members
        ).read_bytes()
        listed.append({"PatientID": patient, "StudyInstanceUID": f"1.3.{n}", "SeriesInstanceUID": uid, "ImageCount": 2})
    site.files["nbia/getSeries?Collection=CMMD&Modality=MG"] = json.dumps(listed).encode()
    return listed


def test_cmmd_comes_series_by_series_and_goes_on_after_a_break(
    tmp_path: Path, site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_cmmd(site, tmp_path / "source", 12)
    rows = [f"D1-{n + 1:04d},R,{40 + n},2,mass,{('Benign', 'Malignant')[n % 2]}," for n in range(12)]
    site.files["clinical.xlsx"] = b"no workbook"
    monkeypatch.setattr(CMMDDataset, "base_url", f"{site.url}nbia/")
    monkeypatch.setattr(CMMDDataset, "clinical_url", f"{site.url}clinical.xlsx")
    root = tmp_path / "root"
    root.mkdir()
    broken = "nbia/getImage?SeriesInstanceUID=1.2.5"
    site.refusals[broken] = [404]
    with pytest.raises(RuntimeError, match="answered with 404"):
        download_fpt_dataset("cmmd", root, progress=False)
    done = sorted(
        path.name
        for path in (root / "CMMD").iterdir()
        if not path.name.startswith(".") and path.is_dir() and any(path.rglob("*.dcm"))
    )
    assert done == [f"D1-{n + 1:04d}" for n in range(5)]
    site.asked.clear()
    (root / "CMMD_clinicaldata_revision.xlsx").unlink()
    trees.write_text(root / "CMMD_clinicaldata_revision.csv", trees.CMMD_COLUMNS + "\n" + "\n".join(rows) + "\n")
    data = CMMDDataset(root, "training", download=True, progress=False).data_list
    assert sum(name.startswith("nbia/getImage") for name, _ in site.asked) == 7
    assert sum(len(data.section(s)) for s in ("training", "validation", "test")) == 24
    assert (root / "CMMD/LICENSE").read_text() == "CC BY 4.0, as the collection says"
    assert data.training[0]["key"].split("/")[:2] == ["CMMD", data.training[0]["group"]]
    assert not list(root.rglob("*.zip*"))


def test_series_with_fewer_images_than_listed_are_not_kept(tmp_path: Path, site: LocalSite) -> None:
    listed = offer_cmmd(site, tmp_path / "source", 1)
    listed[0]["ImageCount"] = 3
    site.files["nbia/getSeries?Collection=CMMD&Modality=MG"] = json.dumps(listed).encode()
    with pytest.raises(RuntimeError, match="has 2 images, 3 are listed"):
        obtain_collection("CMMD", "MG", tmp_path, base_url=f"{site.url}nbia/", progress=False, wait=0.0)
    assert not list((tmp_path / "CMMD").rglob("*.dcm"))


def test_lists_whose_names_would_leave_the_folder_are_refused(tmp_path: Path, site: LocalSite) -> None:
    entry = {"PatientID": "../../evil", "StudyInstanceUID": "1", "SeriesInstanceUID": "2"}
    site.files["nbia/getSeries?Collection=CMMD&Modality=MG"] = json.dumps([entry]).encode()
    with pytest.raises(RuntimeError, match=r"PatientID '\.\./\.\./evil'"):
        obtain_collection("CMMD", "MG", tmp_path, base_url=f"{site.url}nbia/", progress=False, wait=0.0)


def test_data_sets_without_address_give_their_steps(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"DDR: it cannot be downloaded by a program .*\n  1\. get the ten parts"):
        download_fpt_dataset("ddr", tmp_path)
