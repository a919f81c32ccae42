"""A network cut in two computes what it computed whole."""

from typing import Any

import numpy as np
import pytest

from handful.errors import UsageError
from handful.features.registry import find_backbone
from handful.models.heads import LinearHead, fit_head
from handful.training.cutting import CutNetwork, check_cut, cut_network, dense_of_head, lower_part

pytestmark = pytest.mark.real
NAMES = ("efficientnet-lite0", "efficientnet-lite0-multilevel")


@pytest.fixture(scope="module", params=NAMES)
def cut(request: Any) -> CutNetwork:
    return cut_network(find_backbone(request.param, None, 64))


@pytest.fixture(scope="module")
def images() -> Any:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)


def test_both_parts_make_the_whole_while_training_too(cut: CutNetwork, images: Any) -> None:
    expected = cut.body(images.astype(np.float32), training=False).numpy()
    maps = cut.lower(images.astype(np.float32))
    for training in (False, True):  # batch norm is in inference mode
        np.testing.assert_allclose(cut.upper(maps, training=training), expected, atol=1e-5)


def test_only_the_upper_parts_kernels_are_trained(cut: CutNetwork) -> None:
    assert cut.lower.trainable_weights == []
    names = [weight.path for weight in cut.upper.trainable_weights]
    assert names and not [name for name in names if "norm" in name]
    head = dense_of_head(
        fit_head(np.eye(8, cut.upper.output_shape[1], dtype=np.float32), np.arange(8) % 2, 2)
    )
    rates = cut.rates(head)
    assert set(rates) == {*names, *(weight.path for weight in head.weights)}
    below = [rates[name] for name in names]
    assert below == sorted(below) and max(below) == 1.0 > rates[head.weights[0].path]


def test_the_frozen_lower_part_gives_the_same(cut: CutNetwork, images: Any) -> None:
    frozen = lower_part(cut, "cpu")
    expected = cut.lower(images.astype(np.float32)).numpy()
    assert frozen.embedding_dim == expected.shape[1]
    np.testing.assert_allclose(frozen.embed(images), expected, atol=1e-3)


def test_gradients_are_numbers_where_a_level_sees_nothing(cut: CutNetwork) -> None:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        total = tf.reduce_sum(cut.upper(tf.zeros((1, cut.upper.input_shape[1]))))
    gradients = tape.gradient(total, cut.upper.trainable_variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_heads_layer_gives_its_probabilities(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (60, 5)).astype(np.float32)
    head = fit_head(features, rng.integers(0, num_classes, 60), num_classes)
    values = dense_of_head(head)(features).numpy()
    given = values if num_classes > 2 else np.hstack([1 - values, values])
    assert isinstance(head, LinearHead)
    np.testing.assert_allclose(given, head.predict_proba(features), atol=1e-5)


def test_two_networks_that_share_their_lower_part_are_averaged(
    cut: CutNetwork, images: Any
) -> None:
    other = CutNetwork(cut.body, cut.lower, cut.upper, cut.rest, cut.crossing)
    width = cut.upper.output_shape[1]
    rng = np.random.default_rng(0)
    heads = [
        dense_of_head(fit_head(rng.normal(size=(9, width)).astype(np.float32), np.arange(9) % 3, 3))
        for _ in range(2)
    ]
    pixels = images.astype(np.float32)
    whole = cut.averaged(heads[0], other, heads[1])(pixels).numpy()
    apart = [cut.with_head(head)(pixels).numpy() for head in heads]
    mean = np.sqrt(apart[0] * apart[1])
    np.testing.assert_allclose(whole, mean / mean.sum(axis=1, keepdims=True), atol=1e-5)


def test_a_network_whose_cut_is_not_known_is_refused() -> None:
    check_cut("efficientnet-lite2-multilevel")
    with pytest.raises(UsageError, match="'resnet50'; fine-tune takes efficientnet-lite0"):
        check_cut("resnet50")
