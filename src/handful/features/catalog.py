"""Which backbones there are, what each is, and what is missing to use it."""

from dataclasses import asdict, dataclass
from typing import Any

from handful.features.registry import known_backbones


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone as a list shows it.

    Args:
        name: What `backbone` takes.
        family: Where it comes from: "efficientnet-lite", "keras", "hub", or the package that
            brings it.
        license: Under which the weights were published.
        image_size: Side in pixels of its images.
        embedding_dim: Width of its embedding.
        megabytes: Size of the weights; None where that is not known beforehand.
        gmacs: Billions of multiply-adds a photo: what it costs, roughly; None where not known.
        needs: What is missing to use it without a network, in words; empty where nothing is.
    """

    name: str
    family: str
    license: str
    image_size: int
    embedding_dim: int
    megabytes: float | None
    gmacs: float | None
    needs: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `handful backbones --json` prints them.

        Returns:
            The fields.
        """
        return asdict(self)


def backbones() -> tuple[BackboneInfo, ...]:
    """List the backbones that have a name; files and a hub's repositories are open-ended.

    Nothing is downloaded and no network is opened.

    Returns:
        What each is, the default first.

    Example:
        ```python
        for found in handful.backbones():
            print(found.name, found.license, found.needs or "ready")
        ```
    """
    result = []
    for family, backbone in known_backbones():
        metadata = backbone.metadata
        result.append(
            BackboneInfo(
                metadata.name,
                family,
                metadata.license,
                metadata.image_size,
                metadata.embedding_dim,
                metadata.megabytes,
                metadata.gmacs,
                "" if backbone.needs is None else backbone.needs(metadata),
            )
        )
    return tuple(result)
