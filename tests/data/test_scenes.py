"""Generated scenes of shapes: sentences that are true, held-out pairs, captions, and the checker."""

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.sources.problems.scenes.shape_scenes import HELD_OUT
from jaxnets.data.sources.problems.scenes.shapes import BACKGROUND, COLORS, PAIRS, SHAPES, shape_masks, shape_sizes

SCENES = data.shape_scenes(batch_size=512)
BATCHES = {name: SCENES.splits[name][0] for name in ("train", "validation", "test")}
OPPOSITE = {
    "above": "below",
    "below": "above",
    "to the left of": "to the right of",
    "to the right of": "to the left of",
}


def sentences(batch, captions=SCENES.spec):
    return [captions.decode(tokens) for tokens in batch["tokens"]]


def scenes(batch):
    return [data.parse_scene(sentence) for sentence in sentences(batch)]


def noisy(images, std, seed=0):
    noise = 255 * std * np.random.default_rng(seed).standard_normal(images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("split", ["train", "test"])
def test_sentences_are_true_of_images_without_noise(split):
    images = BATCHES[split]["inputs"]
    for scene, image in zip(scenes(BATCHES[split]), images, strict=True):
        match = data.scene_matches(scene, image)
        assert match.exact and match.objects and match.found == match.mentioned == len(scene.objects), scene


def test_noise_hides_few_objects():
    images = noisy(BATCHES["train"]["inputs"][:256], 0.1)
    pairs = zip(scenes(BATCHES["train"]), images, strict=False)
    found = [data.scene_matches(scene, image).exact for scene, image in pairs]
    assert np.mean(found) >= 0.98


@pytest.mark.parametrize("size", [24, 32, 48, 64])
def test_larger_images_have_larger_shapes(size):
    dataset = data.shape_scenes(size, batch_size=6)
    batch = dataset.train[0]
    assert batch["inputs"].shape == (6, size, size, 3)
    assert all(data.scene_matches(*pair).exact for pair in zip(sentences(batch), batch["inputs"], strict=True))
    assert shape_sizes(size)[-1] < size // 2 and shape_sizes(size)[0] >= 5 * size // 16


def test_false_sentences_are_rejected():
    rejected = 0
    for scene, image in zip(scenes(BATCHES["train"])[:40], BATCHES["train"]["inputs"], strict=False):
        (color, shape), *rest = scene.objects
        others = {(other, shape) for other in COLORS} | {(color, other) for other in SHAPES}
        for wrong in others - {*scene.objects}:
            match = data.scene_matches(scene._replace(objects=(wrong, *rest)), image)
            assert not (match.objects or match.relation or match.exact)
            assert (match.found, match.others) == (match.mentioned - 1, 1)
            rejected += 1
        if rest:
            (second,) = rest
            match = data.scene_matches(scene._replace(relation=OPPOSITE[scene.relation]), image)
            assert match.objects and not (match.relation or match.exact)
            swapped = data.scene_matches(scene._replace(objects=(second, scene.objects[0])), image)
            assert swapped.objects and not swapped.relation
            exchanged = ((second[0], shape), (color, second[1]))  # the colors of the two objects
            if set(exchanged) != set(scene.objects):
                assert data.scene_matches(scene._replace(objects=exchanged), image).found == 0
            fewer = data.scene_matches(data.parse_scene(f"a {color} {shape}"), image)
            assert fewer.relation and fewer.others == 1 and not fewer.exact
    assert rejected > 250


def test_nothing_is_found_in_blank_images_noise_and_large_areas():
    random = np.random.default_rng(0)
    for color in (BACKGROUND, *COLORS.values()):
        blank = np.full((16, 16, 3), color, np.uint8)
        half = np.where((np.arange(16) < 8)[:, None], blank, np.array(BACKGROUND, np.uint8))
        assert data.find_objects(blank) == [] and data.find_objects(half) == []
        assert data.find_objects(noisy(blank, 0.1)) == []
    for _ in range(50):
        assert data.find_objects(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)) == []
        assert data.find_objects(random.choice([0, 255], (16, 16, 3)).astype(np.uint8)) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_places_of_objects_are_their_centers(shape):
    image = np.full((16, 16, 3), BACKGROUND, np.uint8)
    image[3:9, 10:16][shape_masks(6)[SHAPES.index(shape)]] = COLORS["blue"]
    assert data.find_objects(image) == [data.SceneObject(shape, "blue", 6.0, 13.0)]
    image[3, 10:16] = BACKGROUND  # a damaged shape is found if enough of it is left
    found = data.find_objects(image, min_iou=0.6)
    assert [(each.shape, each.color) for each in found] == [(shape, "blue")]
    assert data.find_objects(image, min_iou=0.99) == [] or shape == "square"


def test_shapes_differ_in_all_sizes():
    for size in (5, 6, 7):
        masks = shape_masks(size).reshape(len(SHAPES), -1).astype(int)
        common = masks @ masks.T
        overlap = common / (masks.sum(1)[:, None] + masks.sum(1) - common)
        assert np.all(overlap[~np.eye(len(SHAPES), dtype=bool)] < 0.85)


def test_held_out_pairs_are_only_in_the_test_split():
    objects = {
        name: [{" ".join(each) for each in scene.objects} for scene in scenes(BATCHES[name])] for name in BATCHES
    }
    assert set().union(*objects["train"]) == set().union(*objects["validation"]) == set(PAIRS) - {*HELD_OUT}
    assert all(pairs & {*HELD_OUT} for pairs in objects["test"])
    assert set().union(*objects["test"]) == set(PAIRS)
    firsts = [scene.objects[0] for scene in scenes(BATCHES["test"]) if scene.relation]
    assert 0.4 < np.mean([" ".join(each) in HELD_OUT for each in firsts]) < 0.7  # first or second at random


def test_all_paraphrases_relations_and_numbers_of_objects_occur():
    found = scenes(BATCHES["train"])
    counts = {relation: sum(scene.relation == relation for scene in found) for relation in (None, *OPPOSITE)}
    assert counts[None] == pytest.approx(256, abs=60) and min(counts.values()) > 40
    assert all(len({*scene.objects}) == len(scene.objects) for scene in found)
    texts = sentences(BATCHES["train"])
    starts = ("there is", "an image of", "a picture with", "a scene with", "above", "to the left of")
    assert all(any(text.startswith(start) for text in texts) for start in starts)
    assert any(" is below " in text for text in texts)
    alone = data.shape_scenes(max_objects=1, batch_size=64).train[0]
    assert {len(scene.objects) for scene in scenes(alone)} == {1}


def test_batches_depend_only_on_seed_split_and_step():
    one, other = data.shape_scenes(batch_size=5, seed=1), data.shape_scenes(batch_size=5, seed=2)
    batch = one.train[3]
    kinds = {name: (array.shape, array.dtype) for name, array in batch.items()}
    length = one.spec.max_seq_len
    assert kinds == {
        "inputs": ((5, 16, 16, 3), np.uint8),
        "tokens": ((5, length), np.int32),
        "lengths": ((5,), np.int32),
        "mask": ((5,), bool),
    }
    assert all(
        np.array_equal(array, data.shape_scenes(batch_size=5, seed=1).train[3][name]) for name, array in batch.items()
    )
    for different in (one.train[4], other.train[3], one.splits["validation"][3], one.splits["test"][3]):
        assert not np.array_equal(different["inputs"], batch["inputs"])
    assert np.array_equal(one.splits["test"][0]["tokens"], other.splits["test"][0]["tokens"])
    assert one.fingerprint != data.shape_scenes(batch_size=5, held_out=HELD_OUT[:1]).fingerprint


def test_captions_encode_sentences():
    captions, batch = SCENES.spec, BATCHES["train"]
    assert captions.size == len(captions.words) + 1
    for sentence, tokens, length in zip(sentences(batch)[:50], batch["tokens"], batch["lengths"], strict=False):
        encoded, count = captions.encode(f" {sentence.upper()}. ")
        np.testing.assert_array_equal(encoded, tokens)
        assert encoded.dtype == np.int32 and count == length and not tokens[length:].any()


@pytest.mark.parametrize(
    "text, message",
    [
        ("a pruple circle", "unknown word 'pruple'; nearest: 'purple'"),
        ("a 0123 circle", "unknown word '0123'; known: a, above, an, below"),
        ("", "a caption must have 1 to 13 words, got 0"),
        (" . ", "a caption must have 1 to 13 words, got 0"),
        ("a " * 14, "a caption must have 1 to 13 words, got 14"),
        (3, "`text` must be a string, got 3"),
    ],
)
def test_captions_reject_other_texts(text, message):
    with pytest.raises(ValueError, match=message):
        SCENES.spec.encode(text)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: data.Captions((), 3), "`words` must be distinct, at least one"),
        (lambda: data.Captions(("a", "a"), 3), "`words` must be distinct, at least one"),
        (lambda: data.Captions(("A",), 3), "`words` must be single words in lower case"),
        (lambda: data.Captions(("a b",), 3), "`words` must be single words in lower case"),
        (lambda: data.Captions(("a",), 0), "`max_seq_len` must be an integer of at least 1, got 0"),
        (lambda: data.Captions(("a",), 2**20), "`words` and `max_seq_len` must be at most 65,536"),
        (lambda: data.Captions(("a",), 3).decode([2]), "token ids must be from 0 to 1, got 2"),
        (lambda: data.shape_scenes(20), "`image_size` must be a multiple of 8 from 16 to 64, got 20"),
        (lambda: data.shape_scenes(8), "`image_size` must be a multiple of 8 from 16 to 64, got 8"),
        (lambda: data.shape_scenes(max_objects=3), "`max_objects` must be 1 or 2, got 3"),
        (lambda: data.shape_scenes(max_objects=0), "`max_objects` must be an integer of at least 1, got 0"),
        (lambda: data.shape_scenes(held_out=()), "`held_out` must be pairs of color and shape, .* got \\(\\)"),
        (lambda: data.shape_scenes(held_out=("red star",)), "`held_out` must be pairs .* got 'red star'"),
        (lambda: data.shape_scenes(held_out=PAIRS[:4]), "`held_out` must leave a pair of every .* got all of red"),
        (lambda: data.parse_scene("two red circles"), "`sentence` must describe one or two objects, .* got 'two red"),
        (lambda: data.parse_scene("a red circle above"), "`sentence` must describe one or two objects"),
        (lambda: data.find_objects(np.zeros((16, 16, 3))), "`image` must be uint8 of shape \\(H, W, 3\\), got float64"),
        (lambda: data.find_objects(np.zeros((16, 24, 3), np.uint8)), "`image` must be square"),
        (lambda: data.find_objects(np.zeros((15, 15, 3), np.uint8)), "`image_size` must be a multiple of 8"),
        (lambda: data.find_objects(np.zeros((16, 16, 3), np.uint8), 1.5), "`min_iou` must be a number between 0 and 1"),
    ],
)
def test_invalid_arguments_are_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
