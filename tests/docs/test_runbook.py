"""docs/operations.md: what it points to is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()


def test_each_row_is_produced_by_something_that_exists() -> None:
    rows = re.findall(r"^\| (\d+) \| .* \| ([^|]+) \|$", RUNBOOK, re.MULTILINE)
    assert len(rows) > 11 and [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    makefile = (ROOT / "Makefile").read_text()
    for number, produced_by in rows:
        names = re.findall(r"`([^`]+)`", produced_by)
        assert names, number
        for name in names:
            if name.startswith("tests/"):
                assert (ROOT / name).exists(), name
            elif name.startswith("make "):
                assert re.search(rf"^{name.split()[1]}:.*## ", makefile, re.MULTILINE), name
            else:
                assert f"def {name}(" in tests, name


def test_its_deployments_are_those_of_prefect_yaml() -> None:
    import yaml

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    named = set(re.findall(r"^\| `[a-z]+/([a-z-]+)` \|", RUNBOOK, re.MULTILINE))
    assert named == {one["name"] for one in deployments}
