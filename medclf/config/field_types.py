"""The types of the fields of configurations and components."""

import math
import os
import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from medclf.config.limits import MAX_CLASS_NAME, MAX_NAME, MAX_PATH_PART, MAX_SEED, MAX_TEXT

Share = Annotated[float, Field(ge=0, lt=1)]
FILE_ENDING = re.compile(
    r"(?<=[^/\\])(\.(bin|bmp|ckpt|csv|dcm|gif|gz|html?|jpe?g|json|log|md|np[yz]|onnx|pdf|png|pt[2h]?|svg|tar|tgz|tiff?|tsv"
    r"|txt|xlsx?|xml|ya?ml|zip))+[/\\]*$",
    re.IGNORECASE,
)
"""End of a name by which it is taken for the name of a file."""
Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Mode = Literal["min", "max"]


def text_item(value: Any) -> Any:
    """Return a number as text where a name is due, as ``dataset.classes=[0,1]`` gives it; a boolean is no name.

    Raises:
        ValueError: for true and false, which YAML makes of yes, no, on and off.
    """
    if isinstance(value, bool):
        raise ValueError('must be text; YAML reads yes and no as true and false: write "yes" or "no" in quotes')
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be text")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("must not hold a NUL character")
    return str(value) if isinstance(value, int | float) else value


def has_control(value: str) -> bool:
    """Return whether text holds a control character, which no name has: a line break, a tab, an escape sequence."""
    return any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in value)


def plain_name(value: str) -> str:
    """Return a name that can be part of a file's name.

    Raises:
        ValueError: for one that is empty, too long, begins with a point, or has / or \\ or a control character.
    """
    wrong = not value.strip() or set("/\\") & set(value) or value.startswith(".") or has_control(value)
    if wrong or len(os.fsencode(value)) > MAX_NAME:
        raise ValueError(
            f"must be a name of at most {MAX_NAME} bytes, without / or \\ or control characters or a point at its start"
        )
    return value


def class_name(value: str) -> str:
    """Return the name of a class.

    Raises:
        ValueError: for an empty one, and one with a control character.
    """
    if not value.strip() or has_control(value):
        raise ValueError("must be the name of a class, without control characters")
    return value


def path_text(value: str) -> str:
    """Return the path of a file or folder.

    Raises:
        ValueError: for an empty one, and one of which a part is longer than file systems allow.
    """
    longest = max(len(os.fsencode(part)) for part in re.split(r"[/\\\\]", value))
    if not value.strip() or longest > MAX_PATH_PART:
        raise ValueError(f"must be a path, each part of it of at most {MAX_PATH_PART} bytes")
    return value


def folder_text(value: str) -> str:
    """Return the path of a folder to be written.

    Raises:
        ValueError: for one that ends like the name of a file.
    """
    folder = FILE_ENDING.sub("", value)
    if folder != value:
        text = f"output={folder}"
        raise ValueError(f"names a folder, and this is the name of a file; use {shlex.quote(text)}")
    return value


def not_boolean(value: Any) -> Any:
    """Return a value that is not a boolean, which Python takes for 0 or 1.

    Raises:
        ValueError: for true and false.
    """
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def not_null(value: Any) -> Any:
    """Return a value that is not null.

    Raises:
        ValueError: for null.
    """
    if value is None:
        raise ValueError("must not be null")
    return value


Text = Annotated[str, BeforeValidator(text_item)]
PathText = Annotated[Text, AfterValidator(path_text)]
OutputFolder = Annotated[str, AfterValidator(folder_text)]
"""A folder that a command writes, ``output``."""
Name = Annotated[Text, AfterValidator(plain_name)]
"""A name that becomes part of a file's name."""
ClassName = Annotated[Text, Field(max_length=MAX_CLASS_NAME), AfterValidator(class_name)]


def _has_target(node: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(node.get("_target_"), str):
        raise ValueError("needs a _target_: the import path of the class to build, e.g. torch.optim.Adam")
    return node


Target = Annotated[dict[str, Any], AfterValidator(_has_target)]
"""A node that names a class by its import path, ``_target_``, beside the arguments that it is built with."""


def _class_weights(value: Any) -> Any:
    weights = value.values() if isinstance(value, dict) else ()
    numbers = [type(item) in (int, float) and 0 < item < float("inf") for item in weights]
    if value not in ("none", "auto") and not (numbers and all(numbers)):
        raise ValueError("must be none, auto, or a weight above 0 for each named class, such as {malignant: 2.0}")
    return value


ClassWeights = Annotated[Any, AfterValidator(_class_weights)]
"""``none``, ``auto``, or a weight above 0 for some of the classes."""


Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


def _folders(value: Any) -> Any:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str | int | float) and not isinstance(name, bool) for name in names):
        raise ValueError("must be the name of a folder, or a list of names")
    texts = [str(name) for name in names]
    if any(not name.strip() or has_control(name) or len(name) > MAX_TEXT for name in texts):
        raise ValueError("must be the name of a folder without control characters")
    return texts if isinstance(value, list) else texts[0]


Folders = Annotated[Any, AfterValidator(_folders)]
"""The folder of a class, or several."""


def _monitor(value: Any) -> Any:
    if value is None:
        raise ValueError("needs the name of a validation metric, such as val/auroc_macro")
    return value


Monitor = Annotated[Text, BeforeValidator(_monitor)]


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
