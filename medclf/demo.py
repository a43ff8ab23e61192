"""``python -m medclf.demo``: a page, on this machine only, on which one drops an image and sees what a model says."""

import sys
from functools import partial
from importlib.util import find_spec

from medclf.cli import key_value_arguments
from medclf.config.command_schemas import DemoConfig
from medclf.inference.composite_model_files import validate_model
from medclf.inference.model_metadata import find_model_file
from medclf.utils.errors import ConfigError
from medclf.utils.process_lifecycle import importing_libraries


def work(config: DemoConfig) -> None:
    """Serve the page until Ctrl-C. Raises ConfigError or DataError."""
    path = find_model_file(config.run, config.model)
    facts = validate_model(path, config.trust_code)
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ConfigError(f'the page needs {" and ".join(missing)}: python -m pip install "medclf[demo]"')
    from medclf.web_demo.headline_metrics import get_headline_metrics
    from medclf.web_demo.server import address, listen, serve

    figures = get_headline_metrics(path, facts)
    with listen(config.port) as listening:
        with importing_libraries():
            from medclf.web_demo.app import build_app  # torch: once the port is known to be free
            from medclf.web_demo.page import render_page
            from medclf.web_demo.prediction_answer import answer_image, load_warm_predictor

        engine = load_warm_predictor(path, config.accelerator, config.trust_code, config.max_megapixels)
        app = build_app(partial(answer_image, engine), render_page(facts, figures, config.max_mb), config.max_mb)
        sys.stdout.write(f"{address(listening)}  open it on this machine; Ctrl-C here ends it\n")
        sys.stdout.flush()
        serve(app, listening)


def main() -> None:
    """Run the command line."""
    key_value_arguments.run_key_value_command(DemoConfig, work)


if __name__ == "__main__":
    main()
