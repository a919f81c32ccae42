"""The processes behind the page of use: a folder is classified, a classifier written for others."""

import os
import sys
from pathlib import Path

from handful.environment import own_environment
from handful.reporting import Reporter
from handful.studio.jobs import JobFolder
from handful.studio.worker import run_job

_NICENESS = 5  # the page answers first


def main(verb: str, folder: str, quality: str, run: str, given: str, title: str) -> None:
    """Classify a folder with a run.

    Args:
        verb: "classify".
        folder: The project's.
        quality: Nothing here.
        run: The run's folder.
        given: Where the photos lie.
        title: What people call that.
    """
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # photos are decoded in threads
    os.environ.update(own_environment())
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    job = JobFolder(Path(folder), "classify")

    def classify(reporter: Reporter) -> None:
        from handful.run_store.store import RunStore
        from handful.studio.folder_answers import classify_folder
        from handful.studio.folder_table import ANSWERS_FILE

        classifier = RunStore().classifier(Path(run))
        found = classify_folder(classifier, Path(run).name, Path(given), title, reporter)
        found.save(job.folder / ANSWERS_FILE)

    run_job(job, classify)


if __name__ == "__main__":
    main(*sys.argv[1:])
