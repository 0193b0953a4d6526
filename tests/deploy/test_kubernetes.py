"""The manifests, without a cluster: valid by Kubernetes' own schemas, and consistent with the server and the image."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from recis_server.cli import main
from recis_server.settings import Settings

from tests.rules.sources import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
OLDEST, NEWEST = "1.30", "1.34"
"""Versions of Kubernetes."""


def objects() -> dict[str, dict[str, Any]]:
    """Every object by its kind."""
    found = [
        one for name in KUSTOMIZATION["resources"] for one in yaml.safe_load_all((FOLDER / name).read_text("utf-8"))
    ]
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


def test_every_object_is_valid_and_listed() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"kustomization.yaml", *KUSTOMIZATION["resources"]}
    for one in objects().values():
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(one, version, strict=True)
    broken = {**objects()["Service"], "spec": {"ports": "8765"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


def test_the_objects_belong_together() -> None:
    found = objects()
    server, service, network = found["StatefulSet"]["spec"], found["Service"]["spec"], found["NetworkPolicy"]["spec"]
    labels = server["template"]["metadata"]["labels"]
    assert server["selector"]["matchLabels"] == service["selector"] == network["podSelector"]["matchLabels"] == labels
    assert server["serviceName"] == found["Service"]["metadata"]["name"]
    assert found["Namespace"]["metadata"]["name"] == KUSTOMIZATION["namespace"]
    assert server["replicas"] == 1, "a store on SQLite has one server"
    (container,) = server["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert (
        {port["name"]} == {one["targetPort"] for one in service["ports"]} == {network["ingress"][0]["ports"][0]["port"]}
    )
    assert container["image"] == KUSTOMIZATION["images"][0]["name"]
    volumes = [*server["template"]["spec"]["volumes"], *(one["metadata"] for one in server["volumeClaimTemplates"])]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in volumes}
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert [probe["path"] for probe in probes.values()] == ["/healthz", "/healthz", "/readyz"]


def test_the_server_accepts_the_options_and_is_confined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = objects()["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    assert (
        json.loads(container["env"][0]["value"])[0]
        == Settings().allow_host[0]
        == objects()["Service"]["metadata"]["name"]
    )
    # The last option ends the command before it serves, after all of them were parsed.
    arguments = [text.replace("/data", str(tmp_path)) for text in container["args"]]
    assert main([*arguments, "--data", str(tmp_path), "--bus", "none://"]) == 2
    assert "--bus" in capsys.readouterr().err
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (uid,) = re.findall(r"--uid (\d+)", dockerfile)
    pod, own = spec["securityContext"], container["securityContext"]
    assert pod["runAsNonRoot"]
    assert {pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"]} == {int(uid)}
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert "--insecure" not in container["args"]
    written = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert written == {*re.findall(r"^VOLUME (\S+)", dockerfile, re.MULTILINE), "/tmp"}
