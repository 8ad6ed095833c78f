"""Small copies of the public data sets in their real layouts: real names, real label codings, real strays; invented pixels."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".bmp": "BMP"}


def write_image(path: Path, seed: int = 0, *, mode: str = "RGB", size: int = 8) -> Path:
    """One picture of noise; ``I;16`` is 16-bit grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (size, size), dtype=np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, _FORMATS.get(path.suffix.lower(), "PNG"))
    path.write_bytes(buffer.getvalue())
    return path


def write_images(folder: Path, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        write_image(folder / name, number)


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def messidor2_names(patients: int) -> list[tuple[str, str]]:
    """(left, right) file names of patients, half of them of either naming."""
    names = []
    for n in range(patients):
        if n % 2:
            names.append((f"IM{4000 + 2 * n:06d}.JPG", f"IM{4001 + 2 * n:06d}.JPG"))
        else:
            names.append((f"20051020_{43000 + n:05d}_0100_PP.png", f"20051020_{63000 + n:05d}_0100_PP.png"))
    return names


def messidor2(root: Path, patients: int = 15, *, pair_list: bool = True) -> dict[str, int]:
    """IMAGES/, messidor_data.csv (``.jpg`` for ``.JPG``, an ungradable row) and the pair list; file name to grade."""
    pairs = messidor2_names(patients)
    grades = {name: n % 5 for n, pair in enumerate(pairs) for name in pair}
    write_images(root / "IMAGES", [*grades, "20060101_99999_0100_PP.png"])
    rows = [f"{name.replace('.JPG', '.jpg')},{grade}.0,0,1" for name, grade in grades.items()]
    rows.append("20060101_99999_0100_PP.png,,,0")
    write_text(
        root / "messidor_data.csv",
        "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable\n" + "\n".join(rows) + "\n",
    )
    if pair_list:
        write_text(root / "messidor-2.csv", "left;right\n" + "".join(f"{left};{right}\n" for left, right in pairs))
    write_text(root / "messidor_readme.txt", "readme")
    return grades


def ddr(root: Path, each: int = 10) -> dict[str, dict[str, int]]:
    """DR_grading with its three lists and a lesion folder of the same names; section to file name to grade."""
    home = root / "DDR-dataset" / "DR_grading"
    labels: dict[str, dict[str, int]] = {}
    for s, section in enumerate(("train", "valid", "test")):
        names = [f"007-{100 * s + n:04d}-{n % 5}00.jpg" for n in range(each)]
        names += [f"2017041310{s}{n // 6}{10 * (n % 6):02d}{n:03d}000"[:17] + ".jpg" for n in range(each)]
        labels[section] = {name: n % 5 for n, name in enumerate(names)}
        text = "".join(f"{name} {label}\n" for name, label in labels[section].items()) + f"00{s}-bad.jpg 5\n"
        write_text(home / f"{section}.txt", text)
        write_images(home / section, [*labels[section], f"00{s}-bad.jpg"])
        write_images(root / "DDR-dataset" / "lesion_segmentation" / section / "image", [f"007-{s:04d}-999.jpg"])
    return labels


def isic2016(root: Path, train: int = 20, test: int = 10) -> None:
    """Both parts: headerless label files, words in one and numbers in the other."""
    for part, number, words in (("Training", train, ("benign", "malignant")), ("Test", test, ("0.0", "1.0"))):
        first = 0 if part == "Training" else 3
        names = [f"ISIC_{first + 10 * n:07d}" for n in range(number)]
        rows = [f"{name},{words[n % 2]}" for n, name in enumerate(names)]
        write_text(root / f"ISBI2016_ISIC_Part3_{part}_GroundTruth.csv", "\n".join(rows) + "\n")
        write_images(root / f"ISBI2016_ISIC_Part3_{part}_Data", [f"{name}.jpg" for name in names])


ISIC2018_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def isic2018(
    root: Path, per_class: int = 4, *, columns: Sequence[str] = ISIC2018_CLASSES, zero: str = "0.0"
) -> dict[str, int]:
    """Three parts with one-hot label files and lesions of two pictures each; image name to class."""
    one = zero.replace("0", "1", 1)
    labels: dict[str, int] = {}
    for p, part in enumerate(("Training", "Validation", "Test")):
        names = {f"ISIC_{24306 + 1000 * p + n:07d}": n % 7 for n in range(7 * per_class)}
        labels |= names
        rows = ["image," + ",".join(columns)]
        for name, label in names.items():
            rows.append(",".join([name, *(one if ISIC2018_CLASSES[label] == c else zero for c in columns)]))
        stem = f"ISIC2018_Task3_{part}_GroundTruth"
        write_text(root / stem / f"{stem}.csv", "\n".join(rows) + "\n")
        folder = root / f"ISIC2018_Task3_{part}_Input"
        write_images(folder, [f"{name}.jpg" for name in names])
        write_text(folder / "LICENSE.txt", "CC BY-NC")
        if part == "Training":
            lesions = [f"{name},HAM_{n % 7:04d}{n // 14},histopathology" for n, name in enumerate(names)]
            text = "image,lesion_id,diagnosis_confirm_type\n" + "\n".join(lesions) + "\n"
            write_text(root / "ISIC2018_Task3_Training_LesionGroupings.csv", text)
    return labels


def mini_ddsm(root: Path, cases: int = 4, *, table: bool = True, jpeg: bool = True) -> None:
    """Both trees of release v2 with their strays; every diseased case has a contour on its left breast."""
    rows = []
    trees = [("MINI-DDSM-Complete-PNG-16", ".png", "I;16")] + (
        [("MINI-DDSM-Complete-JPEG-8", ".jpg", "L")] if jpeg else []
    )
    for tree, suffix, mode in trees:
        home = root / tree
        for s, status in enumerate(("Normal", "Benign", "Cancer")):
            for n in range(cases):
                letter = "AD"[n % 2] if status == "Normal" else "ABCD"[n % 4]
                case = f"{letter}_{100 * s + n:04d}_1"
                folder = home / status / f"{n:04d}"
                for v, view in enumerate(("LEFT_CC", "LEFT_MLO", "RIGHT_CC", "RIGHT_MLO")):
                    name = f"{case}.{view}"
                    write_image(folder / f"{name}{suffix}", 100 * s + 10 * n + v, mode=mode)
                    contoured = status != "Normal" and view == "LEFT_CC"
                    if contoured:
                        write_image(folder / f"{name}_Mask{suffix}", mode="L")
                    if suffix == ".jpg":
                        mask = f"{status}\\{n:04d}\\{name}_Mask.jpg" if contoured else "-"
                        age = "" if n == 0 else f"{50 + n}.0"
                        side, projection = view.split("_")
                        path = f"{status}\\{n:04d}\\{name}.jpg"
                        rows.append([path, f"{name}.jpg", projection, side, status, mask, "-", age, str(n)])
                write_text(folder / f"{case}.LEFT_CC.OVERLAY", "overlay")
                write_text(folder / f"{case.replace('_', '-')}.ics", "ics")
                write_text(folder / f"TAPE_{case}.COMB.16_PGM", "tape")
        write_image(home / "Cancer" / "0000" / f"Mask_A_0200_1.LEFT_MLO{suffix}", mode="L")
        write_image(home / f"BoundaryMask{suffix}", mode="L")
    if table and rows:
        names = [
            "fullPath",
            "fileName",
            "View",
            "Side",
            "Status",
            "Tumour_Contour",
            "Tumour_Contour2",
            "Age",
            "Density",
        ]
        pd.DataFrame(rows, columns=names).to_excel(
            root / "MINI-DDSM-Complete-JPEG-8" / "DataWMask.xlsx", sheet_name="Data", index=False
        )


_VIEWS = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}


def write_mammogram(path: Path, patient: str, side: str, view: str, *, bits: int = 8, seed: int = 0) -> Path:
    """One DICOM file with the tags of CMMD's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
    file.PatientID, file.PatientName, file.Modality = patient, patient, "MG"
    if side:
        file.ImageLaterality = side
    if view:
        code = Dataset()
        code.CodeValue, code.CodeMeaning = _VIEWS[view]
        code.CodingSchemeDesignator = "SCT"
        file.ViewCodeSequence = [code]
    file.Rows, file.Columns, file.SamplesPerPixel = 6, 5, 1
    file.PhotometricInterpretation, file.PixelRepresentation = "MONOCHROME2", 0
    file.BitsAllocated = file.BitsStored = bits
    file.HighBit = bits - 1
    file.WindowCenter, file.WindowWidth, file.VOILUTFunction = 2 ** (bits - 1), 2**bits, "SIGMOID"
    kind = np.uint8 if bits == 8 else np.uint16
    file.PixelData = np.random.default_rng(seed).integers(0, 2**bits, (6, 5)).astype(kind).tobytes()
    pydicom.dcmwrite(path, file, enforce_file_format=True)
    return path


CMMD_COLUMNS = "ID1,LeftRight,Age,number,abnormality,classification,subtype"


def cmmd(root: Path, patients: int = 12, *, folder: str = "CMMD", xlsx: bool = True) -> None:
    """Patients with one breast; a bilateral one with two classes; one with an unlabelled other breast; 16-bit files."""
    rows = [CMMD_COLUMNS.split(",")]
    for n in range(patients):
        patient, side = f"D{1 + n % 2}-{n + 1:04d}", "RL"[n % 2]
        rows.append(
            [patient, side, str(40 + n), "2", "mass", ("Benign", "Malignant")[n % 2], "Luminal B" if n % 2 else ""]
        )
        series = root / folder / patient / f"07-18-2010-NA-NA-{79000 + n}" / f"1.000000-NA-{70000 + n}"
        for v, view in enumerate(("MLO", "CC")):  # the order of files tells nothing
            write_mammogram(series / f"1-{v + 1}.dcm", patient, side, view, seed=10 * n + v)
    mixed = root / folder / "D1-0087" / "07-18-2010-NA-NA-1" / "1.000000-NA-1"
    rows += [["D1-0087", "R", "50", "2", "mass", "Malignant", ""], ["D1-0087", "L", "50", "2", "mass", "Benign", ""]]
    one = root / folder / "D2-0600" / "07-18-2010-NA-NA-2" / "1.000000-NA-2"
    rows.append(["D2-0600", "L", "61", "2", "both", "Malignant", "Luminal A"])
    for v, (side, view) in enumerate([("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")]):
        write_mammogram(mixed / f"1-{v + 1}.dcm", "D1-0087", side, view, bits=16, seed=500 + v)
        write_mammogram(one / f"1-{v + 1}.dcm", "D2-0600", side, view, seed=600 + v)
    write_text(root / folder / "LICENSE", "Creative Commons Attribution 4.0 International\nmore")
    write_text(root / "metadata.csv", "Series UID,Subject ID,Number of Images,File Location\n1,D1-0001,2,./CMMD\n")
    if xlsx:
        table = pd.DataFrame(rows[1:], columns=rows[0])
        table.to_excel(root / "CMMD_clinicaldata_revision.xlsx", sheet_name="Sheet1", index=False)
    else:
        write_text(root / "CMMD_clinicaldata_revision.csv", "\n".join(",".join(row) for row in rows) + "\n")


def covid(root: Path, each: int = 10, *, home: str = "COVID_IEEE") -> None:
    """Three class folders with every kind of file that is met in the release."""
    for c, name in enumerate(("covid", "normal", "virus")):
        for n in range(each):
            suffix = (".jpg", ".png", ".jfif", ".jpeg", ".JPG")[n % 5]
            mode = {".png": ("P", "RGBA", "L", "LA")[(n // 5) % 4]}.get(suffix, ("RGB", "L")[n % 2])
            write_image(root / home / name / f"{name} ({n}){suffix}", 100 * c + n, mode=mode, size=40)


def shenzhen(root: Path, each: int = 10, *, home: str = "ChinaSet_AllFiles") -> None:
    """CXR_png with normal and tuberculosis files of several modes, readings and Thumbs.db."""
    for n in range(2 * each):
        label = int(n >= each)
        name = f"CHNCXR_{n + 1 + 316 * label:04d}_{label}"
        write_image(root / home / "CXR_png" / f"{name}.png", n, mode=("P", "RGB", "L")[n % 3])
        text = ("male 45yrs\nnormal", "Female , 9 months\nPTB in the right upper field", "\n female 30yr\n", "?")[n % 4]
        write_text(root / home / "ClinicalReadings" / f"{name}.txt", text)
    write_text(root / home / "CXR_png" / "Thumbs.db", "thumbs")
    write_text(root / home / "NLM-ChinaCXRSet-ReadMe.docx", "readme")


def medmnist_npz(
    path: Path,
    *,
    size: int = 64,
    channels: int = 1,
    classes: int = 2,
    multilabel: bool = False,
    numbers: Sequence[int] = (12, 4, 6),
) -> dict[str, np.ndarray]:
    """A .npz file as MedMNIST's; its arrays."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, number in zip(("train", "val", "test"), numbers, strict=True):
        shape = (number, size, size) + ((3,) if channels == 3 else ())
        arrays[f"{part}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        if multilabel:
            arrays[f"{part}_labels"] = rng.integers(0, 2, (number, classes), dtype=np.uint8)
        else:
            arrays[f"{part}_labels"] = (np.arange(number) % classes).astype(np.uint8)[:, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return arrays


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path
