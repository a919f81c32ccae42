"""The processes behind the page of use: a folder is classified, a classifier written for others."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handful.environment import own_environment
from handful.features.keras_runtime import claim_process
from handful.reporting import Reporter
from handful.studio.jobs import JobFolder, Verb
from handful.studio.worker import run_job

_NICENESS = 5  # the page answers first


class _Renamed(Reporter):
    """Says what an export compares, which is no training."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        with super().phase("comparing with handful" if name == "compare" else name):
            yield


def main(verb: Verb, folder: str, given: str, *paths: str) -> None:
    """Classify a folder with a run, or write the run for others.

    Args:
        verb: "classify" or "share".
        folder: The project's.
        given: The format to write; nothing for "classify".
        *paths: The run's folder; to classify, also where the photos lie and what people call that.
    """
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # photos are decoded in threads
    os.environ.update(own_environment())
    claim_process()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    job = JobFolder(Path(folder), verb)

    def classify(reporter: Reporter) -> None:
        from handful.run_store.store import RunStore
        from handful.studio.answering import chosen_error_rate
        from handful.studio.folder_answers import classify_folder
        from handful.studio.folder_table import ANSWERS_FILE

        run, photos, title = paths
        classifier = RunStore().classifier(Path(run))
        rate, name = chosen_error_rate(Path(folder)), Path(run).name
        found = classify_folder(classifier, name, Path(photos), title, reporter, rate)
        found.save(job.folder / ANSWERS_FILE)

    def share(reporter: Reporter) -> None:
        from handful.studio.sharing import Sharing

        Sharing(Path(folder)).write(Path(paths[0]), given, _Renamed(reporter))

    run_job(job, classify if verb == "classify" else share)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
