"""A real Prometheus and Alertmanager on loopback, and the webhook that Alertmanager tells."""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import yaml

from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from harness.stack import get, wait_for
from monitoring import rules
from monitoring.settings import Limits, Windows
from shadow.local.process import die_with_parent, free_port

SCRAPE_SECONDS = 1
#: How often Alertmanager tells what is new of a group that it has told of.
GROUP_SECONDS = 1
NAMESPACE = "loopback"
#: Who is told of an alert, by its severity.
RECEIVERS = {"critical": "pager", "warning": "team", "info": "team", "none": "dead-man"}
ALERTMANAGER = ROOT / "deploy" / "prometheus" / "alertmanager.yaml"


@dataclass(frozen=True)
class Told:
    """What a receiver was told of an alert. at: seconds of the monotonic clock."""

    at: float
    receiver: str
    alert: str
    is_firing: bool
    labels: dict[str, str]
    annotations: dict[str, str]


class Webhook:
    """Takes what Alertmanager sends."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        told = self.told

        class Page(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    labels = alert["labels"]
                    is_firing = alert["status"] == "firing"
                    name, notes = labels["alertname"], alert["annotations"]
                    told.append(Told(time.monotonic(), body["receiver"], name, is_firing, labels, notes))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass
class Monitor:
    """Prometheus with the product's own rules, and Alertmanager with its own routes, below a folder."""

    folder: Path
    windows: Windows
    limits: Limits = field(default_factory=Limits)
    prometheus: str = ""
    alertmanager: str = ""

    def __enter__(self) -> Monitor:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.webhook = Webhook()
        self.began = time.monotonic()
        self._running = ExitStack()
        self.targets: list[dict[str, Any]] = []
        self.alertmanager = self._start(
            "alertmanager",
            [
                "prometheus-alertmanager",
                "--config.file=alertmanager.yaml",
                "--storage.path=alerts",
                "--cluster.listen-address=",
            ],
            self._routes(),
        )
        self.prometheus = self._start(
            "prometheus",
            [
                "prometheus",
                "--config.file=prometheus.yaml",
                "--storage.tsdb.path=data",
                "--log.level=warn",
                # Alertmanager takes an alert for resolved four times as long after it was last told
                "--rules.alert.resend-delay=5s",
            ],
            self._scraping(),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self.webhook.server.shutdown()

    def _start(self, name: str, argv: list[str], config: dict[str, Any]) -> str:
        port = free_port()
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
        log = self._running.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            [*argv, f"--web.listen-address=127.0.0.1:{port}"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,
        )
        self._running.callback(_end, process)
        setattr(self, f"{name}_process", process)
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{name} ready", lambda: get(f"{address}/-/ready"))
        return address

    def _routes(self) -> dict[str, Any]:
        """What is shipped, told to our webhook and at once."""
        config: dict[str, Any] = yaml.safe_load(ALERTMANAGER.read_text())
        for receiver in config["receivers"]:
            for hook in receiver["webhook_configs"]:
                hook["url"] = f"http://127.0.0.1:{self.webhook.port}/{receiver['name']}"
        for route in (config["route"], *config["route"]["routes"]):
            route |= {"group_wait": "2s", "group_interval": f"{GROUP_SECONDS}s", "repeat_interval": "1h"}
        return config

    def _scraping(self) -> dict[str, Any]:
        (self.folder / "records.yaml").write_text(rules.dump(rules.records(self.windows, self.limits)))
        (self.folder / "alerts.yaml").write_text(rules.dump(rules.alerts(self.windows, self.limits)))
        (self.folder / "targets.json").write_text("[]")
        return {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": ["records.yaml", "alerts.yaml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.alertmanager[7:]]}]}]},
            "scrape_configs": [{"job_name": "workers", "file_sd_configs": [{"files": ["targets.json"]}]}],
        }

    def watch(self, job: str, port: int) -> None:
        """Scrape a process."""
        self.targets.append({"targets": [f"127.0.0.1:{port}"], "labels": {"job": job, "namespace": NAMESPACE}})
        draft = self.folder / "targets.draft"
        draft.write_bytes(orjson.dumps(self.targets))
        draft.replace(self.folder / "targets.json")

    def ask(self, page: str, **asked: str | float) -> Any:
        """The `data` of an answer of Prometheus. Raises AssertionError telling what is wrong with a query."""
        url = f"{self.prometheus}/api/v1/{page}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return orjson.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{asked}: {error.read().decode()}") from None

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant vector."""
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found

    def _active(self) -> set[str]:
        """Alerts that are pending or firing, the watchdog left out."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"]} - {"Watchdog"}

    def _known(self) -> set[str]:
        """Alerts that Alertmanager has, silenced ones too, the watchdog left out."""
        page = get(f"{self.alertmanager}/api/v2/alerts")
        return {alert["labels"]["alertname"] for alert in orjson.loads(page or b"[]")} - {"Watchdog"}

    def until_quiet(self, seconds: float) -> None:
        """Wait until no alert is pending, firing or known to Alertmanager, and it has told the last of it."""
        deadline = time.monotonic() + seconds
        calm = 0
        while calm < 3:
            active = self._active() | self._known()
            assert time.monotonic() < deadline, f"after {seconds:g} s there are still {active}"
            calm = 0 if active else calm + 1
            time.sleep(1.0)
        time.sleep(2 * GROUP_SECONDS)

    def until_no(self, alert: str, seconds: float) -> None:
        """Wait until an alert is neither pending nor firing, nor known to Alertmanager."""
        wait_for(f"no {alert}", lambda: alert not in self._active() | self._known(), seconds)

    def told_since(self, at: float) -> list[Told]:
        """What was told since a moment."""
        return [told for told in list(self.webhook.told) if told.at >= at]

    def until_told(self, alert: str, is_firing: bool, since: float, seconds: float) -> Told:
        """Wait until a receiver is told that an alert fires, or no more."""

        def found() -> Told | None:
            told = self.told_since(since)
            return next((one for one in told if (one.alert, one.is_firing) == (alert, is_firing)), None)

        heard: Told = wait_for(f"{alert} {'fires' if is_firing else 'is over'}", found, seconds)
        return heard

    def stop_prometheus(self) -> None:
        """As a crash of Prometheus is seen by Alertmanager."""
        _end(self.prometheus_process)  # type: ignore[attr-defined]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
