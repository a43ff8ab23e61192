from pathlib import Path

import medclf


def conf_dir() -> Path:
    """The folder of configurations: inside the package when installed from a wheel, else at the top of the checkout."""
    package = Path(medclf.__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
