"""What operators apply: manifests against the schemas of Kubernetes and KubeRay, dashboards against our metrics."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from pipeline import settings
from pipeline.flow import metrics
from pipeline.nightly import Nightly
from tests.conftest import ROOT

INFRA = ROOT / "infra"
KUBERNETES = "1.33"
Row = dict[str, Any]


def fields(required: str = "", **kinds: Any) -> Row:
    """An object of just these fields."""
    properties = {name: kind if isinstance(kind, dict) else {"type": kind} for name, kind in kinds.items()}
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


# The fields of KubeRay's ray.io/v1 that may be used here, after its Go types (ray-operator/apis/ray/v1, v1.5). Pod
# templates are held against Kubernetes' own schema apart.
TEXTS: Row = {"type": "object", "additionalProperties": {"type": "string"}}
GROUP = {"rayStartParams": TEXTS, "template": "object"}
CLUSTER = fields(
    "headGroupSpec",
    rayVersion="string",
    enableInTreeAutoscaling="boolean",
    autoscalerOptions=fields(
        idleTimeoutSeconds="integer", upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}
    ),
    headGroupSpec=fields("rayStartParams template", **GROUP),
    workerGroupSpecs={
        "type": "array",
        "items": fields(
            "groupName minReplicas maxReplicas rayStartParams template",
            groupName="string",
            replicas="integer",
            minReplicas="integer",
            maxReplicas="integer",
            **GROUP,
        ),
    },
)
JOB = fields(
    "entrypoint rayClusterSpec",
    entrypoint="string",
    runtimeEnvYAML="string",
    backoffLimit="integer",
    activeDeadlineSeconds="integer",
    shutdownAfterJobFinishes="boolean",
    ttlSecondsAfterFinished="integer",
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    rayClusterSpec=CLUSTER,
)
SPECS = {"RayJob": JOB, "RayCronJob": fields("schedule jobTemplate", schedule="string", jobTemplate=JOB)}


def manifests() -> Iterator[tuple[str, Row]]:
    for path in sorted((INFRA / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] != "Kustomization":
                yield f"{path.name}/{document['kind']}", document


def templates(spec: Any) -> Iterator[Row]:
    """The pod templates of a RayJob's spec."""
    cluster = spec.get("jobTemplate", spec)["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        yield group["template"]


@pytest.mark.parametrize(("name", "manifest"), manifests(), ids=lambda value: value if isinstance(value, str) else "")
def test_manifests_follow_their_schemas(name: str, manifest: Row) -> None:
    if manifest["apiVersion"] != "ray.io/v1":
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    jsonschema.validate(manifest["spec"], SPECS[manifest["kind"]])
    for template in templates(manifest["spec"]):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_schemas_refuse_what_is_wrong() -> None:
    (job,) = [manifest for name, manifest in manifests() if name == "rayjob.yaml/RayJob"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job["spec"] | {"entryPoint": "x"}, JOB)
    (template, *_) = templates(job["spec"])
    template["spec"]["containers"][0]["imagePolicy"] = "Always"
    pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_both_schedules_run_the_one_job() -> None:
    found = dict(manifests())
    job = found["rayjob.yaml/RayJob"]["spec"]
    assert found["raycronjob.yaml/RayCronJob"]["spec"]["jobTemplate"] == job
    kustomization = yaml.safe_load((INFRA / "kubernetes/kustomization.yaml").read_text())
    (generated,) = kustomization["configMapGenerator"]
    (volume,) = found["cronjob.yaml/CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    assert generated["name"] == volume["configMap"]["name"] and generated["files"] == ["rayjob.yaml"]
    assert found["cronjob.yaml/CronJob"]["spec"]["concurrencyPolicy"] == "Forbid"
    assert all((INFRA / "kubernetes" / name).exists() for name in kustomization["resources"])


def test_the_entrypoint_is_a_command_that_the_job_takes() -> None:
    job = dict(manifests())["rayjob.yaml/RayJob"]["spec"]
    python, option, module, *arguments = shlex.split(job["entrypoint"])
    assert (python, option, module) == ("python", "-m", "jobs.nightly")
    wanted = settings.load(arguments, Nightly)
    groups = {group["groupName"]: group for group in job["rayClusterSpec"]["workerGroupSpecs"]}
    engines = groups["engines"]
    (container,) = engines["template"]["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert wanted.engine.count == engines["maxReplicas"] * gpus // 2, "each engine owns a pair"
    assert wanted.engine.elastic and engines["minReplicas"] == groups["decode"]["minReplicas"] == 0


def queried(path: Path) -> set[str]:
    """The names of our metrics in a dashboard or in alerts."""
    return set(re.findall(r"\bray_(voxtral_\w+)", path.read_text()))


def test_dashboard_and_alerts_ask_for_metrics_that_there_are() -> None:
    exported = {f"{name}_total" for name in metrics.COUNTERS} | set(metrics.GAUGES)
    dashboard, alerts = INFRA / "grafana-dashboard.json", INFRA / "alerts.yaml"
    assert queried(dashboard) == exported
    assert queried(alerts) and queried(alerts) <= exported
    panels = json.loads(dashboard.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for group in yaml.safe_load(alerts.read_text())["groups"]:
        for rule in group["rules"]:
            assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
