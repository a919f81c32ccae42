"""The pretrained bodies of Keras Applications: what each is, and where its weights come from.

The table is written out, so that a name, a size or a digest costs no import of Keras and
`handful predict` starts at once. A test compares it with `keras.applications` itself.
"""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from handful.errors import WeightsError
from handful.files.atomic import open_regular
from handful.files.drafts import Draft

DOWNLOAD_TIMEOUT_SECONDS = 10.0

_logger = logging.getLogger("handful")
_BUCKET = "https://storage.googleapis.com/tensorflow/keras-applications/"


@dataclass(frozen=True)
class Family:
    """What the bodies of one module of `keras.applications` have in common.

    Args:
        url: Folder that the official weights lie in.
        preprocessing: What the body expects of its input, RGB in [0, 255]: "tf" scales to
            [-1, 1]; "torch" takes ImageNet's mean and deviation off; "caffe" swaps to BGR and
            takes the mean off; "sqrt" is EfficientNet's correction, see
            `handful.features.registry.normalize`; "none" needs nothing.
        license: Under which the weights were published.
    """

    url: str
    preprocessing: str
    license: str


@dataclass(frozen=True)
class KerasBody:
    """One network of Keras Applications, without its classification layer.

    Args:
        constructor: Its name in `keras.applications`.
        family: Its module in `keras.applications`.
        image_size: Side in pixels of the square pictures it was trained on.
        embedding_dim: Width of its features after global average pooling.
        file_name: Name of the official weights file in Keras' cache.
        checksum: MD5 or SHA-256 of that file in hexadecimal, as Keras lists it; empty for the two
            that Keras lists none for.
    """

    constructor: str
    family: str
    image_size: int
    embedding_dim: int
    file_name: str
    checksum: str

    @property
    def url(self) -> str:
        """Address of the official weights file."""
        # NASNet's files alone are stored under another name than they are served.
        served = self.file_name.replace("nasnet_", "NASNet-").replace("_no_top", "-no-top")
        return FAMILIES[self.family].url + (served if self.family == "nasnet" else self.file_name)


FAMILIES = {
    "convnext": Family(_BUCKET + "convnext/", "none", "MIT"),
    "densenet": Family(_BUCKET + "densenet/", "torch", "BSD-3-Clause"),
    "efficientnet": Family(
        "https://storage.googleapis.com/keras-applications/", "sqrt", "Apache-2.0"
    ),
    "efficientnet_v2": Family(_BUCKET + "efficientnet_v2/", "none", "Apache-2.0"),
    "inception_resnet_v2": Family(_BUCKET + "inception_resnet_v2/", "tf", "Apache-2.0"),
    "inception_v3": Family(_BUCKET + "inception_v3/", "tf", "Apache-2.0"),
    "mobilenet": Family(_BUCKET + "mobilenet/", "tf", "Apache-2.0"),
    "mobilenet_v2": Family(_BUCKET + "mobilenet_v2/", "tf", "Apache-2.0"),
    "mobilenet_v3": Family(_BUCKET + "mobilenet_v3/", "none", "Apache-2.0"),
    "nasnet": Family(_BUCKET + "nasnet/", "tf", "Apache-2.0"),
    "resnet": Family(_BUCKET + "resnet/", "caffe", "MIT"),
    "resnet_v2": Family(_BUCKET + "resnet/", "tf", "MIT"),
    "vgg16": Family(_BUCKET + "vgg16/", "caffe", "CC-BY-4.0"),
    "vgg19": Family(_BUCKET + "vgg19/", "caffe", "CC-BY-4.0"),
    "xception": Family(_BUCKET + "xception/", "tf", "MIT"),
}

# Constructor, module, image size, embedding width, weights file, checksum.
_ROWS = """
ConvNeXtBase convnext 224 1024 convnext_base_notop.h5 40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45
ConvNeXtLarge convnext 224 1536 convnext_large_notop.h5 96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd
ConvNeXtSmall convnext 224 768 convnext_small_notop.h5 6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab
ConvNeXtTiny convnext 224 768 convnext_tiny_notop.h5 d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1
ConvNeXtXLarge convnext 224 2048 convnext_xlarge_notop.h5 de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05
DenseNet121 densenet 224 1024 densenet121~_notop.h5 30ee3e1110167f948a6b9946edeeb738
DenseNet169 densenet 224 1664 densenet169~_notop.h5 b8c4d4c20dd625c148057b9ff1c1176b
DenseNet201 densenet 224 1920 densenet201~_notop.h5 c13680b51ded0fb44dff2d8f86ac8bb1
EfficientNetB0 efficientnet 224 1280 efficientnetb0_notop.h5 50bc09e76180e00e4465e1a485ddc09d
EfficientNetB1 efficientnet 240 1280 efficientnetb1_notop.h5 74c4e6b3e1f6a1eea24c589628592432
EfficientNetB2 efficientnet 260 1408 efficientnetb2_notop.h5 111f8e2ac8aa800a7a99e3239f7bfb39
EfficientNetB3 efficientnet 300 1536 efficientnetb3_notop.h5 af6d107764bb5b1abb91932881670226
EfficientNetB4 efficientnet 380 1792 efficientnetb4_notop.h5 ebc24e6d6c33eaebbd558eafbeedf1ba
EfficientNetB5 efficientnet 456 2048 efficientnetb5_notop.h5 38879255a25d3c92d5e44e04ae6cec6f
EfficientNetB6 efficientnet 528 2304 efficientnetb6_notop.h5 9ecce42647a20130c1f39a5d4cb75743
EfficientNetB7 efficientnet 600 2560 efficientnetb7_notop.h5 cbcfe4450ddf6f3ad90b1b398090fe4a
EfficientNetV2B0 efficientnet_v2 224 1280 efficientnetv2-b0_notop.h5 893217f2bb855e2983157299931e43ff
EfficientNetV2B1 efficientnet_v2 240 1280 efficientnetv2-b1_notop.h5 0e80663031ca32d657f9caa404b6ec37
EfficientNetV2B2 efficientnet_v2 260 1408 efficientnetv2-b2_notop.h5 1dfe2e7a5d45b6632553a8961ea609eb
EfficientNetV2B3 efficientnet_v2 300 1536 efficientnetv2-b3_notop.h5 f6abf7b5849ac99a89b50dd3fd532856
EfficientNetV2L efficientnet_v2 480 1280 efficientnetv2-l_notop.h5 b0b66b5c863aef5b46e8608fe1711615
EfficientNetV2M efficientnet_v2 480 1280 efficientnetv2-m_notop.h5 1b8dc055df72dde80d614482840fe342
EfficientNetV2S efficientnet_v2 384 1280 efficientnetv2-s_notop.h5 af0682fb74e8c54910f2d4393339c070
InceptionResNetV2 inception_resnet_v2 299 1536 inception_resnet_v2~_notop.h5 d19885ff4a710c122648d3b5c3b684e4
InceptionV3 inception_v3 299 2048 inception_v3~_notop.h5 bcbd6486424b2319ff4ef7d526e38f63
MobileNet mobilenet 224 1024 mobilenet_1_0_224_tf_no_top.h5 -
MobileNetV2 mobilenet_v2 224 1280 mobilenet_v2~_1.0_224_no_top.h5 -
MobileNetV3Large mobilenet_v3 224 960 weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5 07fb09a5933dd0c8eaafa16978110389
MobileNetV3Small mobilenet_v3 224 576 weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5 d3e8ec802a04aa4fc771ee12a9a9b836
NASNetLarge nasnet 331 4032 nasnet_large_no_top.h5 d81d89dc07e6e56530c4e77faddd61b5
NASNetMobile nasnet 224 1056 nasnet_mobile_no_top.h5 1ed92395b5b598bdda52abe5c0dbfd63
ResNet101 resnet 224 2048 resnet101~_notop.h5 88cf7a10940856eca736dc7b7e228a21
ResNet101V2 resnet_v2 224 2048 resnet101v2~_notop.h5 c0ed64b8031c3730f411d2eb4eea35b5
ResNet152 resnet 224 2048 resnet152~_notop.h5 ee4c566cf9a93f14d82f913c2dc6dd0c
ResNet152V2 resnet_v2 224 2048 resnet152v2~_notop.h5 ed17cf2e0169df9d443503ef94b23b33
ResNet50 resnet 224 2048 resnet50~_notop.h5 4d473c1dd8becc155b73f8504c6f6626
ResNet50V2 resnet_v2 224 2048 resnet50v2~_notop.h5 fac2f116257151a9d068a22e544a4917
VGG16 vgg16 224 512 vgg16~_notop.h5 6d6bbae143d832006294945121d1f1fc
VGG19 vgg19 224 512 vgg19~_notop.h5 253f8cb515780f3b799900260a226db6
Xception xception 299 2048 xception~_notop.h5 b0042744bf5b25fce3cb969f33bebb97
"""  # noqa: E501


def _parse_rows() -> dict[str, KerasBody]:
    bodies = {}
    for row in _ROWS.strip().splitlines():
        constructor, family, image_size, embedding_dim, file_name, checksum = row.split()
        bodies[constructor.lower()] = KerasBody(
            constructor,
            family,
            int(image_size),
            int(embedding_dim),
            # Most names repeat the same words; "~" stands for them.
            file_name.replace("~", "_weights_tf_dim_ordering_tf_kernels"),
            checksum.strip("-"),
        )
    return bodies


KERAS_BODIES = _parse_rows()


def find_official_weights(body: KerasBody) -> Path:
    """Path of a body's official weights, from Keras' own cache or downloaded into it.

    Args:
        body: An entry of `KERAS_BODIES`.

    Returns:
        Path of a file whose checksum is the one that Keras lists.

    Raises:
        WeightsError: When the file is neither there nor can be downloaded; the message says which
            file to put where.
    """
    path = official_weights_path(body)
    if path.is_file():
        found = _checksum(path, body.checksum)
        if found == body.checksum:
            return path
        _logger.warning(
            "%s is damaged: its checksum is %s; expected %s. Downloading it again.",
            path,
            found,
            body.checksum,
        )
    _download(body, path)
    return path


def official_weights_path(body: KerasBody) -> Path:
    """Where a body's official weights are looked for, and put when they are downloaded.

    Args:
        body: An entry of `KERAS_BODIES`.

    Returns:
        A place in Keras' own cache.
    """
    return _keras_home() / "models" / body.file_name


def _keras_home() -> Path:
    """Folder of Keras' files, chosen as Keras chooses it."""
    given = os.environ.get("KERAS_HOME")
    if given:
        return Path(given).expanduser()
    home = Path("~").expanduser()
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"


def _checksum(path: Path, like: str) -> str:
    """Checksum of a file, of the kind that the given one is; empty where that is empty."""
    if not like:
        return ""
    # Keras' own lists decide the kind. MD5 finds damage here and is no defence; what is loaded
    # from the file is numbers only.
    with open_regular(path) as file:
        if len(like) == 32:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(body: KerasBody, path: Path) -> None:
    """Fetch the official weights to `path`: whole and verified, or not at all."""
    # What talks to the network takes 30 ms to load, and most never fetch weights.
    import urllib.error
    import urllib.request

    _logger.info("Downloading %s", body.url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Draft(path.parent) as draft:
            partial = draft.place(path.name)
            with urllib.request.urlopen(body.url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as answer:
                with partial.open("wb") as file:
                    while block := answer.read(1 << 20):
                        file.write(block)
            found = _checksum(partial, body.checksum)
            if found != body.checksum:
                raise WeightsError(
                    f"{body.url} came with checksum {found}; expected {body.checksum}. The "
                    "download was cut short or the file was replaced; try again, or give "
                    "a file of your own as `weights`."
                )
            os.replace(partial, path)
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer as well
        raise WeightsError(
            f"The weights of {body.constructor.lower()} are not on this computer and could not be "
            f"downloaded ({getattr(error, 'reason', None) or error}). Download {body.url} "
            f"elsewhere and put it at {path}, or give a file of your own as `weights`."
        ) from error
