"""The two kinds of trouble: one that becomes a row, and one that stops the job."""

from pipeline.schema import FailureCode


class RecordingError(Exception):
    """Something is wrong with one recording. It becomes a failure in that recording's row; the job goes on."""

    def __init__(self, code: FailureCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ConfigurationError(Exception):
    """The job cannot do what was asked: a wrong path, bucket, model, setting. It stops with this one line."""


class JobError(Exception):
    """The job broke down under way: an engine would not start, the cluster is gone. It stops with this one line."""
