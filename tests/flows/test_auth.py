"""The auth string of `make server`: made once, for its user's eyes only, and given to what needs it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.auth import auth_string, main, with_auth
from tasks.errors import InputError

ROOT = Path(__file__).parents[2]
HERE = "http://127.0.0.1:4200/api"
SHOW = "import os; print(*(os.environ.get(f'PREFECT_{name}API_AUTH_STRING') for name in ('SERVER_', '')))"


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:o}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "prefect"


def test_it_is_made_once_by_whoever_is_first_and_only_its_user_may_read_it(home: Path) -> None:
    before = os.umask(0)
    try:
        with ThreadPoolExecutor(8) as threads:
            made = set(threads.map(auth_string, [home] * 8))
    finally:
        os.umask(before)
    assert len(made) == 1 and made == {auth_string(home)}
    assert (mode(home), mode(home / "auth")) == ("700", "600")
    assert os.listdir(home) == ["auth"]
    user, _, password = made.pop().partition(":")
    assert user == "elsa" and len(password) >= 40
    assert auth_string(home.with_name("other")) != auth_string(home)


def test_nobody_else_can_read_it_at_any_moment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, seen = os.link, []

    def look(made: str, path: Path) -> None:
        seen.append(mode(Path(made)))
        link(made, path)

    monkeypatch.setattr(os, "link", look)
    monkeypatch.setattr(os, "chmod", None)
    auth_string(home)
    assert seen == ["600"]


def test_a_folder_from_before_is_kept_as_it_is(home: Path) -> None:
    home.mkdir(mode=0o755)
    (home / "prefect.db").write_text("runs")
    auth_string(home)
    assert mode(home / "auth") == "600"
    assert (home / "prefect.db").read_text() == "runs"


@pytest.mark.parametrize("damage", ["readable", "empty", "half", "binary", "folder", "link", "dangling"])
def test_one_that_others_may_know_or_that_is_damaged_is_not_used(home: Path, damage: str) -> None:
    path, text = home / "auth", auth_string(home)
    if damage == "readable":
        path.chmod(0o644)
    elif damage in ("empty", "half", "binary"):
        path.write_bytes({"empty": b"", "half": b"els", "binary": b"\xff:\xff"}[damage])
    else:
        path.unlink()
        path.with_name("else").write_text(text)
        path.mkdir() if damage == "folder" else path.symlink_to("else" if damage == "link" else "nowhere")
    with pytest.raises(InputError, match=f"{path}.*remove it, and start server and worker again"):
        auth_string(home)


def test_a_folder_that_cannot_be_made_is_a_message(home: Path) -> None:
    home.write_text("a file")
    with pytest.raises(InputError, match="cannot be made or read.*File exists"):
        auth_string(home)


@pytest.mark.parametrize("url", [HERE, "http://localhost:4200/api"])
def test_server_and_clients_here_share_it(home: Path, url: str) -> None:
    found = with_auth({"PREFECT_HOME": str(home), "PREFECT_API_URL": url, "X": "y"})
    assert found.pop("PREFECT_SERVER_API_AUTH_STRING") == found.pop("PREFECT_API_AUTH_STRING") == auth_string(home)
    assert found == {"PREFECT_HOME": str(home), "PREFECT_API_URL": url, "X": "y"}


def test_what_the_user_has_set_wins_and_a_server_elsewhere_is_told_nothing(home: Path) -> None:
    given = {"PREFECT_HOME": str(home), "PREFECT_API_URL": HERE, "PREFECT_API_AUTH_STRING": "me:mine"}
    assert with_auth(given)["PREFECT_API_AUTH_STRING"] == "me:mine"
    ours = {"PREFECT_HOME": str(home), "PREFECT_API_URL": HERE, "PREFECT_SERVER_API_AUTH_STRING": "we:ours"}
    assert with_auth(ours)["PREFECT_API_AUTH_STRING"] == "we:ours"
    for url in ("https://prefect.example/api", "http://127.0.0.1:4201/api", "http://127.0.0.1:4200@evil.test/api"):
        assert "PREFECT_API_AUTH_STRING" not in with_auth({"PREFECT_HOME": str(home), "PREFECT_API_URL": url})


def test_a_command_gets_it_in_its_environment_and_not_among_its_arguments(home: Path) -> None:
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": HERE}
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"):
        environment.pop(name, None)
    show = f"import sys; {SHOW}; print(sys.orig_argv)"
    command = [sys.executable, "-m", "flows.auth", sys.executable, "-c", show]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=True)
    shown, arguments = done.stdout.splitlines()
    assert shown.split() == [auth_string(home)] * 2
    assert auth_string(home) not in arguments + done.stderr


def test_one_that_cannot_be_used_ends_the_command(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    auth_string(home)
    (home / "auth").chmod(0o640)
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(home))
    assert main(["true"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("target", ["server", "deploy", "worker"])
def test_make_gives_it_to_every_command_of_prefect_and_limits_origins(target: str, tmp_path: Path) -> None:
    """Each command is replaced by one that shows what it was given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MAKE"))}
    show = tmp_path / "bin" / "prefect"
    show.parent.mkdir()
    origins = "print(os.environ.get('PREFECT_SERVER_CORS_ALLOWED_ORIGINS'))"
    show.write_text(f"#!{sys.executable}\n{SHOW}; {origins}\n")
    show.chmod(0o755)
    python = f"env PYTHONPATH={ROOT} {sys.executable}"
    lines = subprocess.run(
        ["make", "-n", target, f"BIN={show.parent}", "CONFIG=my.yaml", "-o", ".venv/.ready"],
        cwd=ROOT, env=environment, text=True, capture_output=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert lines and all(f"{show.parent}/python -m flows.auth " in line for line in lines)
    (show.parent / "python").write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    (show.parent / "python").chmod(0o755)
    if target != "deploy":  # which goes on to put automations in place
        done = subprocess.run(
            ["make", "-s", target, f"BIN={show.parent}", f"PREFECT_HOME={tmp_path / 'home'}", "-o", ".venv/.ready"],
            cwd=ROOT, env=environment, text=True, capture_output=True, check=True,
        )  # fmt: skip
        string = auth_string(tmp_path / "home")
        limits = "http://127.0.0.1:4200,http://localhost:4200" if target == "server" else "None"
        assert done.stdout.split() == [string, string, limits]
