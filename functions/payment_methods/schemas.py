"""How a user arranges saved cards."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from functions.shared.web import Body


class Arrangement(Body):
    """Either make the card the default, or place it in the backup chain (1 is tried first)."""

    is_default: Literal[True] | None = None
    backup_position: Annotated[int, Field(ge=1, le=100)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.is_default is None) == (self.backup_position is None):
            raise ValueError("takes is_default or backup_position")
        return self
