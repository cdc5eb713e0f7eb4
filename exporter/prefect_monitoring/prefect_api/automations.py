"""Reads, creates, replaces and deletes Prefect's own automations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from prefect_monitoring.model.automations import Automation, NotificationBlock
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError, ThrottledError
from prefect_monitoring.prefect_api.pagination import Paginator, Row, decode, instant

MANAGE_AUTOMATIONS: Final = frozenset(
    {("POST", "/automations/"), ("PUT", "/automations/{id}"), ("DELETE", "/automations/{id}")}
)
_LONGEST_REASON: Final = 300


class AutomationsApi:
    """Its writes need a client that was opened for `MANAGE_AUTOMATIONS`. Every method raises ApiError."""

    def __init__(self, http: PrefectHttp) -> None:
        self._http = http
        self._paginator = Paginator(http)

    async def all(self) -> list[Automation]:
        """Every automation of the workspace, the oldest first."""
        rows = await self._paginator.all("/automations/filter", {"sort": "CREATED_DESC"})
        return sorted(decode(_automation, rows), key=lambda automation: (automation.created_at, automation.id))

    async def owned_by(self, resource: str) -> frozenset[str]:
        """The ids of the automations that were created with this `owner_resource`."""
        endpoint = "/automations/related-to/{resource}"
        try:
            rows = await self._http.request(endpoint, names={"resource": resource})
        except ApiError as error:
            if error.code != "404":
                raise
            return frozenset()
        return frozenset(decode(lambda row: str(row["id"]), rows))

    async def notification_blocks(self) -> list[NotificationBlock]:
        """The blocks that can send messages, without their contents."""
        criteria = {
            "block_schemas": {"block_capabilities": {"all_": ["notify"]}},
            "include_secrets": False,
            "sort": "BLOCK_TYPE_AND_NAME_ASC",
        }
        return decode(_block, await self._paginator.all("/block_documents/filter", criteria))

    async def create(self, definition: Mapping[str, Any]) -> None:
        await self._write("POST", "/automations/", definition, {})

    async def replace(self, automation_id: str, definition: Mapping[str, Any]) -> None:
        """Replaces a definition; without `owner_resource`, which Prefect accepts only at creation."""
        await self._write("PUT", "/automations/{id}", definition, {"id": automation_id})

    async def delete(self, automation_id: str) -> None:
        """Deletes an automation; one that is already gone is no error."""
        try:
            await self._write("DELETE", "/automations/{id}", None, {"id": automation_id})
        except ApiError as error:
            if error.code != "404":
                raise

    async def _write(self, method: str, endpoint: str, body: object, names: Mapping[str, str]) -> None:
        try:
            await self._http.write(method, endpoint, json=body, names=names)
        except ThrottledError:
            raise
        except ApiError as error:
            reason = _reason(error.detail)
            raise ApiError(f"{error}{': ' + reason if reason else ''}", error.code, detail=error.detail) from None


def _reason(body: bytes) -> str:
    """The server's error about a definition."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        said = json.loads(body)
        faults = said.get("exception_detail") or said.get("detail") or ""
        text = faults if isinstance(faults, str) else "; ".join(str(fault["msg"]) for fault in faults)
        return text[:_LONGEST_REASON]
    return ""


def _automation(row: Row) -> Automation:
    return Automation(
        id=str(row["id"]),
        name=row["name"],
        tags=frozenset(row.get("tags") or ()),
        enabled=bool(row["enabled"]),
        created_at=instant(row["created"]) if row.get("created") else 0.0,
        definition=row,
    )


def _block(row: Row) -> NotificationBlock:
    return NotificationBlock(str(row["id"]), row["name"], row["block_type"]["slug"], row["block_type"]["name"])
