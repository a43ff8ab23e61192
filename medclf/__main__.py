"""``python -m medclf``, also installed as ``medclf``: list the commands, or run one (``medclf train dataset=busi``)."""

import runpy
import sys

from medclf.utils.errors import ConfigError, format_list, suggest
from medclf.utils.safe_terminal import command_errors

COMMANDS = {
    "audit": "find out what is in a dataset and what is wrong with it",
    "prepare": "download, check and prepare a dataset",
    "train": "train, test and report a classifier; -m: a sweep",
    "evaluate": "evaluate a run again, anybody's predictions, or a model on other images",
    "compare": "compare runs on the same test images",
    "report": "show all runs below a folder in one table",
    "predict": "predict the class of images",
    "export": "write a model for ONNX Runtime, torch.export or OpenVINO",
    "ensemble": "average several runs into one model",
    "cascade": "join two runs into a two-stage model",
    "demo": "try a model in the browser",
}
"""What each command does."""


def main() -> None:
    """List the commands, or run the one that is named first."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(format_commands())
        return
    name = words[0]
    if name not in COMMANDS:
        with command_errors():
            raise ConfigError(
                f"{name}: there is no such command; {suggest(name, COMMANDS)}Valid: {format_list(COMMANDS)}"
            )
    del sys.argv[1]
    runpy.run_module(f"medclf.{name}", run_name="__main__", alter_sys=True)


def format_commands() -> str:
    """Return the list of commands, a line for each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    usage = ["usage: medclf COMMAND key=value ...    or: python -m medclf.COMMAND key=value ...", ""]
    return "\n".join([*usage, *lines, "", "medclf COMMAND --help lists the keys of a command.", ""])


if __name__ == "__main__":
    main()
