"""What operators apply: manifests against the schemas of Kubernetes and KubeRay, dashboards against our metrics."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from pipeline import command_line
from pipeline.flow import metrics
from pipeline.nightly import Nightly
from tests.conftest import ROOT

INFRA = ROOT / "infra"
CRDS = ROOT.parent / "shared/data/kuberay"  # ray-operator/config/crd/bases of KubeRay
KUBERNETES = "1.33"
Row = dict[str, Any]


@cache
def schema(kind: str) -> Row:
    """KubeRay's own schema of a ray.io/v1 kind, as the API server applies it with strict field validation."""
    path = CRDS / f"ray.io_{kind.lower()}s.yaml"
    if not path.exists():
        pytest.skip(f"no {path}")
    versions = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    (found,) = [version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1"]
    return strict(found)


def strict(node: Any) -> Any:
    """A structural schema as JSON schema: fields that it does not name are refused, unless it keeps unknown ones."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {name: strict(value) for name, value in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        found.setdefault("additionalProperties", bool(node.get("x-kubernetes-preserve-unknown-fields")))
    if node.get("x-kubernetes-int-or-string") is True:
        found["type"] = ["integer", "string"]
    return found


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
    jsonschema.validate(manifest, schema(manifest["kind"]))
    for template in templates(manifest["spec"]):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        ("spec", "entryPoint", "x"),
        ("spec", "backoffLimit", "2"),
        ("spec", "submissionMode", 1),
        ("spec rayClusterSpec", "autoscaling", True),
        ("spec rayClusterSpec autoscalerOptions", "upscalingMode", "Fast"),
        ("spec rayClusterSpec headGroupSpec template spec", "serviceAccount_name", "x"),
        ("spec rayClusterSpec headGroupSpec template spec containers 0", "imagePolicy", "Always"),
        ("spec rayClusterSpec headGroupSpec template spec containers 0 resources", "limits", {"cpu": [1]}),
    ],
)
def test_the_schema_of_a_rayjob_refuses_what_is_wrong(place: str, field: str, value: Any) -> None:
    job: Any = dict(manifests())["rayjob.yaml/RayJob"]
    target = job
    for step in place.split():
        target = target[int(step) if step.isdigit() else step]
    target[field] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, schema("RayJob"))


def test_the_schema_of_pods_refuses_what_is_wrong() -> None:
    (template, *_) = templates(dict(manifests())["rayjob.yaml/RayJob"]["spec"])
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


@pytest.mark.parametrize(("ends", "status"), [("Complete", 0), ("Failed", 1), ("ValidationFailed", 1)])
def test_the_launcher_waits_for_the_end_of_its_job(ends: str, status: int, tmp_path: Path) -> None:
    """The API server does not answer once."""
    (launcher,) = dict(manifests())["cronjob.yaml/CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert "registry.k8s.io/kubectl" not in launcher["image"], "it has no shell"
    script = f"""#!/bin/sh
        echo "$@" >> {tmp_path}/asked
        case "$1" in create) echo rayjob/x; exit ;; esac
        case $(wc -l < {tmp_path}/asked) in 2) exit 1 ;; 3) echo Running ;; *) echo {ends} ;; esac"""
    for name, does in (("kubectl", script), ("sleep", "#!/bin/sh")):
        (tmp_path / name).write_text(does)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([*launcher["command"], *launcher["args"]], check=False, env={"PATH": path}, timeout=60)
    assert done.returncode == status
    assert len((tmp_path / "asked").read_text().splitlines()) == 4 + status


def test_the_weights_are_downloaded_by_their_patterns(tmp_path: Path) -> None:
    (download,) = dict(manifests())["models.yaml/Job"]["spec"]["template"]["spec"]["containers"]
    program, *arguments = download["command"]
    there = Path(sys.executable).parent / program
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    said = subprocess.run([there, *arguments], env=offline, capture_output=True, text=True, check=False, timeout=60)
    assert "consolidated" not in said.stderr and "Ignoring" not in said.stderr, "--include takes one pattern"
    assert "offline" in said.stderr.lower() or "cache" in said.stderr.lower()


def test_alerts_hold_where_a_counter_has_not_begun() -> None:
    """Prometheus has no series of a counter before its first increment, and compares nothing with nothing."""
    (group,) = yaml.safe_load((INFRA / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        assert not re.search(r"\band\b.*_total.*==\s*0", rule["expr"]), rule["alert"]


def test_clusters_ask_for_a_token() -> None:
    job = dict(manifests())["rayjob.yaml/RayJob"]["spec"]
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def as_on_the_head(entrypoint: str) -> str:
    """What the head's shell runs: the submitter's shell splits the entrypoint, and `ray job submit` joins it again."""
    return subprocess.list2cmdline(shlex.split(entrypoint))


def test_retries_of_a_rayjob_have_the_same_job_id_and_other_rayjobs_another(tmp_path: Path) -> None:
    # KubeRay names each try's cluster <RayJob>-<5 letters>, and the head's containers get it as RAY_CLUSTER_NAME.
    command = as_on_the_head(dict(manifests())["rayjob.yaml/RayJob"]["spec"]["entrypoint"])
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$VOXTRAL_JOB_ID $2"\n')
    python.chmod(0o755)

    def run(cluster: str) -> str:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RAY_CLUSTER_NAME": cluster}
        return subprocess.run(command, shell=True, env=environment, check=True, capture_output=True, text=True).stdout

    assert run("voxtral-x7k2p-aaaaa") == run("voxtral-x7k2p-bbbbb") == "voxtral-x7k2p jobs.nightly\n"
    assert run("voxtral-q9d4m-aaaaa") == "voxtral-q9d4m jobs.nightly\n"


def test_the_entrypoint_is_a_command_that_the_job_takes() -> None:
    job = dict(manifests())["rayjob.yaml/RayJob"]["spec"]
    env, _, python, option, module, *arguments = shlex.split(job["entrypoint"])
    assert (env, python, option, module) == ("env", "python", "-m", "jobs.nightly")
    wanted = command_line.load(arguments, Nightly)
    groups = {group["groupName"]: group for group in job["rayClusterSpec"]["workerGroupSpecs"]}
    engines = groups["engines"]
    (container,) = engines["template"]["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert wanted.engine.count == engines["maxReplicas"] * gpus // 2, "each engine owns a pair"
    assert wanted.engine.elastic and engines["minReplicas"] == groups["decode"]["minReplicas"] == 0


def test_the_gpu_image_has_a_c_compiler() -> None:
    gpu = (INFRA / "Containerfile").read_text().split("FROM base AS gpu")[1]
    installed = re.findall(r"apt-get install -y --no-install-recommends ([^\\\n]+)", gpu)
    assert {"gcc", "libc6-dev"} <= set(" ".join(installed).split()), "Triton needs it when an engine starts"


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
