"""What can go wrong: with a recording, which becomes a row; around it, which passes; and with the job, which stops."""

from pipeline.schema import TRANSIENT, FailureCode


class RecordingError(Exception):
    """Something is wrong with a recording. It becomes a failure in that recording's row; the job goes on. The failure
    is final: later runs leave the recording alone, unless --retry names it."""

    transient = False

    def __init__(self, code: FailureCode, detail: str) -> None:
        assert (code in TRANSIENT) == self.transient, f"{type(self).__name__} of {code}"
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class TransientError(RecordingError):
    """A recording failed, and it says nothing of the recording: storage, an engine or we were at fault. It becomes a
    failure, too, and the next run tries again."""

    transient = True


def failure(code: FailureCode, detail: str) -> RecordingError:
    """The error of that code, of either kind."""
    return (TransientError if code in TRANSIENT else RecordingError)(code, detail)


class ConfigurationError(Exception):
    """The job cannot do what was asked: a wrong path, bucket, model, setting. It stops with this one line."""


class JobError(Exception):
    """The job broke down under way: an engine would not start, the cluster is gone. It stops with this one line."""
