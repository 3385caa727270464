"""What goes wrong in Heddle."""


class Error(RuntimeError):
    """What was found, what was expected and what to do. `status` is a heddle_status of heddle.h by number."""

    def __init__(self, message: str, status: int = 1, notes: "list[str] | tuple[str, ...]" = ()):
        super().__init__(message)
        self.status = status
        self.notes = list(notes)


class TraceError(Error):
    """A Python function that cannot be written in the pattern language; names the expression."""
