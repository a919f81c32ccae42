"""What is computed of images, ready to be sent to another machine: with the network's own files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handful.environment import cache_folder
from handful.errors import UsageError, WeightsError
from handful.features.conversion import FrozenNetwork
from handful.features.embed import EmbeddingSpec
from handful.features.openvino import OpenVinoExtractor
from handful.files.atomic import new_folder, sha256_of


@dataclass(frozen=True)
class PortableSpec:
    """A spec that takes its network's files along when it is pickled.

    Where it is unpickled they are used as they lie, or written into the cache.

    Args:
        spec: What is computed.
    """

    spec: EmbeddingSpec

    def __reduce__(self) -> tuple[Any, ...]:
        extractor = self.spec.extractor
        if isinstance(extractor, OpenVinoExtractor) and extractor.device == "CPU":
            network = extractor.network
            files = network.xml_path.read_bytes(), network.bin_path.read_bytes()
            bare = replace(self.spec, extractor=None)
            return _unpack, (bare, network, extractor.precision, *files)
        if hasattr(extractor, "network"):
            raise UsageError(
                "Other processes compute on processors, and the network is on a GPU; set `device` "
                "to cpu, or `engine` to local."
            )
        return PortableSpec, (self.spec,)


def _unpack(
    bare: EmbeddingSpec, network: FrozenNetwork, precision: str, graph: bytes, weights: bytes
) -> PortableSpec:
    extractor = OpenVinoExtractor(_placed(network, graph, weights), precision)
    if extractor.precision != precision:
        raise WeightsError(
            f"A worker's processor computes in {extractor.precision} where {precision} was chosen; "
            "set `precision` to f32 or int8, which all of them have."
        )
    return PortableSpec(replace(bare, extractor=extractor))


def _placed(network: FrozenNetwork, graph: bytes, weights: bytes) -> FrozenNetwork:
    """The network with its files where this machine has them."""
    if _is_here(network):
        return network
    folder = cache_folder() / "networks" / f"sent-{network.bin_sha256[:16]}"
    here = replace(
        network,
        xml_path=folder / "network.xml",
        bin_path=folder / "network.bin",
    )
    if not _is_here(here):
        with new_folder(folder, replace=True) as draft:
            Path(draft, "network.xml").write_bytes(graph)
            Path(draft, "network.bin").write_bytes(weights)
    return here


def _is_here(network: FrozenNetwork) -> bool:
    try:
        return (
            sha256_of(network.xml_path) == network.xml_sha256
            and sha256_of(network.bin_path) == network.bin_sha256
        )
    except OSError:
        return False
