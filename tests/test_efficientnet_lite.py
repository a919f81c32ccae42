import zipfile

import numpy as np
import pytest

from handful.errors import WeightsError
from handful.networks.backbones import build_network, find_backbone

# TensorFlow's tensors do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def sample_photos(size: int) -> np.ndarray:
    import cv2
    from sklearn.datasets import load_sample_images

    return np.stack([cv2.resize(image, (size, size)) for image in load_sample_images().images])


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("efficientnet-lite0", 4_652_008),
        ("efficientnet-lite1", 5_416_680),
        ("efficientnet-lite2", 6_092_072),
    ],
)
def test_lite_networks_have_the_published_number_of_parameters(name, parameters):
    backbone = find_backbone(name)
    network = build_network(backbone, include_top=True)
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == parameters
    assert network.output_shape == (None, 1000)
    body = build_network(backbone)
    assert body.input_shape == (None, backbone.image_size, backbone.image_size, 3)
    assert body.output_shape == (None, 1280)


# ImageNet's numbers: cats 281 to 285 and dogs 151 to 268.
CATS, DOGS = range(281, 286), range(151, 269)


@pytest.mark.real
def test_the_top_class_of_known_pictures_is_sensible():
    network = build_network(find_backbone(), include_top=True)
    tower, flower = np.argsort(-network.predict(sample_photos(224), verbose=0), axis=1)
    # A tower of the Summer Palace in Beijing: bell cote, palace, monastery, stupa. A dahlia:
    # daisy, the flower that is nearest to it among the thousand classes.
    assert {442, 663, 698, 832} <= set(tower[:6])
    assert tower[0] in {442, 698}
    assert flower[0] == 985


@pytest.mark.real
def test_cats_and_dogs_are_taken_for_cats_and_dogs(shared_folder):
    import cv2

    images, expected = [], []
    with zipfile.ZipFile(shared_folder / "data" / "cats_and_dogs_filtered.zip") as archive:
        for kind, numbers in (("cats", CATS), ("dogs", DOGS)):
            names = sorted(n for n in archive.namelist() if f"validation/{kind}/" in n)
            for name in [n for n in names if n.endswith(".jpg")][:20]:
                data = np.frombuffer(archive.read(name), np.uint8)
                image = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]
                images.append(cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA))
                expected.append(numbers)
    network = build_network(find_backbone(), include_top=True)
    found = network.predict(np.stack(images), verbose=0).argmax(1)
    right = [number in numbers for number, numbers in zip(found, expected, strict=True)]
    assert len(right) == 40
    assert np.mean(right) > 0.85


@pytest.mark.real
def test_torch_weights_of_another_network_are_refused(tmp_path):
    lite1 = find_backbone("efficientnet-lite1").weights_path
    with pytest.raises(WeightsError, match=r"has tensors of another shape: _blocks"):
        build_network(find_backbone(weights_path=lite1))
    with pytest.raises(WeightsError, match=r"no place for|of another shape|has no tensor"):
        build_network(find_backbone("efficientnet-lite1", find_backbone().weights_path))
