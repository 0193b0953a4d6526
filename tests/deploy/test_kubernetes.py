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

ONE, SCALED = ROOT / "deploy" / "kubernetes", ROOT / "deploy" / "kubernetes-scaled"
WORKLOADS = {ONE: "StatefulSet", SCALED: "Deployment"}
OLDEST, NEWEST = "1.30", "1.34"
"""Versions of Kubernetes."""


@pytest.fixture(params=WORKLOADS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def kustomization(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    return found


def objects(folder: Path) -> dict[str, dict[str, Any]]:
    """Every object by its kind."""
    names = kustomization(folder)["resources"]
    found = [one for name in names for one in yaml.safe_load_all((folder / name).read_text("utf-8"))]
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


def test_every_object_is_valid_and_listed(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"kustomization.yaml", *kustomization(folder)["resources"]}
    for one in objects(folder).values():
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(one, version, strict=True)
    broken = {**objects(folder)["Service"], "spec": {"ports": "8765"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


def test_the_objects_belong_together(folder: Path) -> None:
    found = objects(folder)
    server, service, network = (
        found[WORKLOADS[folder]]["spec"],
        found["Service"]["spec"],
        found["NetworkPolicy"]["spec"],
    )
    labels = server["template"]["metadata"]["labels"]
    assert server["selector"]["matchLabels"] == service["selector"] == network["podSelector"]["matchLabels"] == labels
    assert found["Namespace"]["metadata"]["name"] == kustomization(folder)["namespace"]
    if folder == ONE:
        assert server["serviceName"] == found["Service"]["metadata"]["name"]
        assert server["replicas"] == 1, "a store on SQLite has one server"
    else:
        assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
        assert server["replicas"] > found["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    (container,) = server["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert (
        {port["name"]} == {one["targetPort"] for one in service["ports"]} == {network["ingress"][0]["ports"][0]["port"]}
    )
    assert container["image"] == kustomization(folder)["images"][0]["name"]
    volumes = [
        *server["template"]["spec"]["volumes"],
        *(one["metadata"] for one in server.get("volumeClaimTemplates", ())),
    ]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in volumes}
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert [probe["path"] for probe in probes.values()] == ["/healthz", "/healthz", "/readyz"]


def test_the_server_accepts_the_options_and_is_confined(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = objects(folder)[WORKLOADS[folder]]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "postgresql://host/of-a-secret"))
    assert (
        json.loads(container["env"][0]["value"])[0]
        == Settings().allow_host[0]
        == objects(folder)["Service"]["metadata"]["name"]
    )
    # The last option ends the command before it serves, after all of them were parsed.
    arguments = [re.sub("/(data|secret)/", f"{tmp_path}/", text) for text in container["args"]]
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
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written == {*re.findall(r"^VOLUME (\S+)", dockerfile, re.MULTILINE), "/tmp"}
