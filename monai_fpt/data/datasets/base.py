"""FPTPublicDataset: the shape that all public data sets share.

A data set is one file with one class. The class attributes are its facts: classes, licence, statistics, published
counts, where it is got. Its ``find`` looks at a user's folder and says which image has which label and group; what
follows is the same for all: dealing to sections, comparing with the published counts, printing, and being a MONAI
``CacheDataset`` with the constructor of ``monai.apps.MedNISTDataset``.

Decisions:

* The folder may be the data set's own, one above it, or a mirror that nests folders; files are found by their names.
* What does not fit the labels is never silent: label rows without image, images without label and dropped images are
  counted and said, a wrong label file and two images of one name are errors. Counts other than the published ones
  are a warning while loading, so a part can be tried out; ``check_fpt_dataset`` fails on them.
* ``cache_rate`` is 0, not MONAI's 1: these images are large.
* The split belongs to the list, not to the section asked for: three sections made with one seed are disjoint.
* ``monai.apps.CrossValidation`` replaces ``_split_datalist``. What is handed to that are patients (lists of items), not
  items, so its folds tear no patient apart. The folds are of training and validation; the test stays out.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from monai.data import CacheDataset
from monai.transforms import LoadImaged, Randomizable

from monai_fpt.data.datalist import SECTIONS, FPTDataList
from monai_fpt.data.datasets.announce import announce
from monai_fpt.data.datasets.obtain import obtain_files
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount, FPTSourceFile, differing_counts
from monai_fpt.data.datasets.sections import deal_found_images

__all__ = ["FPTPublicDataset"]

_PROPERTIES = (
    "name", "title", "modality", "licence", "homepage", "citation", "task", "ordered", "classes", "mean", "std",
    "learning_rate", "counts", "sources", "group_key", "official_split",
)  # fmt: skip


class FPTPublicDataset(Randomizable, CacheDataset):  # type: ignore[misc]
    """A public data set as a MONAI dataset.

    Args:
        root_dir: the data set's folder, one above it, or the folder to download to.
        section: ``"training"``, ``"validation"`` or ``"test"``.
        transform: applied to each item; by default images are loaded as
            :class:`~monai_fpt.data.reader.FPTImageReader` does, (3, H, W) in [0, 1].
        download: fetch what is missing. A data set that cannot be fetched by a program raises the steps instead, unless
            it is there already.
        seed: another seed, another split.
        split: ``"auto"`` (official where there is one, else grouped), ``"official"``, ``"grouped"`` (70/10/20 by
            patient or lesion, stratified) or ``"image"`` (image by image, as in the paper; it leaks, and says so).
        val_frac: share for validation where it is not official.
        test_frac: share for the test where it is not official.
        cache_num: see ``monai.data.CacheDataset``, like what follows.
        cache_rate: share of the images that are kept in memory.
        num_workers: threads that fill the cache.
        progress: whether bars are shown.
        copy_cache: whether cached items are copied before random transforms.
        as_contiguous: whether cached arrays are made contiguous.
        runtime_cache: whether the cache is filled while reading.

    Raises:
        ValueError: ``root_dir`` is no folder, the section or split is unknown, or the files contradict each other.
        RuntimeError: the data set is not there; the text tells how to get it.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    modality: ClassVar[str] = ""
    classes: ClassVar[tuple[str, ...]] = ()
    task: ClassVar[str] = "multiclass"
    ordered: ClassVar[bool] = False
    official_split: ClassVar[bool] = False
    group_key: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    homepage: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    mean: ClassVar[tuple[float, ...]] = ()
    std: ClassVar[tuple[float, ...]] = ()
    learning_rate: ClassVar[float | None] = None
    counts: ClassVar[tuple[FPTPublishedCount, ...]] = ()
    sources: ClassVar[Mapping[str, str]] = {}
    tree: ClassVar[str] = ""
    steps: ClassVar[tuple[str, ...]] = ()
    base_url: ClassVar[str] = ""
    source_files: ClassVar[tuple[FPTSourceFile, ...]] = ()
    options: ClassVar[Mapping[str, Any]] = {}

    data_list: FPTDataList

    def __init__(
        self,
        root_dir: str | Path,
        section: str,
        transform: Sequence[Callable[..., Any]] | Callable[..., Any] = (),
        download: bool = False,
        seed: int = 0,
        split: str = "auto",
        val_frac: float = 0.1,
        test_frac: float = 0.2,
        cache_num: int = sys.maxsize,
        cache_rate: float = 0.0,
        num_workers: int | None = 1,
        progress: bool = True,
        copy_cache: bool = True,
        as_contiguous: bool = True,
        runtime_cache: bool = False,
    ) -> None:
        root = self.existing_root(root_dir)
        if section not in SECTIONS:
            raise ValueError(f"{self.title}: there is no section {section!r}; choose one of {SECTIONS}.")
        self.section, self.split, self.val_frac, self.test_frac = section, split, val_frac, test_frac
        self.seed, self.progress_shown = seed, progress
        self.set_random_state(seed=seed)
        self.indices: npt.NDArray[np.int64] = np.array([], dtype=np.int64)
        if download and self.source_files:
            self.download_into(root, self.chosen_options(), progress=progress)
        data = self._generate_data_list(root)
        if not data:
            warnings.warn(f"{self.title}: section {section} is empty; choose other fractions.", stacklevel=2)
        CacheDataset.__init__(
            self,
            data=data,
            transform=LoadImaged("image", reader="monai_fpt.data.FPTImageReader") if transform == () else transform,
            cache_num=cache_num,
            cache_rate=cache_rate,
            num_workers=num_workers,
            progress=progress,
            copy_cache=copy_cache,
            as_contiguous=as_contiguous,
            runtime_cache=runtime_cache,
        )

    def chosen_options(self) -> dict[str, Any]:
        """The options of this very data set, by name; its constructor takes them by keyword."""
        return {name: getattr(self, name, default) for name, default in self.options.items()}

    @classmethod
    def existing_root(cls, root_dir: str | Path) -> Path:
        """The absolute path of the user's folder.

        Raises:
            ValueError: it is no folder.
        """
        root = Path(root_dir).expanduser().absolute()
        if not root.is_dir():
            raise ValueError(f"{cls.title}: root_dir {str(root)!r} is no folder; make it, or correct the path.")
        return root

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options with the defaults filled in.

        Raises:
            ValueError: an option that this data set does not know.
        """
        unknown = sorted(set(options) - set(cls.options))
        if unknown:
            known = f"its options are {sorted(cls.options)}" if cls.options else "it has none"
            raise ValueError(f"{cls.title}: there is no option {', '.join(unknown)}, {known}; correct the name.")
        return {**cls.options, **options}

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """What of the data set lies below a folder.

        Args:
            root: the absolute folder.
            options: all options of the data set.
            progress: whether bars are shown where it takes long.

        Raises:
            RuntimeError: the data set is not there.
            ValueError: its files contradict each other.
        """
        raise NotImplementedError

    @classmethod
    def build_list(
        cls,
        root_dir: str | Path,
        *,
        split: str = "auto",
        seed: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        progress: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> FPTDataList:
        """The data set's list with all three sections; counts and licence are printed.

        Args:
            root_dir: see the class, like what follows.
            split: see the class.
            seed: see the class.
            val_fraction: ``val_frac`` of the class.
            test_fraction: ``test_frac`` of the class.
            progress: see the class.
            options: of this very data set.

        Raises:
            ValueError: see the class.
            RuntimeError: see the class.
        """
        chosen = cls.check_options(options or {})
        root = cls.existing_root(root_dir)
        found = cls.find(root, chosen, progress=progress)
        sections, told, warned = deal_found_images(found, cls.title, split, seed, val_fraction, test_fraction)
        if found.task == "multiclass":
            for item in (item for items in sections.values() for item in items):
                item["class_name"] = found.classes[item["label"]]
        data = FPTDataList(classes=found.classes, task=found.task, ordered=found.ordered, **sections)
        warned = [*found.corrupt, *found.warned, *warned]
        if found.missing:
            warned.append(f"{len(found.missing):,} label row(s) have no image, first {found.missing[0]!r}")
        if found.extra:
            warned.append(f"{len(found.extra):,} image(s) have no label and are left out, first {found.extra[0]!r}")
        counted, unsure = differing_counts(found)
        warned += [f"{text}; check_fpt_dataset({cls.name!r}, ...) tells what is amiss" for text in counted]
        for phrase in warned:
            warnings.warn(f"{cls.title}: {phrase}.", stacklevel=3)
        announce(cls.title, cls.name, root, data, told, [*found.said, *unsure], found.licence or cls.licence)
        return data

    @classmethod
    def download_into(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> None:
        """Fetch and unpack what is missing.

        Raises:
            ValueError: files that are there contradict each other.
            RuntimeError: the data set cannot be fetched by a program (the text lists the steps), or a download failed.
        """
        if not cls.source_files:
            raise cls.absent(root, "it cannot be downloaded by a program")
        obtain_files(cls.files_of(options), cls.base_url, root, progress=progress)

    @classmethod
    def files_of(cls, options: Mapping[str, Any]) -> tuple[FPTSourceFile, ...]:
        """The source files that the options ask for."""
        return cls.source_files

    @classmethod
    def absent(cls, root: Path, what: str) -> RuntimeError:
        """The error that tells how to get the data set.

        Args:
            root: where it was looked for.
            what: what is the matter, without a full stop.
        """
        way = "\n".join(f"  {number}. {step}" for number, step in enumerate(cls.steps, start=1))
        start = f"{cls.title}: {what} (folder {str(root)!r}); "
        start += "use download=True, or get it by hand:" if cls.source_files else "get it by hand:"
        return RuntimeError(f"{start}\n{way}\nExpected tree:\n{cls.tree.strip()}\nLicence: {cls.licence}")

    def _generate_data_list(self, dataset_dir: str | Path) -> list[dict[str, Any]]:
        """Items of this section, after MONAI's pattern: the list is made, then ``_split_datalist`` takes its part."""
        self.data_list = self.build_list(
            dataset_dir,
            split=self.split,
            seed=self.seed,
            val_fraction=self.val_frac,
            test_fraction=self.test_frac,
            progress=self.progress_shown,
            options=self.chosen_options(),
        )
        whole = [item for name in SECTIONS for item in self.data_list.section(name)]
        outside_test = self.data_list.training + self.data_list.validation
        pool = self.data_list.test if self.section == "test" else outside_test
        units: dict[str, list[dict[str, Any]]] = {}
        for item in pool:
            units.setdefault(str(item.get("group", f"image {item['key']}")), []).append(item)
        position = {item["key"]: number for number, item in enumerate(whole)}
        data = [item for unit in self._split_datalist(list(units.values())) for item in unit]
        data.sort(key=lambda item: position[item["key"]])
        self.indices = np.array([position[item["key"]] for item in data], dtype=np.int64)
        return data

    def _split_datalist(self, datalist: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """The part of training and validation (or of the test) that this section takes.

        Args:
            datalist: the items of each patient or lesion, or of each image where none is known. Another division of
                this list, as ``monai.apps.CrossValidation`` makes it, therefore tears no patient apart.
        """
        own = {item["key"] for item in self.data_list.section(self.section)}
        parts = [[item for item in unit if item["key"] in own] for unit in datalist]
        return [part for part in parts if part]

    def randomize(self, data: npt.NDArray[Any]) -> None:
        """Shuffle in place with the data set's own random state."""
        self.R.shuffle(data)

    def get_num_classes(self) -> int:
        """Number of classes."""
        return len(self.data_list.classes)

    def get_indices(self) -> npt.NDArray[np.int64]:
        """Positions of this dataset's items in training + validation + test of ``data_list``."""
        return self.indices

    def get_properties(self, keys: Sequence[str] | str | None = None) -> dict[str, Any]:
        """Facts of the data set.

        Args:
            keys: names of facts; by default all.

        Raises:
            KeyError: there is no such fact.
        """
        facts = {name: getattr(type(self), name) for name in _PROPERTIES}
        facts |= {"classes": self.data_list.classes, "task": self.data_list.task, "ordered": self.data_list.ordered}
        if keys is None:
            return facts
        return {key: facts[key] for key in ([keys] if isinstance(keys, str) else keys)}
