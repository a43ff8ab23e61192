"""The base class of the schemas of components."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from medclf.config.limits import MAX_TEXT


class ComponentConfig(BaseModel):
    """The arguments of a class: exact types, finite numbers, no unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_max_length=MAX_TEXT)

    packages: ClassVar[Mapping[str, str]] = {}
    """Packages that the class needs besides medclf's own: what ``pip install`` takes, by the name that is imported."""

    @classmethod
    def converted(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return checked arguments as the class takes them; plain data where a subclass says nothing else."""
        return arguments


class NoArguments(ComponentConfig):
    """Takes no arguments."""


Components = Mapping[str, type[ComponentConfig]]
