"""Every published layout, and what is wrong in a folder."""

import pytest
from helpers.images import dataset, write_classes, write_image

from medclf.data.sources.discovery import find_images
from medclf.utils.errors import DataError


def found(root, *overrides, name="folder"):
    return find_images(dataset(root, *overrides, name=name))


LAYOUTS = {
    "thyroid": [
        ("train/thyroid_present/a.png", "thyroid_present", "train"),
        ("train/thyroid_absent/b.png", "thyroid_absent", "train"),
        ("validation/thyroid_present/c.png", "thyroid_present", "val"),
    ],
    "trachea": [
        ("Train/trachea_present/a.JPG", "trachea_present", "train"),
        ("Train/trachea_absent/b.jpeg", "trachea_absent", "train"),
    ],
    "pneumonia": [
        ("chest_xray/train/NORMAL/IM-0115-0001.jpeg", "normal", "train"),
        ("chest_xray/val/NORMAL/NORMAL2-IM-1427-0001.jpeg", "normal", "train"),
        ("chest_xray/test/PNEUMONIA/person132_virus_266.jpeg", "pneumonia", "test"),
    ],
    "covid": [
        ("COVID-19_Radiography_Dataset/COVID/images/COVID-1.png", "covid", None),
        ("COVID-19_Radiography_Dataset/Normal/images/Normal-1.png", "healthy", None),
        ("COVID-19_Radiography_Dataset/Lung_Opacity/images/Lung_Opacity-1.png", "lung_opacity", None),
        ("COVID-19_Radiography_Dataset/Viral Pneumonia/images/Viral Pneumonia-1.png", "viral_pneumonia", None),
        ("COVID-19_Radiography_Dataset/COVID/masks/COVID-1.png", None, None),
    ],
    "busi": [
        ("Dataset_BUSI_with_GT/benign/benign (1).png", "benign", None),
        ("Dataset_BUSI_with_GT/benign/benign (1)_mask.png", None, None),
        ("Dataset_BUSI_with_GT/benign/benign (1)_mask_1.png", None, None),
        ("Dataset_BUSI_with_GT/malignant/malignant (1).png", "malignant", None),
        ("Dataset_BUSI_with_GT/normal/normal (1).png", "normal", None),
    ],
    "hip_mri": [
        ("normal/a.png", "normal", None),
        ("osseous_lesion/b.png", "osseous_lesion", None),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layout(tmp_path, name):
    for path, _, _ in LAYOUTS[name]:
        write_image(tmp_path / path)
    for ignored in (".DS_Store", "__MACOSX/train/x.png", ".hidden/x.png", "notes.txt", "COVID.metadata.xlsx"):
        (tmp_path / ignored).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ignored).write_bytes(b"")
    images = found(tmp_path, name=name)
    expected = sorted((path, label, split) for path, label, split in LAYOUTS[name] if label)
    assert sorted((image.path, image.label, image.split) for image in images.images) == expected
    assert images.excluded == sum(label is None for _, label, _ in LAYOUTS[name])
    assert images.outside == 0


@pytest.mark.parametrize(
    ("file", "patient"),
    [
        ("person132_virus_266.jpeg", "person132"),
        ("IM-0115-0001-0002.jpeg", "IM-0115"),
        ("NORMAL2-IM-1427-0001.jpeg", "NORMAL2-IM-1427"),
    ],
)
def test_patient_of_a_pneumonia_file(tmp_path, file, patient):
    write_image(tmp_path / "train/NORMAL" / file)
    write_image(tmp_path / "train/PNEUMONIA/person1_bacteria_1.jpeg")
    groups = {image.path.rsplit("/", 1)[1]: image.group for image in found(tmp_path, name="pneumonia").images}
    assert groups[file] == patient


def test_without_a_pattern_each_image_is_its_own_group(two_classes):
    images = found(two_classes).images
    assert len({image.group for image in images}) == len(images) == 50


@pytest.mark.parametrize("above", ["", "archive", "archive/inner"])
def test_classes_are_discovered(tmp_path, above):
    write_classes(tmp_path / above, {"b": 2, "a": 3})
    assert found(tmp_path).classes == ["a", "b"]


def test_classes_are_discovered_below_split_folders(tmp_path):
    for part in ("train", "test"):
        write_classes(tmp_path / part, {"b": 2, "a": 3})
    images = found(tmp_path)
    assert images.classes == ["a", "b"]
    assert {image.split for image in images.images} == {"train", "test"}


def test_nested_folders_belong_to_their_class(tmp_path):
    write_classes(tmp_path / "a", {"patient1": 2, "patient2": 1})
    write_classes(tmp_path, {"b": 2})
    assert [image.label for image in found(tmp_path).images] == ["a"] * 3 + ["b"] * 2


def test_some_classes_of_a_set(tmp_path):
    for name in ("COVID", "Normal"):
        write_image(tmp_path / name / "images" / "x.png")
    assert found(tmp_path, "dataset.classes=[covid,healthy]", name="covid").classes == ["covid", "healthy"]


def test_one_class_in_two_folders(tmp_path):
    write_classes(tmp_path, {"healthy": 2, "normal": 1, "ill": 2})
    images = found(tmp_path, "dataset.classes=[ok,ill]", "dataset.class_folders={ok:[healthy,normal]}").images
    assert sorted(image.label for image in images) == ["ill"] * 2 + ["ok"] * 3


def test_images_outside_class_folders_are_counted(two_classes):
    write_image(two_classes / "stray.png")
    assert found(two_classes, "dataset.classes=[cat,dog]").outside == 1


def refused(root, *overrides, name="folder"):
    with pytest.raises(DataError) as error:
        found(root, *overrides, name=name)
    return str(error.value)


def test_root_that_is_a_file(tmp_path):
    write_image(tmp_path / "x.png")
    assert "is a file, not a folder" in refused(tmp_path / "x.png")


def test_missing_class_folder_names_the_nearest(tmp_path):
    write_classes(tmp_path, {"benign": 2, "Malignant": 2, "normal": 1})
    message = refused(tmp_path, name="busi")
    assert "class 'malignant': its folder malignant is not there; did you mean 'Malignant'?" in message
    assert "dataset.class_folders" in message


def test_empty_class_folder(tmp_path):
    write_classes(tmp_path, {"benign": 2, "malignant": 2})
    (tmp_path / "normal").mkdir()
    assert "class 'normal': its folder normal holds no image" in refused(tmp_path, name="busi")


def test_discovered_empty_class_folder(two_classes):
    (two_classes / "bird").mkdir()
    assert "class 'bird': its folder bird holds no image" in refused(two_classes)


@pytest.mark.parametrize("layout", [{}, {"a": 3}])
def test_fewer_than_two_classes(tmp_path, layout):
    write_classes(tmp_path, layout)
    assert "at least two class folders" in refused(tmp_path)


def test_image_of_two_classes(two_classes):
    write_image(two_classes / "cat" / "dog" / "x.png")
    assert "several classes: cat, dog" in refused(two_classes)


def test_images_in_and_outside_split_folders(tmp_path):
    write_classes(tmp_path / "train", {"a": 2, "b": 2})
    write_classes(tmp_path, {"a": 1})
    assert "1 of 5 images lie in no split folder" in refused(tmp_path)


def test_a_loop_of_links_ends(two_classes):
    (two_classes / "cat" / "loop").symlink_to(two_classes, target_is_directory=True)
    assert len(found(two_classes).images) == 50
