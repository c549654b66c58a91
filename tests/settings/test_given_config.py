"""The flows' parameter `config`: a deployment names a file, and learns nothing about the others."""

from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
import yaml

from flows.hooks import record_end
from flows.rollback import rollback
from tasks.errors import InputError
from tasks.run.run import open_run
from tasks.settings.config import Config
from tasks.settings.deployment import as_parameters, given_config
from tests.support.worlds import config, settings

WRITES = {"query": "copy (select 1) to 'stolen.csv'; select 1 as user_id"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ELSA_ALLOW_CONFIG_TEXT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_read_anew_by_its_name_and_a_program_may_give_the_thing_itself(folder: Path) -> None:
    for name in ("my.yaml", "my.yml"):
        (folder / name).write_text(yaml.safe_dump(settings()))
        assert given_config(name) == given_config(str(folder / name)) == config()
    (folder / "my.yaml").write_text("warehouse: other\n")
    assert given_config("my.yaml").warehouse == "other"
    assert given_config(config()) == config()


def test_text_in_place_of_a_name_is_refused_unless_the_worker_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for text in ({}, settings(), settings(source=WRITES), [settings()], None, 5):
        with pytest.raises(InputError, match="must be the name of a configuration file.*ELSA_ALLOW_CONFIG_TEXT=1"):
            given_config(text)
    monkeypatch.setenv("ELSA_ALLOW_CONFIG_TEXT", "1")
    assert given_config(settings()) == config()
    with pytest.raises(InputError, match="the run's configuration: warehose: unknown key"):
        given_config({"warehose": "x"})
    with pytest.raises(InputError, match="must be the name"):
        given_config([settings()])


@pytest.mark.parametrize("name", ["", "/etc/passwd", "secrets", "my.yaml/", "my.yaml\n", "a.yaml.bak", "x" * 9999])
def test_only_names_of_yaml_files_count(folder: Path, name: str) -> None:
    (folder / "my.yaml").write_text("")
    with pytest.raises(InputError, match="ending in .yaml or .yml") as error:
        given_config(name)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("name", ["nowhere.yaml", "folder.yaml", "my\0.yaml", "x" * 9999 + ".yaml"])
def test_a_file_that_is_not_there_is_said_to_be_missing(folder: Path, name: str) -> None:
    (folder / "folder.yaml").mkdir()
    with pytest.raises(InputError, match="there is no such file") as error:
        given_config(name)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "content",
    ["root:$6$SECRET:19000:0:99999:7:::\n\t: SECRET", "password: SECRET", "warehouse: [SECRET]", "- SECRET", "SECRET",
     "seed: SECRET", "a: 1\na: &SECRET 2", "source: {timezone: SECRET}", "SECRET: 1"],
)  # fmt: skip
def test_what_another_file_holds_is_not_told(folder: Path, content: str) -> None:
    (folder / "other.yaml").write_text(content)
    with pytest.raises(InputError, match="elsa runs --config other.yaml says why") as error:
        given_config("other.yaml")
    assert "SECRET" not in str(error.value)
    assert error.value.__suppress_context__


def test_a_configuration_is_checked_before_it_is_deployed(folder: Path) -> None:
    (folder / "my.yaml").write_text("warehose: x\n")
    with pytest.raises(InputError, match="did you mean 'warehouse'"):
        as_parameters("my.yaml", "/app")
    (folder / "my.conf").write_text("warehouse: x\n")
    with pytest.raises(InputError, match="ending in .yaml or .yml"):
        as_parameters("my.conf", "/app")


@pytest.mark.parametrize("given", [settings(), settings(source=WRITES), "/etc/passwd"])
def test_a_flow_refuses_it(given: object, without_prefect: None) -> None:
    with pytest.raises(InputError, match="must be the name of a configuration file"):
        rollback.fn(given)


@pytest.mark.parametrize("name", ["../../other/runs/1", "1/../../../other/runs/1", "{}/other/runs/1", "1/", ".", ""])
def test_a_run_to_resume_is_one_of_the_warehouse(folder: Path, name: str) -> None:
    for run in (folder / "other/runs/1", folder / "warehouse/runs/1", folder / "warehouse/published"):
        run.mkdir(parents=True)
        (run / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="there is no run"), open_run(config(), resume=name.format(folder)):
        pass
    assert (folder / "other/runs/1/manifest.json").exists()


def test_a_hook_takes_text_only_of_a_run_that_no_deployment_started(folder: Path) -> None:
    state = SimpleNamespace(message="gone", name="Crashed", is_cancelling=lambda: False, is_cancelled=lambda: False)
    run = SimpleNamespace(id=uuid4(), parameters={"config": Config().model_dump()}, deployment_id=None)
    record_end(None, run, state)
    run.deployment_id = uuid4()
    with pytest.raises(InputError, match="must be the name of a configuration file"):
        record_end(None, run, state)
    run.parameters = {"config": "my.yaml"}
    (folder / "my.yaml").write_text("warehouse: mine\n")
    record_end(None, run, state)
