"""Replaces Prefect's automations by those of the same names in automations.yaml: `make deploy` runs it."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from ruamel.yaml import YAML

from tasks.report.plain_text import plain_in_template

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

PATH = Path("automations.yaml")
NOTIFY = "send-notification"
MESSAGE = plain_in_template("flow_run.state.message or ''")
HOW_TO = "set ELSA_ALERT_BLOCK to a notification block of Prefect, such as slack-webhook/ops"


def put_in_place(path: Path, block: str | None) -> list[str]:
    """Creates the file's automations: $block is the notification block of that type and name, $message as MESSAGE.

    Without a block, it is the one that they have had so far; where they never had one, those that need it are left
    out. Returns the names of what is in place. Raises ValueError where Prefect has no such block.
    """
    from prefect.client.orchestration import get_client
    from prefect.events.schemas.automations import AutomationCore

    with get_client(sync_client=True) as client:
        wanted = read_automations(path)
        block_id = _block_so_far(client, wanted) if block is None else str(_block_id(client, block))
        placed = [one for one in wanted if block_id or "$block" not in str(one)]
        for one in placed:
            for action in one["actions"]:
                if action.get("block_document_id") == "$block":
                    action["block_document_id"] = block_id
            for earlier in client.read_automations_by_name(one["name"]):
                client.delete_automation(earlier.id)
            client.create_automation(AutomationCore.model_validate(one))
    return [one["name"] for one in placed]


def read_automations(path: Path) -> list[dict]:
    """The file's automations with what $message stands for."""
    wanted = YAML(typ="safe").load(path)["automations"]
    for action in (action for one in wanted for action in one["actions"] if action["type"] == NOTIFY):
        for part in ("subject", "body"):
            action[part] = action[part].replace("$message", MESSAGE)
    return wanted


def _block_id(client: "SyncPrefectClient", block: str) -> UUID:
    from prefect.exceptions import ObjectNotFound

    kind, _, name = block.partition("/")
    try:
        return client.read_block_document_by_name(name, kind).id
    except ObjectNotFound:
        raise ValueError(f"Prefect has no block {block!r}; {HOW_TO}") from None


def _block_so_far(client: "SyncPrefectClient", wanted: list[dict]) -> str | None:
    from prefect.events.actions import SendNotification

    earlier = [one for name in wanted for one in client.read_automations_by_name(name["name"])]
    actions = [action for one in earlier for action in one.actions]
    return next((str(one.block_document_id) for one in actions if isinstance(one, SendNotification)), None)


def main() -> int:
    """Puts them in place and says which."""
    block = os.environ.get("ELSA_ALERT_BLOCK")
    try:
        placed = put_in_place(PATH, block)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("in place:", *placed, sep="\n  ")
    if block is None and len(placed) == 1:
        print(f"No notifications of failed runs are sent; {HOW_TO}, and deploy again.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
