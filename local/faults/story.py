"""What happened, for a person to read."""

from typing import NamedTuple


class Line(NamedTuple):
    """One thing that happened: when (seconds since the beginning), to whom, what, and the fault that struck."""

    at_seconds: float
    who: str
    what: str
    fault: str

    def __str__(self) -> str:
        minutes, seconds = divmod(self.at_seconds, 60)
        hours, minutes = divmod(int(minutes), 60)
        struck = f"   << {self.fault.upper().replace('_', ' ')} >>" if self.fault else ""
        return f"{hours:4d}:{minutes:02d}:{seconds:06.3f}  {self.who:<26} {self.what}{struck}"
