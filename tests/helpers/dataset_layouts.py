"""Small generated images in the true layout of each dataset: a function a dataset, by its name in conf/dataset."""

from zipfile import ZipFile

import numpy as np

from helpers.images import write_classes, write_image


def organ(root, name):
    for part, count in (("train", 20), ("validation", 6)):
        write_classes(root / part, {f"{name}_present": count, f"{name}_absent": count}, f"{part} {{index}}.png")


def thyroid(root):
    organ(root, "thyroid")


def trachea(root):
    organ(root, "trachea")


def pneumonia(root):
    for part, count in (("train", 20), ("val", 4), ("test", 8)):
        write_classes(root / "chest_xray" / part, {"NORMAL": count}, f"IM-{part}{{index:04d}}-0001.jpeg")
        write_classes(root / "chest_xray" / part, {"PNEUMONIA": count}, f"person{part}{{index}}_virus_1.jpeg")


def covid(root):
    for name in ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia"):
        folder = root / "COVID-19_Radiography_Dataset" / name
        write_classes(folder, {"images": 12, "masks": 12}, f"{name}-{{index}}.png")


def busi(root):
    for position, name in enumerate(("benign", "malignant", "normal")):
        for index in range(1, 15):
            write_image(root / "Dataset_BUSI_with_GT" / name / f"{name} ({index}).png", 60 + 50 * position, "RGB")
            write_image(root / "Dataset_BUSI_with_GT" / name / f"{name} ({index})_mask.png", 255)
        write_image(root / "Dataset_BUSI_with_GT" / name / f"{name} (1)_mask_1.png", 255)


def hip_mri(root):
    write_classes(root / "made", {"normal": 20, "osseous_lesion": 20})
    with ZipFile(root / "RadImageNet - Hip MRI.zip", "w") as archive:
        for path in sorted((root / "made").rglob("*.png")):
            archive.write(path, path.relative_to(root / "made"))
            path.unlink()


def table(root):
    write_classes(root, {"scans": 40}, "scan {index}.png")
    rows = [f"scans/scan {index}.png,{'ill' if index % 2 else 'healthy'},p{index // 2}" for index in range(1, 41)]
    (root / "table.csv").write_text("path,label,patient\n" + "\n".join(rows), encoding="utf-8")


def folder(root):
    write_classes(root, {"a": 20, "b": 20})


def medmnist(root):
    root.mkdir()
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 40), ("val", 10), ("test", 12)):
        arrays[f"{part}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
        arrays[f"{part}_images"] = random.integers(0, 255, (count, 28, 28), dtype=np.uint8)
    np.savez_compressed(root / "breastmnist.npz", **arrays)
