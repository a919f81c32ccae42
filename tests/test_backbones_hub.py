"""Networks of a hub: fetched from a stand-in for it, kept, found again offline, refused."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import REPOSITORY
from handful.errors import MissingExtraError, UsageError
from handful.features.backbones import hub as hub_module
from handful.features.backbones.hub import HUB_NETWORKS
from handful.features.registry import find_backbone
from hub_server import COMMIT, TOKEN, Hub, serving
from networks import write_classifier, write_map_network, write_transformer

PROCESSOR = {
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "size": {"shortest_edge": 36},
    "rescale_factor": 1 / 255,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.25, 0.3],
}
# What a process does: names to open, and what came of each.
SCRIPT = """
import json, sys
from handful.errors import HandfulError
from handful.features.registry import find_backbone, load_extractor
from handful.reporting import Reporter
class Told(Reporter):
    lines, most = [], 0
    def log(self, line): self.lines.append(line)
    def progress(self, done, total): self.most = max(self.most, total)
for name in sys.argv[1:]:
    told = Told()
    try:
        with told.phase("convert"):
            found = find_backbone(name, reporter=told)
        dim = load_extractor(found, "f32").embedding_dim
        result = {**found.metadata.provenance, "dim": dim, "told": told.lines, "bytes": told.most}
    except HandfulError as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    network = write_transformer(tmp_path / "tokens.onnx", batch="N").read_bytes()
    logits = write_classifier(tmp_path / "logits.onnx").read_bytes()
    apart = write_map_network(tmp_path / "apart" / "model.onnx", external="model.onnx_data")
    processor = json.dumps(PROCESSOR).encode()
    files = {
        "me/tokens": {"onnx/model.onnx": network, "preprocessor_config.json": processor},
        "me/logits": {"model.onnx": logits, "preprocessor_config.json": processor},
        "me/apart": {
            "onnx/model.onnx": apart.read_bytes(),
            "onnx/model.onnx_data": apart.with_name("model.onnx_data").read_bytes(),
            "preprocessor_config.json": processor,
        },
        "me/silent": {"my/net.onnx": logits},
        "me/secret": {"onnx/model.onnx": network, "preprocessor_config.json": processor},
        "me/gated": {"onnx/model.onnx": network},
        "me/torch": {"model.safetensors": b"weights"},
        "Xenova/dino-vits16": {"onnx/model.onnx": network, "preprocessor_config.json": processor},
        "Xenova/dinov2-small": {"onnx/model.onnx": network, "preprocessor_config.json": processor},
    }
    with serving(Hub(files, private={"me/secret"}, gated={"me/gated"})) as server:
        yield server


def opened(hub: Hub, home: Path, *names: str, **variables: str) -> list[dict[str, object]]:
    """What a process of its own finds under some names."""
    environment = {**os.environ, **hub.environment(home), **variables}
    command = [sys.executable, "-c", SCRIPT, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_networks_are_fetched_with_what_they_take(hub: Hub, tmp_path: Path) -> None:
    names = ("hf:me/tokens", "hf:me/logits@v1", "hf:me/apart", "dinov2-small", "DINOv2-small@main")
    (dino,) = opened(hub, tmp_path / "home", "dino-small")
    assert dino["dim"] == 16 and '"output": "last_hidden_state"' in str(dino["preprocessing"])
    tokens, logits, apart, small, again = opened(hub, tmp_path / "home", *names)
    assert tokens["backbone"] == "hf:me/tokens" and tokens["revision"] == COMMIT
    assert tokens["source"] == "hub: me/tokens, onnx/model.onnx"
    assert (
        tokens["license"] == "that of its model card" and len(str(tokens["weights_sha256"])) == 64
    )
    assert tokens["dim"] == 12 and int(str(tokens["bytes"])) > 1000
    (line,) = tokens["told"]  # type: ignore[misc]
    assert line == (
        "hf:me/tokens takes 32 x 32 pixels, RGB, NCHW, values 0 to 1, mean 0.4 0.5 0.6, std 0.2 "
        "0.25 0.3; its embedding is all of pooler_output, 12 features (layout, output, pooling "
        "found out from the network)."
    )
    assert (logits["source"], logits["dim"]) == ("hub: me/logits, model.onnx", 16)
    assert (apart["dim"], small["dim"]) == (16, 12)
    assert (small["backbone"], small["license"]) == ("dinov2-small", "Apache-2.0")
    assert again["preprocessing"] == small["preprocessing"] == tokens["preprocessing"]


@pytest.mark.slow
def test_a_second_use_needs_no_network(hub: Hub, tmp_path: Path) -> None:
    home, names = tmp_path / "home", ("hf:me/tokens", "hf:me/apart", f"hf:me/tokens@{COMMIT}")
    first = opened(hub, home, *names)
    asked = len(hub.asked)
    offline = opened(hub, home, *names, "hf:me/logits", HF_HUB_OFFLINE="1")
    assert len(hub.asked) == asked
    gone = opened(hub, home, *names, "hf:me/logits", HF_ENDPOINT="http://127.0.0.1:9")
    for found in (offline, gone):
        expected = [{**one, "bytes": 0} for one in first]
        assert [{**one, "bytes": 0} for one in found[:3]] == expected
        assert str(found[3]["error"]).startswith(
            "WeightsError: hf:me/logits is not on this computer, and the hub cannot be asked"
        )


@pytest.mark.slow
def test_what_cannot_be_fetched_is_said(hub: Hub, tmp_path: Path) -> None:
    names = {
        "hf:me/nothing": "WeightsError: The hub has no hf:me/nothing, or it is private.*HF_TOKEN",
        "hf:me/secret": "WeightsError: The hub has no hf:me/secret, or it is private.*HF_TOKEN",
        "hf:me/gated": "WeightsError: hf:me/gated is given only to those who agreed to its terms",
        "hf:me/tokens@v9": "WeightsError: hf:me/tokens has no revision 'v9'; expected a branch",
        "hf:me/torch": "WeightsError: hf:me/torch has no network in a format that handful reads",
        "hf:me/silent": r"WeightsError: hf:me/silent has no network.*hf:OWNER/NAME/FILE\.onnx",
        "hf:me/silent/my/net.onnx": "UsageError: .*does not tell what it expects of a pixel's",
        "hf:me/to--kens": "WeightsError: hf:me/to--kens is no address on the hub",
    }
    found = opened(hub, tmp_path / "home", *names)
    for one, message in zip(found, names.values(), strict=True):
        assert re.match(message, str(one["error"])), one
    (secret,) = opened(hub, tmp_path / "home", "hf:me/secret", HF_TOKEN=TOKEN)
    assert secret["dim"] == 12


@pytest.mark.parametrize("name", ["hf:", "hf:me", "hf:me/", "hf:me/x@", "hf:me/x@a@b", "hf:me/x/y"])
def test_an_address_that_is_none_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=r"expected hf:OWNER/NAME, as in hf:Xenova/dinov2-small"):
        find_backbone(name)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for name in ("hf:me/x", "dinov2-small"):
        with pytest.raises(MissingExtraError, match=r"needs huggingface-hub, .*handful\[hub\]"):
            find_backbone(name)


def test_every_short_name_says_what_it_is() -> None:
    assert len(HUB_NETWORKS) >= 12
    for name, network in HUB_NETWORKS.items():
        metadata = hub_module.BACKBONES[name].metadata
        assert network.repository.count("/") == 1 and network.license and network.megabytes > 10
        assert (metadata.embedding_dim, metadata.image_size) == (
            network.embedding_dim,
            network.image_size,
        )


def test_the_page_lists_every_short_name() -> None:
    text = (REPOSITORY / "docs" / "backbones.md").read_text(encoding="utf-8")
    for name, network in HUB_NETWORKS.items():
        license = network.license.replace("-License", " License")
        assert (
            f"| `{name}` | {network.repository} | {license} | {network.megabytes:.0f} | "
            f"{network.embedding_dim:,} | {network.gmacs} |"
        ) in text
