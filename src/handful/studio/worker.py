"""A job's process: it trains or checks a project through the workflows, and says how far it is."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from handful.config import train_config
from handful.crashes import keep_traceback
from handful.environment import own_environment
from handful.errors import HandfulError
from handful.features.keras_runtime import claim_process
from handful.reporting import Reporter
from handful.run_store.store import RunStore, checkpoint_path
from handful.studio.job_reporter import StateReporter, heartbeat
from handful.studio.jobs import CHECK_FOLDER, JobFolder, JobState
from handful.studio.time_left import TimeLeft
from handful.studio.trainer import Asked
from handful.studio.training_times import TrainingTimes

_NICENESS = 5  # the page answers first
_STOPPED = "It was stopped early; what it had learned by then is in the results."


def run_job(
    job: JobFolder, work: Callable[[StateReporter], str | None], left: TimeLeft | None = None
) -> JobState:
    """Do a job's work, and write how it ended.

    Args:
        job: Its folder, begun.
        work: Takes the reporter; says why it ended early, where it did.
        left: Tells how much longer it takes.

    Returns:
        The last state.
    """
    state = job.read() or JobState(job.verb, started=time.time())
    reporter = StateReporter(job, state, left)
    reporter.say(status="running", pid=os.getpid())
    ended: dict[str, str] = {"status": "done"}
    with heartbeat(reporter):
        try:
            if early := work(reporter):
                ended = {"status": "canceled", "message": early}
        except KeyboardInterrupt:
            ended = {"status": "canceled", "message": ""}
        except HandfulError as error:
            ended = {"status": "failed", "message": str(error)}
        except Exception as error:
            place = keep_traceback(error)
            what = f"This was not foreseen ({type(error).__name__}: {str(error)[:200]})."
            ended = {"status": "failed", "message": f"{what} The details are in {place}."}
    reporter.say(**ended)
    return reporter.state


def _train(job: JobFolder) -> None:
    """Train as the job's folder says, and keep how long it took."""
    state, asked = job.read(), Asked.of(job)
    left = TimeLeft(asked.forecast, time.time() if state is None else state.started)

    def train(reporter: Reporter) -> str:
        from handful.workflows.train import train

        store, config = RunStore(job.project / "runs"), train_config(asked.options)
        output = store.folder / asked.run if asked.run else None
        if asked.goes_on and output is not None and _is_over(store, output):
            return ""  # killed at the very end
        run = train(
            job.project,
            config,
            output=output,
            resume=asked.goes_on and output is not None,
            store=store,
            reporter=reporter,
        )
        if config.fits_head and not run.stopped:
            TrainingTimes(job.project).learn(
                config.quality, left.other_seconds, len(run.split.index)
            )
        return _STOPPED if run.stopped == "interrupted" else ""

    run_job(job, train, left)


def _is_over(store: RunStore, output: Path) -> bool:
    """Whether a run was written whole and has nothing to go on from."""
    is_there = any(row.path == output for row in store.list())
    return is_there and not checkpoint_path(output).exists()


def _check(job: JobFolder) -> None:
    def check(reporter: Reporter) -> None:
        from handful.workflows.check import check

        check(job.project, output=job.project / CHECK_FOLDER, reporter=reporter)

    run_job(job, check)


def main(verb: str, folder: str, name: str = "") -> None:
    """Train or check a project, or time networks for it.

    Args:
        verb: "train", "check" or "measure".
        folder: The project's.
        name: What a training is asked for; the job's folder says more.
    """
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # photos are decoded in threads
    os.environ.update(own_environment())
    claim_process()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    project = Path(folder)
    if verb == "train":
        _train(JobFolder(project, "train"))
    elif verb == "check":
        _check(JobFolder(project, "check"))
    else:
        TrainingTimes(project).measure()


if __name__ == "__main__":
    main(*sys.argv[1:])
