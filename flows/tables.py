"""Files from the published model: scores of pairs, vectors."""

from pathlib import Path

from prefect import flow

from tasks.read.export import Format, export_vectors
from tasks.read.score import score_file
from tasks.run.handles import Exported, Scored
from tasks.settings.config import Config


@flow
def score(config: Config, pairs: Path, out: Path) -> Scored:
    """Scores a Parquet file of pairs."""
    return score_file(config, pairs, out)


@flow
def export(config: Config, form: Format, out: Path) -> Exported:
    """Writes the vectors into a folder."""
    return export_vectors(config, form, out)
