"""How many photos does a network that was trained on its photos call unlike them?

A network is trained from scratch on some photos; others choose the threshold (validation), as
`train` does; and the rest, which neither saw, are counted: photos like those of training that are
flagged all the same. The threshold that the training photos themselves would give stands beside it.

    python benchmarks/trust_novelty_trained.py FOLDER_OR_ZIP [--epochs 10] [--seeds 3]
"""

import argparse
from pathlib import Path

import numpy as np

from handful.config import TrainConfig
from handful.data.index import load_index
from handful.features.table import embed_index
from handful.models.novelty import reference_of
from handful.training.steps import split_index
from handful.workflows import train as train_workflow
from pipelines import machine


def main() -> None:
    """Train, count, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine()}\n")
    print(
        "| seed | training photos | that choose the threshold | expected | new photos | flagged "
        "| by the training photos' own distances |\n|---|---|---|---|---|---|---|"
    )
    index = load_index(options.photos)
    for seed in range(options.seeds):
        half = split_index(index, validation_fraction=0.5, seed=seed)
        config = TrainConfig(
            strategy="scratch", epochs=options.epochs, seed=seed, validation_fraction=0.4
        )
        known = split_index(half.part("train"), validation_fraction=0.4, seed=seed)
        run = train_workflow.train(known, config, output=False)
        classifier, reference = run.classifier, run.classifier.reference
        assert reference is not None
        new, seen = (
            embed_index(part, classifier.spec)
            for part in (half.part("validation"), known.part("train"))
        )
        far = reference.distances(new.mean)
        own = reference_of(seen.embeddings.mean(axis=1), known.groups[known.train], seed)
        assert own is not None
        flagged = [reference.unlike(far).mean(), own.unlike(far).mean()]
        print(
            f"| {seed} | {len(known.train)} | {len(known.validation)} "
            f"| {100 * reference.false_alarm_rate:.1f} % | {len(far)} "
            f"| {' | '.join(f'{100 * share:.1f} %' for share in np.array(flagged))} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
