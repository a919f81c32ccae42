"""What each part of the recipe for training from scratch is worth, by PyTorch on a GPU.

    python benchmarks/scratch_ablation.py cats_and_dogs_filtered.zip [--variants "wd .1,long"]
        [--folds 2] [--final] [--device cuda] [--json FILE] [--quick]

A port of handful's own network, views, AdamW and schedule, in bf16 on a GPU: on two processor cores
one training takes from a quarter to half an hour. Needs handful, and PyTorch, which it does not
bring. Each variant is trained on four fifths of the TRAINING photos, and the last fifth judges; a
fold has a seed of its own. With `--final` the variants are trained on all training photos instead,
with three seeds, and the validation photos judge: for recipes that are chosen already.

Cost is multiply-adds of the network times photos seen, relative to the recipe before. The log loss
is that at the best temperature, so that label smoothing is not judged by it.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from handful.data.decoding import DecodeSettings
from handful.data.index import load_index
from handful.training.batches import decode_images

LUMA = (0.299, 0.587, 0.114)
FOLDS = 5


@dataclass(frozen=True)
class Setting:
    """One recipe; the defaults are the recipe before."""

    # (filters, pooled, residual block after)
    stages: tuple[tuple[int, bool, bool], ...] = (
        (24, True, False),
        (48, True, False),
        (96, True, False),
        (128, False, False),
        (128, True, False),
        (192, False, False),
        (192, False, False),
    )
    epochs: int = 100
    batch_size: int = 25
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    dropout: float = 0.3
    sizes: tuple[tuple[float, int], ...] = ((0.1, 64), (0.3, 80), (0.5, 96), (1.0, 112))
    stored: int = 144
    predicted: int = 128
    rotation: float = 20
    shift: float = 0.1
    zoom: tuple[float, float] = (0.65, 1.05)
    aspect: float = 0.2
    color: float = 0.3
    mixup: float = 0.0

    def size_at(self, epoch: int) -> int:
        """Side of the views in an epoch, in pixels."""
        return next(size for share, size in self.sizes if epoch < round(share * self.epochs))


BEFORE = Setting()
RESIDUAL = ((24, True, False), (48, True, False), (96, True, True), (160, True, True))
LARGER = {
    "sizes": ((0.1, 80), (0.3, 96), (0.5, 112), (1.0, 128)),
    "stored": 164,
    "predicted": 144,
}
NOW = replace(BEFORE, stages=RESIDUAL, epochs=150, weight_decay=0.05, **LARGER)
VARIANTS = {
    "before": BEFORE,
    "now": NOW,
    "wd .1": replace(BEFORE, weight_decay=0.1),
    "wd .3": replace(BEFORE, weight_decay=0.3),
    "larger": replace(BEFORE, **LARGER),
    "residual": replace(BEFORE, stages=RESIDUAL),
    "long": replace(BEFORE, epochs=200),
    "mixup": replace(BEFORE, mixup=0.2),
    "no small pictures first": replace(BEFORE, sizes=((1.0, 112),)),
    "no label smoothing": replace(BEFORE, label_smoothing=0.0),
    "no weight decay": replace(BEFORE, weight_decay=0.0),
    "no light and color": replace(BEFORE, color=0.0),
    "no rotation": replace(BEFORE, rotation=0.0),
    "no close crops": replace(BEFORE, zoom=(0.85, 0.85), aspect=0.0),
    "no dropout": replace(BEFORE, dropout=0.0),
}


class Unit(nn.Module):
    """Convolution, pooling, batch norm, ReLU."""

    def __init__(self, before: int, filters: int, pooled: bool):
        super().__init__()
        self.convolution = nn.Conv2d(before, filters, 3, padding=1, bias=False)
        self.pooled = pooled
        self.norm = nn.BatchNorm2d(filters, eps=1e-3, momentum=0.03)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `nn.Module`."""
        x = self.convolution(x)
        x = functional.max_pool2d(x, 2) if self.pooled else x
        return functional.relu(self.norm(x))


class Block(nn.Module):
    """Two units, added to what they begin with."""

    def __init__(self, filters: int):
        super().__init__()
        self.units = nn.Sequential(Unit(filters, filters, False), Unit(filters, filters, False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `nn.Module`."""
        return x + self.units(x)


class Network(nn.Module):
    """`handful.training.networks.build_small`, with Keras' initial weights; gives logits."""

    def __init__(self, setting: Setting):
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for filters, pooled, is_residual in setting.stages:
            layers.append(Unit(width, filters, pooled))
            layers += [Block(filters)] * is_residual
            width = filters
        self.layers, self.out = nn.Sequential(*layers), nn.Linear(width, 1)
        self.drop = nn.Dropout(setting.dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                spread = math.sqrt(2 / (9 * layer.in_channels)) / 0.87962566
                nn.init.trunc_normal_(layer.weight, 0, spread, -2 * spread, 2 * spread)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pixels 0 to 255 to logits."""
        x = self.layers(x / 58 - 2).mean((2, 3)).float()
        return self.out(self.drop(x))[:, 0]


def multiply_adds(setting: Setting) -> int:
    """Of the forward passes of a whole training, per training photo."""
    by_size = {}
    for _, size in setting.sizes:
        total, side, width = 0, size, 3
        for filters, pooled, is_residual in setting.stages:
            total += side * side * 9 * width * filters
            side, width = side // (2 if pooled else 1), filters
            total += is_residual * 2 * side * side * 9 * width * width
        by_size[size] = total
    return sum(by_size[setting.size_at(epoch)] for epoch in range(setting.epochs))


class Photos:
    """The photos of one part, at the sizes asked for, on the device."""

    def __init__(self, source: Path, device: str, quick: bool):
        self.index, self.device = load_index(source), device
        if quick:
            self.index = self.index.select(range(0, len(self.index), 60))
        self.labels = torch.tensor(self.index.labels, dtype=torch.float32, device=device)
        self.is_train = np.array([part == "train" for part in self.index.splits])
        self._kept: dict[int, torch.Tensor] = {}

    def at(self, size: int) -> torch.Tensor:
        """(N, 3, size, size) uint8."""
        if size not in self._kept:
            images = decode_images(self.index, DecodeSettings(size, "halfway"))
            self._kept[size] = torch.tensor(images, device=self.device).permute(0, 3, 1, 2)
        return self._kept[size]

    def held_out(self, fold: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from, and rows that judge; None takes the validation photos for these."""
        train = np.flatnonzero(self.is_train)
        if fold is None:
            return train, np.flatnonzero(~self.is_train)
        folds = np.full(len(self.is_train), -1)
        labels = np.asarray(self.index.labels)
        for label in np.unique(labels):
            rows = np.flatnonzero(self.is_train & (labels == label))
            folds[np.random.default_rng(7).permutation(rows)] = np.arange(len(rows)) % FOLDS
        return train[folds[train] != fold], np.flatnonzero(folds == fold)


def draw_views(images: torch.Tensor, size: int, setting: Setting) -> torch.Tensor:
    """Views as `handful.data.augmentation` makes them: (N, 3, size, size) float32."""
    count, side, device = len(images), images.shape[-1], images.device

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, device=device) * (high - low) + low

    ratio = torch.exp(uniform(-setting.aspect, setting.aspect) / 2)
    across, down = uniform(*setting.zoom) * ratio, uniform(*setting.zoom) / ratio
    across = across * torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    angle = torch.deg2rad(uniform(-setting.rotation, setting.rotation))
    cosine, sine = torch.cos(angle), torch.sin(angle)
    reach = setting.shift * side
    shift_x, shift_y = uniform(-reach, reach), uniform(-reach, reach)
    matrices = torch.stack(
        [
            *(cosine * across, -sine * down, (cosine * shift_x - sine * shift_y) * 2 / side),
            *(sine * across, cosine * down, (sine * shift_x + cosine * shift_y) * 2 / side),
        ],
        dim=1,
    ).view(count, 2, 3)
    grid = functional.affine_grid(matrices, (count, 3, size, size), align_corners=False)
    x = functional.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
    if not setting.color:
        return x

    def factor() -> torch.Tensor:
        return uniform(1 - setting.color, 1 + setting.color).view(-1, 1, 1, 1)

    brightness, contrast, saturation = factor(), factor(), factor()
    gray = (x * torch.tensor(LUMA, device=device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    x = (x * saturation + gray * (1 - saturation)).clamp(0, 255)
    mean = x.mean((1, 2, 3), keepdim=True) * brightness
    return (((x * brightness).clamp(max=255) - mean) * contrast + mean).clamp(0, 255)


def mix(x: torch.Tensor, y: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Each view with the next one, by a share of its own."""
    drawn = np.random.beta(alpha, alpha, len(x)).astype(np.float32)
    share = torch.from_numpy(np.minimum(drawn, 1 - drawn)).to(x.device)
    wide = share.view(-1, 1, 1, 1)
    return x * (1 - wide) + x.roll(1, 0) * wide, y * (1 - share) + y.roll(1, 0) * share


def rate_at(step: int, steps: int, largest: float) -> float:
    """Warm-up over 8 % of the steps, then a cosine to zero, as `handful.training.compiling`."""
    warm_up = max(1, round(0.08 * steps))
    if step < warm_up:
        return largest * step / warm_up
    return largest * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def train(photos: Photos, setting: Setting, rows: np.ndarray, seed: int) -> Network:
    """A whole training on some of the photos."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    device, is_gpu = photos.device, photos.device != "cpu"
    network = Network(setting).to(device, memory_format=torch.channels_last)
    kernels = [value for value in network.parameters() if value.ndim > 1]
    others = [value for value in network.parameters() if value.ndim <= 1]
    groups = [{"params": kernels}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, eps=1e-7, weight_decay=setting.weight_decay)
    images, learned = photos.at(setting.stored), torch.tensor(rows, device=device)
    per_epoch, step = len(rows) // setting.batch_size, 0
    for epoch in range(setting.epochs):
        order = learned[torch.randperm(len(learned), device=device)]
        for batch in order[: per_epoch * setting.batch_size].split(setting.batch_size):
            x = draw_views(images[batch], setting.size_at(epoch), setting)
            y = photos.labels[batch]
            y = y * (1 - setting.label_smoothing) + setting.label_smoothing / 2
            if setting.mixup:
                x, y = mix(x, y, setting.mixup)
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, per_epoch * setting.epochs, setting.learning_rate)
            with torch.autocast(device, torch.bfloat16, enabled=is_gpu):
                logits = network(x.contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad()
            functional.binary_cross_entropy_with_logits(logits, y).backward()
            optimizer.step()
            step += 1
    return network.eval()


@torch.no_grad()
def judge(network: Network, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Accuracy, and log loss at the best temperature, of photos averaged with mirror images."""
    device = images.device.type
    logits = []
    for part in images.split(200):
        x = part.float().contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            logits.append((network(x) + network(x.flip(3))) / 2)
    scores, signs = torch.cat(logits).double(), 2 * labels.double() - 1
    losses = [functional.softplus(-scale * scores * signs).mean() for scale in np.geomspace(0.2, 5)]
    return float((scores * signs > 0).double().mean()), float(min(losses))


def main() -> None:
    """Train the variants, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--variants", default="all", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--folds", type=int, default=2, choices=range(1, FOLDS + 1))
    parser.add_argument("--final", action="store_true", help="three seeds, validation photos")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="whether it works: few photos, epochs")
    options = parser.parse_args()
    names = list(VARIANTS) if options.variants == "all" else options.variants.split(",")
    photos, found = Photos(options.photos, options.device, options.quick), []
    seeds = [(None, seed) for seed in range(3)] if options.final else []
    print("| variant | accuracy, % | each | log loss | cost | seconds |\n|---|---|---|---|---|---|")
    for name in names:
        setting = replace(VARIANTS[name], epochs=2) if options.quick else VARIANTS[name]
        scores, started = [], time.perf_counter()
        for fold, seed in seeds or [(fold, fold) for fold in range(options.folds)]:
            learned, judged = photos.held_out(fold)
            network = train(photos, setting, learned, seed)
            images = photos.at(setting.predicted)[judged]
            scores.append(judge(network, images, photos.labels[judged]))
        seconds = (time.perf_counter() - started) / len(scores)
        accuracies = [100 * accuracy for accuracy, _ in scores]
        cost = multiply_adds(VARIANTS[name]) / multiply_adds(BEFORE)
        loss = np.mean([loss for _, loss in scores])
        each = ", ".join(f"{value:.1f}" for value in accuracies)
        print(
            f"| {name} | {np.mean(accuracies):.2f} | {each} | {loss:.4f} | {cost:.2f} "
            f"| {seconds:.0f} |",
            flush=True,
        )
        found.append({"variant": name, "final": options.final, "scores": scores, "cost": cost})
    if options.json:
        options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
