"""Copies of a picture, against a brute force over all bits of all pairs."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from medclf.data import duplicates
from medclf.data.duplicates import BLOCK, DuplicateGroups, _near_pairs, find_duplicates, hamming_distance, link_groups
from medclf.data.image_fingerprints import Fingerprint, compute_fingerprints
from medclf.utils.errors import DataError


def picture(seed):
    """Soft shapes and a little noise, as an ultrasound image has."""
    rng = np.random.default_rng(seed)
    soft = gaussian_filter(rng.normal(size=(200, 260)), 12)
    soft = (soft - soft.min()) / (soft.max() - soft.min()) * 220 + rng.normal(0, 3, soft.shape)
    return Image.fromarray(np.clip(soft, 0, 255).astype(np.uint8))


def taken(root, images):
    """The fingerprints of images that are saved by name."""
    for name, (image, options) in images.items():
        image.save(root / name, **options)
    return compute_fingerprints(root, list(images), root / "store", progress=False)


def made(sha256, bits=0):
    return Fingerprint(sha256, 1, 1, "L", f"{bits:064x}")


def test_equal_files():
    prints = [made(content) for content in "abcaab"]
    exact = find_duplicates(prints, None).exact
    assert exact.tolist() == [[0, 3], [0, 4], [1, 5]]


def test_without_near_only_equal_files_count():
    prints = [made("a"), made("b"), made("a")]
    found = find_duplicates(prints, None)
    assert found.near.shape == (0, 2)
    assert found.pairs.tolist() == [[0, 2]]


def test_an_exact_pair_is_no_near_pair():
    prints = [made("a"), made("b"), made("a")]
    found = find_duplicates(prints, 0)
    assert found.exact.tolist() == [[0, 2]]
    assert found.near.tolist() == [[0, 1], [1, 2]]
    assert found.pairs.tolist() == [[0, 2], [0, 1], [1, 2]]
    assert found.exact_and([[1, 2]]).tolist() == [[0, 2], [1, 2]]
    assert found.exact_and([]).tolist() == [[0, 2]]


@pytest.mark.parametrize("near", [None, 32])
def test_no_images(near):
    assert find_duplicates([], near).pairs.shape == (0, 2)


@pytest.mark.parametrize("near", [0, 5, 64])
def test_the_limit_itself_is_near(near):
    inside, outside = (1 << near) - 1, (1 << (near + 1)) - 1
    assert find_duplicates([made("a"), made("b", inside)], near).near.tolist() == [[0, 1]]
    assert find_duplicates([made("a"), made("b", outside << 150)], near).near.tolist() == []


def test_one_picture_in_other_files(tmp_path):
    images = {
        "one.png": (picture(1), {}),
        "half.png": (picture(1).resize((130, 100)), {}),
        "saved.jpg": (picture(1), {"quality": 80}),
        "brighter.png": (picture(1).point(lambda value: value * 0.8 + 30), {}),
        "other.png": (picture(2), {}),
    }
    prints = taken(tmp_path, images)
    found = find_duplicates(prints, 32)
    assert found.exact.tolist() == []
    assert found.near.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert min(hamming_distance(prints[4], value) for value in prints[:4]) > 50


def test_different_noise_is_not_near(tmp_path):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (60, 80), dtype=np.uint8)) for _ in range(12)]
    prints = taken(tmp_path, {f"{index}.png": (image, {}) for index, image in enumerate(noise)})
    assert find_duplicates(prints, 32).pairs.tolist() == []


def test_distance():
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = (int.from_bytes(rng.bytes(32), "big") for _ in range(2))
        assert hamming_distance(made("a", one), made("b", other)) == bin(one ^ other).count("1")
    assert hamming_distance(made("a", 0), made("b", 2**256 - 1)) == 256


@pytest.mark.parametrize("count", [1, 2, BLOCK, 2 * BLOCK + 50])
def test_near_pairs_against_a_brute_force(count):
    """Rows are a few pictures, each with up to 40 bits turned, so that many pairs lie on both sides of the limit."""
    rng = np.random.default_rng(count)
    bits = rng.integers(0, 2, (60, 256), dtype=np.uint8)[rng.integers(0, 60, count)]
    for row in bits:
        row[rng.choice(256, rng.integers(0, 40), replace=False)] ^= 1
    words = np.packbits(bits, axis=1).view(">u8").astype(np.uint64)
    both = bits.astype(np.float32)
    distances = both @ (1 - both.T) + (1 - both) @ both.T
    expected = np.argwhere(np.triu(distances <= 32, 1))
    found = _near_pairs(words, np.arange(count), 32)
    assert found.tolist() == expected.tolist()
    if count > BLOCK:
        assert ((expected[:, 0] < BLOCK) & (expected[:, 1] >= BLOCK)).any()
        assert (expected[:, 0] >= BLOCK).any()


def test_words_of_a_hash():
    """The same pairs from hexadecimal hashes, across the border of a block."""
    rng = np.random.default_rng(0)
    hashes = [int.from_bytes(rng.bytes(32), "big") for _ in range(BLOCK + 3)]
    hashes[BLOCK] = hashes[BLOCK - 1] ^ (2**255 + 1)
    hashes[BLOCK + 2] = hashes[0] ^ (2**64 + 2**63)
    found = find_duplicates([made(str(index), value) for index, value in enumerate(hashes)], 2)
    assert found.near.tolist() == [[0, BLOCK + 2], [BLOCK - 1, BLOCK]]


def pairs(*rows):
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def test_linked_joins_transitively():
    groups = ["e", "d", "c", "b", "a", "x"]
    assert link_groups(groups, pairs((0, 1), (1, 2), (3, 4))) == ["c", "c", "c", "a", "a", "x"]


def test_linked_joins_whole_groups():
    """Two images of patients b and c are one picture: all images of both belong together."""
    groups = ["c", "b", "a", "c", "b"]
    assert link_groups(groups, pairs((0, 4))) == ["b", "b", "a", "b", "b"]


def test_without_pairs_groups_stay():
    groups = ["b", "a", "b", "10", "9"]
    assert link_groups(groups, pairs()) == groups


def test_pair_within_a_group():
    assert link_groups(["a", "a", "b"], pairs((0, 1))) == ["a", "a", "b"]


def test_pairs_among_some_images():
    pairs = DuplicateGroups(np.array([[0, 1], [2, 4]]), np.array([[1, 3], [3, 4]]))
    some = pairs.among([True, False, True, True, True])
    assert some.exact.tolist() == [[1, 3]]
    assert some.near.tolist() == [[2, 3]]


def test_memory_does_not_grow_with_the_square_of_the_copies_of_an_image(monkeypatch):
    """Pairs of equal files are no near pairs; of others that all look alike there may be so many."""
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 1000)
    assert len(find_duplicates([made("a")] * 300, 32).pairs) == 299
    assert len(find_duplicates([made(str(at)) for at in range(45)], 32).near) == 990
    with pytest.raises(DataError, match=r"over 1,000 pairs of images look alike.*: dataset\.duplicates\.near=null"):
        find_duplicates([made(str(at)) for at in range(46)], 32)
