"""``python -m medclf.cascade stage1=RUN stage2=RUN``: healthy or ill, and then which disease. Imports no torch."""

from medclf.cli import key_value_arguments
from medclf.cli.results_folder import choose_output_folder
from medclf.config.command_schemas import CascadeConfig


def main() -> None:
    """Run the command line."""
    key_value_arguments.run_key_value_command(CascadeConfig, cascade)


def cascade(config: CascadeConfig) -> None:
    """Join, judge, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = choose_output_folder(config.output, "cascade")

    from medclf.composites.stages import read_stages  # pandas, which --help does not pay

    stages = read_stages(config.stage1, config.stage2, config.trust_code)

    from medclf.composites.cascade import build_cascade  # torch and Matplotlib likewise

    build_cascade(stages, folder, config.target, config.accelerator, config.trust_code)


if __name__ == "__main__":
    main()
