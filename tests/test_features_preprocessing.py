"""What is said of a network: in one line, in a JSON of ours, in a hub's."""

import json
from pathlib import Path

import pytest

from handful.errors import UsageError, WeightsError
from handful.features.preprocessing import (
    Preprocessing,
    find_preprocessing,
    from_hub,
    parse_preprocessing,
    read_preprocessing,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_one_line_says_it() -> None:
    said = parse_preprocessing(
        "image_size=224 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 pooling=cls output=/norm/Add_1"
    )
    assert said == Preprocessing(
        image_size=224, mean=MEAN, std=STD, pooling="cls", output="/norm/Add_1"
    )
    assert parse_preprocessing(json.dumps(said.to_dict())) == said
    assert parse_preprocessing(said.to_text()) == said
    assert parse_preprocessing("mean=0.5") == Preprocessing(mean=(0.5,))
    assert parse_preprocessing("value_range=-1,1") == Preprocessing(value_range=(-1.0, 1.0))


@pytest.mark.parametrize(
    ("said", "scale", "offset"),
    [
        (Preprocessing(mean=(0.5,), std=(0.5,)), [2 / 255] * 3, [-1.0] * 3),
        (Preprocessing(value_range=(-1.0, 1.0)), [2 / 255] * 3, [-1.0] * 3),
        (Preprocessing(value_range=(0.0, 255.0)), [1.0] * 3, [0.0] * 3),
        (
            Preprocessing(value_range=(0.0, 255.0), mean=(100.0, 110.0, 120.0)),
            [1.0] * 3,
            [-100.0, -110.0, -120.0],
        ),
    ],
)
def test_normalization_is_a_factor_and_a_summand(
    said: Preprocessing, scale: list[float], offset: list[float]
) -> None:
    assert said.affine()[0] == pytest.approx(scale) and said.affine()[1] == pytest.approx(offset)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("men=0.5", "'men' is no field; expected mean"),
        ("mean", "cannot be read .*expected fields such as 'image_size=224"),
        ("{", "cannot be read"),
        ("mean=0.5,0.5", r"mean is \(0.5, 0.5\); expected one number or three"),
        ("std=0", r"std is \(0.0,\); expected one number or three, above 0"),
        ("std=x", "std is 'x'; expected one number or three"),
        ("mean=nan", "mean is 'nan'; expected one number or three"),
        ("image_size=big", "image_size is 'big'; expected 1 to 4096 pixels"),
        ("image_size=0", "image_size is 0; expected 1 to 4096 pixels"),
        ("value_range=1,0", "expected two numbers, the smaller one first"),
        ("crop_fraction=2", "crop_fraction is 2; expected a number above 0, at most 1"),
        ("pooling=max", "pooling is 'max'; expected one of none, cls, mean"),
        ("layout=CHWN", "expected one of NCHW, NHWC"),
        ("channel_order=rgb", "expected one of RGB, BGR"),
        ('{"mean": "half"}', "mean is 'half'; expected one number or three"),
        ('{"output": 3}', "output is 3; expected a name"),
    ],
)
def test_what_cannot_be_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"`preprocessing`.*{message}"):
        parse_preprocessing(text)


@pytest.mark.parametrize("name", ["net.json", "net.onnx.json", "preprocessor_config.json"])
def test_a_json_beside_the_network_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    if name != "preprocessor_config.json":
        (tmp_path / name).write_text('{"mean": 0.5, "std": 0.5, "value_range": [0, 1]}')
    said = find_preprocessing(tmp_path / "net.onnx", "pooling=mean")
    assert said.affine() == ([2 / 255] * 3, [-1.0] * 3) and said.pooling == "mean"


def test_a_json_that_is_named_takes_the_place_of_the_one_beside(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text('{"mean": 0.5, "pooling": "cls"}')
    (tmp_path / "other.json").write_text('{"mean": 0.25}')
    said = find_preprocessing(tmp_path / "net.onnx", str(tmp_path / "other.json"))
    assert said == Preprocessing(mean=(0.25,))
    assert find_preprocessing(tmp_path / "none.onnx", None) == Preprocessing()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as the preprocessing of a network"),
        ("[]", "cannot be read as the preprocessing of a network: it holds no object"),
        ('{"mean": 7, "sdt": 1}', "'sdt' is no field; expected std"),
        ('{"mean": [1]}', None),
        ('{"image_mean": 3, "image_std": "x"}', "std is 'x'; expected one number or three"),
        ('{"image_mean": [0.5]}', "cannot be read as the preprocessing of a network"),
    ],
)
def test_a_broken_json_is_named(tmp_path: Path, text: str, message: str | None) -> None:
    path = tmp_path / "net.json"
    path.write_text(text)
    if message is None:
        read_preprocessing(path)
        return
    with pytest.raises(WeightsError, match=rf"net\.json.*{message}"):
        read_preprocessing(path)


# As these stand on the hub: DINOv2, CLIP in its old form, ViT without rescaling, ConvNeXt.
@pytest.mark.parametrize(
    ("values", "size", "value_range", "mean"),
    [
        (
            {
                "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224},
                "do_center_crop": True,
                "rescale_factor": 1 / 255,
                "image_mean": list(MEAN),
                "image_std": list(STD),
            },
            224,
            (0.0, 1.0),
            MEAN,
        ),
        (
            {"size": 224, "crop_size": 224, "image_mean": [0.5], "image_std": [0.5]},
            224,
            None,
            (0.5,),
        ),
        ({"size": {"height": 384, "width": 384}, "do_normalize": False}, 384, None, None),
        ({"size": {"height": 224, "width": 224}, "do_rescale": False}, 224, (0.0, 255.0), None),
        ({"size": {"height": 224, "width": 320}}, None, None, None),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 224, None, None),
    ],
)
def test_a_file_of_a_hub_is_understood(
    values: dict[str, object],
    size: int | None,
    value_range: tuple[float, ...] | None,
    mean: tuple[float, ...] | None,
) -> None:
    said = from_hub(values)
    assert (said.image_size, said.mean) == (size, mean)
    assert said.value_range == pytest.approx(value_range or (0.0, 1.0))
