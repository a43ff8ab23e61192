"""``python -m medclf.audit``: what is in a dataset, and what is wrong with it."""

from pathlib import Path

from medclf.cli import hydra_app
from medclf.config.command_schemas import AuditConfig
from medclf.config.consistency_validation import validate_dataset_config


def check(config: AuditConfig) -> None:
    """Refuse a config whose parts do not fit, and a root that is not there. Raises ConfigError or DataError."""
    from medclf.data.sources.discovery import validate_root  # NumPy, which --help does not pay

    validate_dataset_config(config.dataset)
    validate_root(config.dataset)


def audit(config: AuditConfig, folder: Path) -> None:
    """Print the audit of a dataset and leave it, with a table and pictures, in a folder."""
    from medclf.reporting.audit_report import audit_dataset

    audit_dataset(config.dataset, folder)


def main() -> None:
    """Run the command line."""
    hydra_app.run_hydra_command(audit, "audit", AuditConfig, check)


if __name__ == "__main__":
    main()
