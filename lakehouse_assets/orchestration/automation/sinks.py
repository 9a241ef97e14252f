"""Where alerts go. A sink takes what is new: troubles that have begun and troubles that are over.

Belongs here: how a message leaves the house. Does not belong here: what counts as trouble (`alerts.py`). Another sink
is a class with `tell`, given to `build_definitions(alert_sink=…)`.
"""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import PROJECT, Settings

_SHOWN = 20
"""So many alerts are listed one by one in the text of a message."""


Kind = Literal[
    "run_failed",
    "given_up",
    "account_unreachable",
    "drop_refused",
    "drop_unreadable",
    "drop_not_taken_in",
    "source_unavailable",
    "table_damaged",
    "reconciliation_mismatch",
    "check_failed",
    "not_fresh",
    "area",
    "cannot_look",
]
"""Each has a section of its own in the runbook."""


@dataclass(frozen=True)
class Alert:
    """One trouble. The same trouble has the same `key`, for as long as it lasts. `summary` is one sentence; `since` in
    seconds since 1970.
    """

    key: str
    kind: Kind
    summary: str
    since: float

    @property
    def runbook(self) -> str:
        """Where it is written what this means and what to do: in the repository that LAKEHOUSE_CODE_URL names, in this
        checkout, or, of an installed package, the name of the page.
        """
        page, section = "docs/operations.md", self.kind.replace("_", "-")
        base = Settings.model_validate({}).code_url
        file = PROJECT / page
        place = f"{base.rstrip('/')}/{page}" if base else file.as_uri() if file.exists() else page
        return f"{place}#{section}"


def text(began: Sequence[Alert], over: Sequence[Alert]) -> str:
    """The news as lines for a person."""
    news = [(True, alert) for alert in began] + [(False, alert) for alert in over]
    lines = [
        f"ALERT {a.kind}: {a.summary} See {a.runbook}." if begins else f"RESOLVED {a.kind}: {a.summary}"
        for begins, a in news[:_SHOWN]
    ]
    return "\n".join([*lines, *([f"And {len(news) - _SHOWN} more."] if len(news) > _SHOWN else [])])


class AlertSink(dg.ConfigurableResource, ABC):
    """Takes news of troubles."""

    @abstractmethod
    def tell(self, log: Any, began: Sequence[Alert], over: Sequence[Alert]) -> None:
        """Deliver the news, or raise: what could not be delivered is reported again at the next tick. log: a logger of
        the tick.
        """


class LogSink(AlertSink):
    """Writes to the log of the tick, which the UI shows."""

    def tell(self, log: Any, began: Sequence[Alert], over: Sequence[Alert]) -> None:
        for line in text(began, over).splitlines():
            log.warning(line)


class WebhookSink(AlertSink):
    """Posts JSON: `text` for chats (Slack, Mattermost and the like read it), `alerts` for programs."""

    url: str = Field(description="the webhook; a secret, for whoever knows it may post")
    timeout_seconds: float = 10.0

    def tell(self, log: Any, began: Sequence[Alert], over: Sequence[Alert]) -> None:
        alerts = [
            {
                **asdict(a),
                "since": datetime.fromtimestamp(a.since, UTC).isoformat(),
                "status": status,
                "runbook": a.runbook,
            }
            for status, some in (("firing", began), ("resolved", over))
            for a in some
        ]
        body = json.dumps({"text": text(began, over), "alerts": alerts}).encode()
        try:
            # The address stays out of every message: it is a secret.
            request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=self.timeout_seconds):
                pass
        except urllib.error.HTTPError as error:
            raise LakehouseError(f"The alert webhook answered {error.code}; check LAKEHOUSE_ALERT_WEBHOOK.") from None
        except (OSError, ValueError) as error:
            raise LakehouseError(
                f"The alert webhook cannot be reached ({type(error).__name__}); check LAKEHOUSE_ALERT_WEBHOOK."
            ) from None


class ServicesSink(AlertSink):
    """Sends the text of the news by Apprise, which knows Slack, Teams, mail, PagerDuty and a hundred more
    (https://github.com/caronc/apprise/wiki).
    """

    urls: str = Field(
        description="addresses as Apprise writes them, divided by blanks; secrets, for whoever knows them may send"
    )

    def tell(self, log: Any, began: Sequence[Alert], over: Sequence[Alert]) -> None:
        try:
            import apprise
        except ImportError:
            raise LakehouseError(
                "LAKEHOUSE_ALERT_SERVICES needs the package apprise; install it with `pip install"
                " 'lakehouse_assets[alerts]'`."
            ) from None
        logging.getLogger("apprise").disabled = True  # it writes the addresses that it cannot read
        # One by one, to say which of them failed. By its place: an address is a secret.
        failed = []
        for number, url in enumerate(self.urls.split(), 1):
            service = apprise.Apprise.instantiate(url)
            if service is None:
                failed.append(f"address {number} is none that Apprise knows")
            elif not service.notify(
                text(began, over),
                title="Lakehouse alerts" if began else "Lakehouse: resolved",
                notify_type=apprise.NotifyType.WARNING if began else apprise.NotifyType.SUCCESS,
                body_format=apprise.NotifyFormat.TEXT,
            ):
                failed.append(f"{service.service_name} (address {number}) did not take the message")
        if failed:
            raise LakehouseError(f"Alerts were not delivered: {'; '.join(failed)}; check LAKEHOUSE_ALERT_SERVICES.")


def sink(settings: Settings) -> AlertSink:
    """Where the settings send alerts. Raises `LakehouseError` where they name two places."""
    if settings.alert_webhook and settings.alert_services:
        raise LakehouseError(
            "LAKEHOUSE_ALERT_WEBHOOK and LAKEHOUSE_ALERT_SERVICES are both set; keep one (to Apprise a webhook is"
            " json://… or jsons://…)."
        )
    if settings.alert_services:
        return ServicesSink(urls=dg.EnvVar("LAKEHOUSE_ALERT_SERVICES"))
    return WebhookSink(url=dg.EnvVar("LAKEHOUSE_ALERT_WEBHOOK")) if settings.alert_webhook else LogSink()
