"""Makes jupyter_batch/data/reviews.csv out of vaderSentiment's source distribution (see SOURCE.md beside that file).

    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    python docs/make_demo_data.py vaderSentiment-3.3.2.tar.gz

It changes no text: of each review it takes the first sentence of 40 to 160 characters, if there is one.
"""

from __future__ import annotations

import csv
import io
import sys
import tarfile
from pathlib import Path

INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
FILE = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
HERE = Path(__file__).parent.parent / "jupyter_batch" / "data" / "reviews.csv"


def snippets(sdist: str) -> list[tuple[str, str, str]]:
    """Every (id, mean rating, text) of the file inside the archive inside the source distribution."""
    with tarfile.open(sdist) as outer:
        inner = next(name for name in outer.getnames() if name.endswith(INNER))
        packed = outer.extractfile(inner)
        assert packed is not None  # noqa: S101  it was in the names
        with tarfile.open(fileobj=io.BytesIO(packed.read())) as archive:
            text = archive.extractfile(FILE)
            assert text is not None  # noqa: S101
            lines = text.read().decode("utf-8").splitlines()
    return [(parts[0], parts[1], parts[2]) for line in lines if len(parts := line.split("\t")) == 3]  # noqa: PLR2004


def main() -> None:
    """One row a review."""
    chosen: dict[str, tuple[str, str, str]] = {}
    for snippet, rating, text in snippets(sys.argv[1]):
        if 40 <= len(text.strip()) <= 160:  # noqa: PLR2004  a sentence, not a title
            chosen.setdefault(snippet.partition("_")[0], (snippet, rating, text.strip()))
    with HERE.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["snippet", "human_rating", "feedback"])
        writer.writerows(chosen.values())


if __name__ == "__main__":
    main()
