import dataclasses
import json
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.data.decoding import resize
from handful.exporting import web_page
from handful.exporting.web_page import (
    make_page,
    network_bytes,
    quantized_directions,
    size_note,
    unpack,
)
from handful.exporting.web_runtime import WebRuntime
from handful.models.classifier import Classifier
from handful.models.novelty import reference_of

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

RUNTIME = WebRuntime("let a=import.meta.url;export{a as Tensor,a as default};\n//# map", b"\0asm")
METADATA = {
    "handful_version": "1",
    "runtime_version": "2",
    "backbone": "tiny",
    "weights_license": "MIT",
    "weights_source": "",
}


@pytest.fixture(scope="module")
def classifier(tiny_run: Path) -> Classifier:
    return Classifier.load(tiny_run)


def page_of(classifier: Classifier, figures: dict[str, Any] | None = None) -> web_page.WebPage:
    return make_page(classifier, "int16", METADATA, figures, RUNTIME)


def described(html: bytes) -> dict[str, Any]:
    found = re.search(rb'id="about-json">([^<]*)<', html)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_the_network_in_the_page_answers_as_handful_does(classifier: Classifier) -> None:
    html = page_of(classifier).html
    assert unpack(html, "network") == network_bytes(classifier, "int16", METADATA)
    session = onnxruntime.InferenceSession(unpack(html, "network"))
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    squares = np.stack([resize(image, classifier.settings) for image in images])
    embeddings, probabilities = session.run(["embeddings", "probabilities"], {"images": squares})
    assert np.abs(probabilities - classifier.predict_proba(images)).max() < 1e-2
    assert embeddings.shape == (3, 48)


def test_the_page_knows_names_thresholds_and_figures(classifier: Classifier) -> None:
    figures = {"num_images": 1234, "accuracy": 0.5, "accuracy_interval": [0.42, 0.58], "more": 1}
    page = page_of(classifier, figures)
    content = described(page.html)
    assert content["classNames"] == ["round", "square"]
    assert content["figures"] == {key: figures[key] for key in content["figures"]}
    assert classifier.calibration is not None
    rows = classifier.calibration.to_dict()["abstaining"]
    assert [row["threshold"] for row in content["abstaining"]] == [r["threshold"] for r in rows]
    text = page.html.decode()
    assert "Correct on 617 of 1,234 photos" in text and "expect 42 to 58 of 100" in text
    assert "Correct on" not in page_of(classifier).html.decode()


def test_hostile_names_stay_texts(classifier: Classifier) -> None:
    names = ("</script><script>alert(1)</script>", 'a"&<b>\u2028')
    hostile = Classifier(names, classifier.extractor, classifier.head, classifier.settings)
    html = page_of(hostile).html
    assert described(html)["classNames"] == list(names)
    assert b"<script>alert" not in html and b"<b>" not in html
    assert html.count(b"</script>") == page_of(classifier).html.count(b"</script>") - 1


def test_the_policy_allows_the_page_s_own_texts_alone(classifier: Classifier) -> None:
    html = page_of(classifier).html
    found = re.search(rb'Content-Security-Policy" content="([^"]*)"', html)
    assert found is not None
    rules = dict(rule.strip().split(" ", 1) for rule in found[1].decode().split(";"))
    assert rules["default-src"] == "'none'" and "connect-src" not in rules
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), html, re.DOTALL)
        assert f"'sha256-{b64encode(sha256(content).digest()).decode()}'" in rules[rule]
    assert "unsafe-inline" not in found[1].decode() and "unsafe-eval'" in rules["script-src"]
    # Nothing of it names another place.
    outside = re.sub(rb'<script type="text/plain".*?</script>', b"", html, flags=re.DOTALL)
    assert not re.findall(rb'(?:src|href)="|url\(|https?://', outside)


def test_training_photos_are_in_it_where_there_is_room(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of(classifier)
    reference = classifier.reference
    assert page.tells_unusual and reference is not None
    told = described(page.html)["reference"]
    steps = np.frombuffer(unpack(page.html, "reference"), np.int8)
    steps = steps.reshape(told["numPhotos"], -1)
    assert np.abs(steps * told["scale"] - reference.directions).max() <= told["scale"] * 0.51
    assert b"looks unlike those" in page.html
    monkeypatch.setattr(web_page, "MAX_BYTES", len(page.html) - 1)
    smaller = page_of(classifier)
    assert not smaller.tells_unusual and "reference" not in described(smaller.html)
    assert b"cannot tell a photo of something else" in smaller.html


def test_a_large_page_is_said_to_be_one() -> None:
    assert size_note(14_900_000) == ""
    assert size_note(31_000_000).startswith("The page has 31.0 MB, for the network is a large one")


def test_8_bits_move_distances_little() -> None:
    rng = np.random.default_rng(0)
    embeddings = np.maximum(rng.normal(0.2, 1, (200, 256)), 0).astype(np.float32)
    reference = reference_of(embeddings, np.arange(200))
    assert reference is not None
    steps, _ = quantized_directions(reference)
    rounded = steps / np.linalg.norm(steps.astype(np.float32), axis=1, keepdims=True)
    other = dataclasses.replace(reference, directions=rounded.astype(np.float16))
    queries = np.maximum(rng.normal(0.2, 1, (50, 256)), 0).astype(np.float32)
    assert np.abs(reference.distances(queries) - other.distances(queries)).max() < 2e-3


def test_the_runtime_s_module_becomes_a_plain_script(classifier: Classifier) -> None:
    code = unpack(page_of(classifier).html, "code").decode()
    assert code.startswith('"use strict";\nlet a=self.location.href;\nconst ort = {Tensor: a};\n')
    assert "import.meta" not in code and "export{" not in code
