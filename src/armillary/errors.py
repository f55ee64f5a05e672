"""What a user reads instead of a stack trace: one clear sentence, and the exit code of the command.

Every error names what was wrong, the value that was given, and what would be accepted.
"""


class ArmillaryError(Exception):
    """Something a user can understand and mend; the command line prints the sentence and exits."""

    exit_code = 2


class UsageError(ArmillaryError, ValueError):
    """An argument, a word list or a file was not of the accepted form."""


class ModelError(ArmillaryError):
    """A model could not be found, opened, or is of a kind that the method does not support."""


class NumericError(ArmillaryError):
    """The model or the data gave numbers that no method can use (NaN, infinite, constant)."""


class InsufficientSamplesError(NumericError):
    """No sample fell where something was to be counted; the sentence says what was seen and how many would do."""


class DownloadError(ArmillaryError):
    """Something had to be fetched and could not be, or did not match its checksum."""


class StorageError(ArmillaryError):
    """A file could not be written or read: no space, no permission, locked by another run."""


class CheckFailed(ArmillaryError):
    """A check or a claim did not hold; the work itself finished."""

    exit_code = 1
