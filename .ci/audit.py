"""Known vulnerabilities of what is installed here, looked up by pip-audit: make audit.

Exit codes: 0 every package was looked up, and each finding is answered in docs/dependencies.md; 1 a finding is not
answered, or no longer; 2 no audit: the database was not reached, or does not have some of the packages. pip-audit
alone calls those skipped and ends with 0, also where they are all of them.
"""

import json
import re
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import distributions
from pathlib import Path

OWN = "elsa-nightly"
ANSWERS = Path(__file__).parents[1] / "docs" / "dependencies.md"


def installed() -> list[str]:
    """Name and public version of every package, e.g. torch==2.13.0 for 2.13.0+cpu; our own is in no database."""
    versions = {found.name.lower(): found.version.split("+")[0] for found in reversed([*distributions()])}
    return [f"{name}=={version}" for name, version in sorted(versions.items()) if name != OWN]


def look_up(pins: list[str]) -> list[dict] | str:
    """What pip-audit says of each package, or why it says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "installed.txt"
        path.write_text("\n".join(pins))
        command = [sys.executable, "-m", "pip_audit", "--requirement", path, "--no-deps", "--disable-pip",
                   "--format", "json", "--progress-spinner", "off"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)["dependencies"]
    except json.JSONDecodeError:
        return (done.stderr.strip() or f"pip-audit ended with {done.returncode}").splitlines()[-1]


def answered(document: str, today: date) -> set[str]:
    """Ids in the table of findings whose answer still counts: | id | package | answer | until, as 2027-05-31 |."""
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d{4}-\d\d-\d\d) \|$", document, re.MULTILINE)
    return {found for found, until in rows if today <= date.fromisoformat(until)}


def judge(packages: list[dict], answers: set[str]) -> tuple[int, list[str]]:
    """The exit code and what to print."""
    found = [(package, finding) for package in packages for finding in package.get("vulns", [])]
    left = [(package, finding) for package, finding in found if not {finding["id"], *finding["aliases"]} & answers]
    lines = [f"{package['name']} {package['version']}: {finding['id']} ({', '.join(finding['aliases'])}), mended in "
             f"{', '.join(finding['fix_versions']) or 'no release'}" for package, finding in left]  # fmt: skip
    if left:
        lines.append(f"{len(left)} without an answer: update the package, or answer in docs/dependencies.md")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped or not packages:
        lines.append(f"no audit: the database has nothing on {len(skipped)} of {len(packages)} packages, e.g. "
                     f"{', '.join(skipped[:5])}; is a full index of PyPI reached from here?")  # fmt: skip
    else:
        lines.append(f"{len(packages)} packages looked up, {len(found)} findings, {len(found) - len(left)} answered")
    return (1 if left else 2 if skipped or not packages else 0), lines


def main() -> int:
    packages = look_up(installed())
    if isinstance(packages, str):
        print(f"no audit: {packages}", file=sys.stderr)
        return 2
    code, lines = judge(packages, answered(ANSWERS.read_text(), date.today()))
    print("\n".join(lines), file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
