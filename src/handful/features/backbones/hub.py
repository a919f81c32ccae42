"""Networks of a hub, by hf:OWNER/NAME: fetched once, then found in the hub's own cache.

What is fetched is an ONNX file, and the JSON that says what it takes. huggingface_hub does it, by
its own settings: HF_ENDPOINT, another address; HF_TOKEN, for what is private; HF_HUB_OFFLINE.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.errors import HandfulError, UsageError, WeightsError
from handful.extras import is_installed, require
from handful.features.backbones.network_files import open_file
from handful.features.extractor import Backbone, BackboneMetadata, FeatureExtractor
from handful.features.graph_files import external_names
from handful.features.preprocessing import (
    HUB_FILE,
    Preprocessing,
    read_preprocessing,
    with_asked,
)
from handful.reporting import Reporter

FAMILY = "hub"
PREFIX = "hf:"
# Where repositories keep a network in float32, the likelier first: of one for images and texts,
# the images' part.
_NETWORKS = ("onnx/vision_model.onnx", "onnx/model.onnx", "vision_model.onnx", "model.onnx")
_LIBRARY = "huggingface_hub"
_REACH_SECONDS = 5.0


@dataclass(frozen=True)
class HubNetwork:
    """A network of the hub under a name of its own.

    Args:
        repository: OWNER/NAME.
        image_size: Side in pixels of its images.
        embedding_dim: Width of its embedding.
        megabytes: Size of the download.
        gmacs: Billions of multiply-adds a photo.
        license: Of the weights.
        said: What its own JSON does not say of it, see `parse_preprocessing`.
    """

    repository: str
    image_size: int
    embedding_dim: int
    megabytes: float
    gmacs: float
    license: str
    said: str = ""


# Name, repository, pixels, features, megabytes, billions of multiply-adds, license.
_ROWS = """
dinov2-small Xenova/dinov2-small 224 384 88 6.1 Apache-2.0
dinov2-base Xenova/dinov2-base 224 768 346 23.1 Apache-2.0
dinov3-small onnx-community/dinov3-vits16-pretrain-lvd1689m-ONNX 224 384 86 4.7 DINOv3-License
dinov3-base onnx-community/dinov3-vitb16-pretrain-lvd1689m-ONNX 224 768 343 17.9 DINOv3-License
dino-small Xenova/dino-vits16 224 384 87 4.6 Apache-2.0
siglip2-base onnx-community/siglip2-base-patch16-224-ONNX 224 768 372 17.6 Apache-2.0
clip-vit-b32 Xenova/clip-vit-base-patch32 224 512 352 4.4 MIT
clip-vit-b16 Xenova/clip-vit-base-patch16 224 512 345 17.6 MIT
vit-base Xenova/vit-base-patch16-224-in21k 224 768 343 17.6 Apache-2.0
convnextv2-femto Xenova/convnextv2-femto-1k-224 224 384 21 0.8 CC-BY-NC-4.0
convnextv2-tiny Xenova/convnextv2-tiny-22k-224 224 768 115 4.5 CC-BY-NC-4.0
mobilenetv4-small onnx-community/mobilenetv4_conv_small.e2400_r224_in1k 224 1280 15 0.2 Apache-2.0
mobilenetv4-medium onnx-community/mobilenetv4_conv_medium.e500_r256_in1k 256 1280 39 1.1 Apache-2.0
"""


# DINO was published without the layer that `pooler_output` comes from.
_SAID = {"dino-small": "output=last_hidden_state pooling=cls"}


def _parse_rows() -> dict[str, HubNetwork]:
    rows = (row.split() for row in _ROWS.strip().splitlines())
    return {
        name: HubNetwork(
            place, int(side), int(dim), float(size), float(cost), license, _SAID.get(name, "")
        )
        for name, place, side, dim, size, cost, license in rows
    }


HUB_NETWORKS = _parse_rows()


@dataclass(frozen=True)
class _Address:
    """What a name asks for: a repository, a file of it or None, and a revision or None."""

    repository: str
    file: str | None
    revision: str | None

    def __str__(self) -> str:
        file = "" if self.file is None else f"/{self.file}"
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.repository}{file}{revision}"


@dataclass(frozen=True)
class _Snapshot:
    """What was fetched: the network's file, what its JSON says, and of which commit."""

    network: Path
    file: str
    said: Preprocessing
    commit: str


def open_named(
    name: str, preprocessing: str | None, image_size: int | None, reporter: Reporter
) -> Backbone | None:
    """Open a backbone by its address on the hub, or by one of `HUB_NETWORKS`.

    Args:
        name: hf:OWNER/NAME, with /FILE.onnx and @REVISION where those are wanted; or a name of
            the table, with @REVISION where that is wanted.
        preprocessing: What the user says of it, see `handful.features.preprocessing`.
        image_size: Side that photos are decoded to; None takes its own.
        reporter: Told what was found out of it, and how far a download is.

    Returns:
        The backbone; None where the name is no such address.

    Raises:
        MissingExtraError: When huggingface_hub is not installed.
        UsageError: When the address is none, or something must be said of the network.
        WeightsError: When it is not there, may not be fetched, or is no network for images.
    """
    short, _, revision = name.partition("@")
    known = HUB_NETWORKS.get(short.lower())
    if known is not None:
        address = _Address(known.repository, None, revision or None)
    elif name.lower().startswith(PREFIX):
        address = _parse(name)
    else:
        return None
    require("hub", f"The backbone {name}", _LIBRARY)
    found = _fetch(address, reporter)
    return open_file(
        found.network,
        with_asked(with_asked(found.said, known.said if known else None), preprocessing),
        image_size,
        reporter,
        name=f"{PREFIX}{address.repository}" if known is None else short.lower(),
        license="that of its model card" if known is None else known.license,
        source=f"hub: {address.repository}, {found.file}",
        revision=found.commit,
    )


def _parse(name: str) -> _Address:
    place, _, revision = name[len(PREFIX) :].partition("@")
    owner, _, rest = place.partition("/")
    repository, _, file = rest.partition("/")
    is_whole = all((owner, repository, "@" not in revision, bool(revision) == ("@" in name)))
    if not is_whole or (file and not file.lower().endswith(".onnx")):
        raise UsageError(
            f"`backbone` is {name!r}; expected hf:OWNER/NAME, as in hf:Xenova/dinov2-small, with "
            "/FILE.onnx or @REVISION behind it where those are wanted."
        )
    return _Address(f"{owner}/{repository}", file or None, revision or None)


def _fetch(address: _Address, reporter: Reporter) -> _Snapshot:
    """Fetch a network with what belongs to it, or find it in the hub's cache."""
    download = _downloader(address, reporter)
    names = (address.file,) if address.file else _NETWORKS
    # What is there already is asked for first: then a hub out of reach costs no time.
    there = [name for name in names if _is_cached(address, name)]
    if not there:
        _reach(address, names[0])
    for name in (*there[:1], *names):
        network = download(name, address.revision)
        if network is not None:
            break
    else:
        raise WeightsError(
            f"{address} has no network in a format that handful reads; expected "
            f"{', '.join(names)}. Name another ONNX file "
            "as hf:OWNER/NAME/FILE.onnx, or take another repository: those of onnx-community and "
            "Xenova have one."
        )
    # .../snapshots/COMMIT/onnx/model.onnx; all else is of the same commit.
    snapshot = network.parents[len(Path(name).parts) - 1]
    folder = Path(name).parent.as_posix()
    for other in external_names(network):
        place = other if folder == "." else f"{folder}/{other}"
        if ".." in Path(place).parts or download(place, snapshot.name) is None:
            raise WeightsError(f"{address} lacks {place}, which {name} keeps its weights in.")
    said = download(HUB_FILE, snapshot.name)
    taken = Preprocessing() if said is None else read_preprocessing(said)
    return _Snapshot(network, name, taken, snapshot.name)


def _downloader(address: _Address, reporter: Reporter) -> Callable[[str, str | None], Path | None]:
    """A function from a file of a repository and a revision to its place; None where it is not."""
    from huggingface_hub import errors, hf_hub_download

    def download(file: str, revision: str | None) -> Path | None:
        try:
            if _is_known_missing(address, file, revision):
                return None
            with _without_warnings():
                found = hf_hub_download(
                    address.repository, file, revision=revision, tqdm_class=_bar_of(reporter)
                )
        except errors.LocalEntryNotFoundError as error:
            raise _explained(address, error) from error
        except errors.EntryNotFoundError:
            return None
        except HandfulError:
            raise
        except Exception as error:  # its HTTP library's have changed with its versions
            raise _explained(address, error) from error
        return Path(found)

    return download


def _reach(address: _Address, file: str) -> None:
    """Refuse where the hub is out of reach: its library would try for half a minute."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        url = hf_hub_url(address.repository, file, revision=address.revision)
        get_hf_file_metadata(url, timeout=_REACH_SECONDS)
    except (errors.HfHubHTTPError, errors.HFValidationError):
        return  # what the hub answered, the download says better
    except Exception as error:  # its HTTP library's have changed with its versions
        raise _explained(address, errors.LocalEntryNotFoundError(str(error))) from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Its library warns of each of its tries; what is wrong in the end, an error says once."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _is_cached(address: _Address, file: str) -> bool:
    """Whether a file of a repository is on this computer, perhaps an older one."""
    from huggingface_hub import try_to_load_from_cache

    try:
        return isinstance(
            try_to_load_from_cache(address.repository, file, revision=address.revision), str
        )
    except ValueError:  # no address on the hub, which the download says better
        return False


def _is_known_missing(address: _Address, file: str, revision: str | None) -> bool:
    """Whether a commit is known to lack a file."""
    from huggingface_hub import try_to_load_from_cache

    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        return False  # a branch may have got it since
    found = try_to_load_from_cache(address.repository, file, revision=revision)
    return found is not None and not isinstance(found, str)


def _explained(address: _Address, error: Exception) -> WeightsError:
    """What went wrong at the hub, with what would mend it."""
    from huggingface_hub import errors

    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
    if isinstance(error, errors.GatedRepoError):
        return WeightsError(
            f"{address} is given only to those who agreed to its terms. Agree on its page, then "
            "log in with `hf auth login`, or set HF_TOKEN."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsError(
            f"The hub has no {PREFIX}{address.repository}, or it is private. Check its name; for "
            "what is private, log in with `hf auth login`, or set HF_TOKEN to a token that may "
            "read it."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightsError(
            f"{PREFIX}{address.repository} has no revision {address.revision!r}; expected a "
            "branch, a tag or a commit of it."
        )
    if isinstance(error, errors.HFValidationError):
        return WeightsError(f"{address} is no address on the hub: {reason}")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return WeightsError(
            f"{address} is not on this computer, and the hub cannot be asked: it is out of reach, "
            "or HF_HUB_OFFLINE is set. To go on offline, give a network in a file, or one that "
            "`handful backbones` shows without a download; connect once, and this one is kept."
        )
    return WeightsError(
        f"{address} could not be fetched ({type(error).__name__}: {reason}). Try again, or give a "
        "file."
    )


def _bar_of(reporter: Reporter) -> Any:
    """What huggingface_hub shows a download with: the reporter hears of it instead."""
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        """Counts bytes and draws nothing."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})
            self.total = kwargs.get("total") or 0
            self.n = kwargs.get("initial") or 0

        def update(self, n: float | None = 1) -> None:
            """Tell of more bytes."""
            self.n += n or 0
            if reporter.phases:
                reporter.progress(int(self.n), int(self.total or 0))

    return Bar


def _load(metadata: BackboneMetadata, precision: str) -> FeatureExtractor:
    backbone = open_named(metadata.name, None, metadata.image_size, Reporter())
    assert backbone is not None  # the name is one of the table
    return backbone.load(backbone.metadata, precision)


def _needs(metadata: BackboneMetadata) -> str:
    """What is missing to use one of the table without a network."""
    if not is_installed(_LIBRARY):
        return "pip install 'handful[hub]', and a download"
    address = _Address(HUB_NETWORKS[metadata.name].repository, None, None)
    return "" if any(_is_cached(address, name) for name in _NETWORKS) else "a download"


BACKBONES = {
    name: Backbone(
        BackboneMetadata(
            name,
            network.image_size,
            network.embedding_dim,
            network.license,
            source=f"hub: {network.repository}",
            megabytes=network.megabytes,
            gmacs=network.gmacs,
        ),
        _load,
        needs=_needs,
    )
    for name, network in HUB_NETWORKS.items()
}
