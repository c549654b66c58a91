"""Data in alerts and in Prefect's artifacts: nobody is mentioned, nothing is linked or loaded."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from flows.automations import PATH, read_automations
from tasks.report import report
from tasks.report.plain_text import plain
from tasks.run.handles import Outcome
from tests.support.worlds import config

HOSTILE = [
    "<!channel> <!here> <!everyone>",
    "<@U123> and <#C123> and <!subteam^S1>",
    "@everyone, @here: see @channel",
    "<http://evil.test/x|your bank>",
    "![x](http://evil.test/x.png)",
    "![x](//evil.test/x.png) ![y](/api/x)",
    "[x]: //evil.test/x.png",
    "![x][y] [y]:http://evil.test",
    "<img src=//evil.test/x.png onerror=alert(1)>",
    "see HTTPS://evil.test or www.evil.test, javascript://evil.test",
    "`code` ```js\nalert(1)\n```",
    "a\nb\r\nc\td\x0be\u2028f\x85g",
    "\x1b[31mred\x1b[0m \x07 \x00 \x9b31m \x7f",
    "\u202egnp.exe \u2066x\u2069 \ufeff\u200b",
    "</td></tr><script>alert(1)</script>",
    "mail somebody@evil.test",
    "see WWW.evil.test, wWw.evil.test, Www.evil.test, wwww.evil.test and ndcg@10.www.evil.test",
    "anna@1evil.test anna@1.evil.test anna@10.2.evil.test anna@1-evil.test anna@1\u3002evil.test",
    "@1 @1evil a.b@1 anna@1/x anna@1@evil.test anna@\u0661",
    "x" * 100_000,
    "<" * 100_000,
]
HARMFUL = re.compile(
    r"""[<>`\[\]\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2028\u2066\ufeff]|://|(?i:www\.)"""
    r"|(?<![\w.])\d*@|[.@]\w+@|@(?!\d+(\.?[\s,:;)|…]|\.?$))|@[^0-9]"
)


def assert_harmless(text: str, length: int) -> None:
    assert not HARMFUL.search(text), text[:300]
    assert 0 < len(text) <= length


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_of_data_is_harmless_and_short(text: str) -> None:
    assert_harmless(plain(text), 300)
    assert "\n" not in plain(text)


def test_what_we_say_ourselves_stays_as_it_is() -> None:
    said = "ndcg@100 is 0.1 (95 % CI -1.0 to +1.5), history:1-5; it must be at least 0.2: data/my file.csv, 'x' & y"
    assert plain(said) == said


def test_a_metric_keeps_its_name_wherever_it_stands() -> None:
    said = "passed: ndcg@10, recall@100: 0.1 (ndcg@5) hit_rate@20; more of ndcg@10. Then ndcg@10"
    assert plain(said) == said


def alert(message: str | None) -> tuple[str, str]:
    """Subject and body of an alert, as Prefect makes them."""
    from prefect.server.utilities.user_templates import register_user_template_filters, render_user_template

    register_user_template_filters({"ui_url": lambda _: "/runs/1"})
    state = SimpleNamespace(name="Failed", message=message)
    context = {
        "flow": SimpleNamespace(name="nightly"),
        "flow_run": SimpleNamespace(state=state, expected_start_time="03:00"),
    }
    action = read_automations(PATH)[0]["actions"][0]
    subject, body = (asyncio.run(render_user_template(action[part], context)) for part in ("subject", "body"))
    return subject, body


@pytest.mark.parametrize("text", HOSTILE)
def test_an_alert_is_harmless_and_short(text: str) -> None:
    subject, body = alert(text)
    assert_harmless(subject, 300)
    assert_harmless(body, 2100)
    assert "@" not in subject + body
    assert "\n" not in subject


def test_an_alert_says_why_in_its_first_line_or_that_nothing_has_started() -> None:
    subject, body = alert("InputError: no such file: data/x.parquet\nsecond line")
    assert subject == "elsa nightly Failed: InputError: no such file: data/x.parquet"
    assert body.startswith("InputError: no such file: data/x.parquet\nsecond line\n\n")
    subject, body = alert(None)
    assert subject == "elsa nightly Failed: it has not started"
    assert body.startswith("It should have started at 03:00\n")


def test_every_template_takes_the_message_only_where_it_is_made_harmless() -> None:
    for one in read_automations(PATH):
        for action in one["actions"]:
            for part in ("subject", "body"):
                rest = action.get(part, "").replace("(flow_run.state.message or '').translate(", "")
                assert "message" not in rest


def test_artifacts_are_harmless(first_night: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(report, "create_markdown_artifact", lambda text, key, description: made.update({key: text}))
    monkeypatch.setattr(report, "create_table_artifact", lambda rows, key, description: made.update({key: rows}))
    monkeypatch.setattr(report, "create_link_artifact", lambda link, link_text, key: made.update({key: link}))
    run = report.Run(config(), first_night.run_id)
    facts = report.collect_facts(run)
    facts["manifest"].reasons = HOSTILE
    facts["lead"] = HOSTILE[0]
    facts["gate"] = [{"passed": False, "verdict": text} for text in HOSTILE]
    report._create_artifacts(facts, run.files.folder / "report.html")
    verdict = made["verdict"]
    for line in verdict.replace(f"`elsa report {run.run_id}`", "").splitlines():
        assert not HARMFUL.search(line) and len(line) < 310, line[:300]
    assert verdict.count("\n- ") == 2 * len(HOSTILE)
    assert made["metrics"]
    for value in (value for row in made["metrics"] for value in row.values()):
        assert re.fullmatch(r"[\w@%. -]*", str(value)), "names of ours and numbers"


@pytest.mark.usefixtures("prefect_server")
def test_a_failure_is_announced_once_however_often_its_event_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect evaluates an event anew for all automations where one of them found its database locked."""
    from prefect.client.orchestration import get_client
    from prefect.events.schemas.automations import AutomationCore
    from prefect.server.events import triggers
    from prefect.server.events.schemas.automations import Firing
    from prefect.server.events.schemas.events import ReceivedEvent

    announcing = read_automations(PATH)[0] | {"actions": []}
    with get_client(sync_client=True) as client:
        automation_id = client.create_automation(AutomationCore.model_validate(announcing))
    fired: list[Firing] = []
    run_id = uuid4()

    async def act(firing: Firing) -> None:
        fired.append(firing)

    def event(state: str, moment: datetime) -> ReceivedEvent:
        run = {"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.state-timestamp": moment.isoformat()}
        tag = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.elsa"}
        name = f"prefect.flow-run.{state}"
        return ReceivedEvent(occurred=moment, event=name, resource=run, related=[tag], id=uuid4(), received=moment)

    async def evaluate() -> None:
        moment = datetime.now(UTC)
        late, failed = event("Late", moment), event("Failed", moment + timedelta(seconds=1))
        await triggers.automation_changed(automation_id, "automation__created")
        for one in (late, late, failed, late, failed):
            await triggers.reactive_evaluation(one)

    monkeypatch.setattr(triggers, "act", act)
    try:
        asyncio.run(evaluate())
    finally:
        triggers.clear_loaded_automations()
        with get_client(sync_client=True) as client:
            client.delete_automation(automation_id)
    assert [firing.triggering_event.event for firing in fired] == ["prefect.flow-run.Late", "prefect.flow-run.Failed"]
