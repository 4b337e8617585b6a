"""docker-compose.yml and deploy/kubernetes, held against schemas and against the code: neither can be run here."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import kubernetes_validate  # type: ignore[import-untyped]  # no py.typed
import pytest
import yaml
from jsonschema.validators import validator_for

from consumer.commands.running import END_WITHIN_S
from consumer.serving.server import END_WITHIN_S as API_ENDS_WITHIN_S
from consumer.settings import PREFIX, Settings
from tests.consumer.commands.test_cli import commands

REPOSITORY = Path(__file__).parents[1]
MANIFESTS = sorted((REPOSITORY / "deploy" / "kubernetes").rglob("*.yaml"))
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
WORKER_ENDS_WITHIN_S = END_WITHIN_S + 1
OURS = re.compile(r"segmenter:(?P<tag>\S+)")


def text(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def version() -> str:
    return str(tomllib.loads(text("pyproject.toml"))["project"]["version"])


def wrong_words(words: list[str]) -> list[str]:
    """Return what is no verb of ours in a command's words, or no option of that verb."""
    known = commands()
    verb = next((v for v in (" ".join(words[:2]), words[0]) if v in known), None)
    if verb is None:
        return words[:1]
    options = {option for parameter in known[verb].params for option in parameter.opts}
    return [word for word in words if word.startswith("-") and word not in options]


# --- compose --------------------------------------------------------------------------------------------------------

Service = dict[str, Any]
COMPOSE_SCHEMA = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
MADE_BY_THE_READER = "./deploy/secrets/"
"""Not in the repository: docs/deployment.md says how it is made."""


@cache
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text("docker-compose.yml"))
    return found


def services(ours: bool = False) -> dict[str, Service]:
    return {n: s for n, s in compose()["services"].items() if not ours or OURS.fullmatch(s["image"])}


def mounts() -> Iterator[tuple[str, str]]:
    """The files and folders of this repository that services see: where they lie here, and where there."""
    for service in services().values():
        for source, target in (each.split(":")[:2] for each in service.get("volumes", [])):
            if source.startswith("."):
                yield source, target


class TestCompose:
    PROFILES: ClassVar[dict[str | None, set[str]]] = {
        None: {"kafka", "valkey", "worker"},
        "setup": {"topics"},
        "ui": {"serve", "dashboard", "kafka-ui"},
        "monitoring": {"prometheus", "grafana"},
    }

    def test_it_is_what_the_compose_specification_allows(self) -> None:
        schema = json.loads(COMPOSE_SCHEMA.read_text("utf-8"))
        judge = validator_for(schema)(schema)
        assert [error.message for error in judge.iter_errors(compose())] == []
        spoiled = compose() | {"services": {"kafka": services()["kafka"] | {"restrat": "always"}}}
        assert any("restrat" in error.message for error in judge.iter_errors(spoiled))

    def test_each_profile_starts_what_the_documentation_says(self) -> None:
        found: dict[str | None, set[str]] = {}
        for name, service in services().items():
            for profile in service.get("profiles", [None]):
                found.setdefault(profile, set()).add(name)
        assert found == self.PROFILES

    def test_nobody_waits_for_a_service_of_another_profile(self) -> None:
        for name, service in services().items():
            for other in service.get("depends_on", {}):
                profiles = services()[other].get("profiles")
                assert profiles is None or profiles == service.get("profiles"), (name, other)

    def test_what_keeps_running_has_a_healthcheck_and_is_started_again(self) -> None:
        lasting = {name: s for name, s in services().items() if s.get("profiles") != ["setup"]}
        assert [name for name, s in lasting.items() if "healthcheck" not in s or "restart" not in s] == []

    def test_every_port_is_published_to_this_machine_only_and_none_twice(self) -> None:
        published = [port for service in services().values() for port in service.get("ports", [])]
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published), published
        assert len({port.split(":")[1] for port in published}) == len(published)

    def test_every_file_that_is_mounted_is_there_read_only_and_every_volume_declared(self) -> None:
        for service in services().values():
            for mount in service.get("volumes", []):
                source, target, *mode = mount.split(":")
                if source.startswith("."):
                    assert (REPOSITORY / source).exists(), source
                    assert mode == ["ro"], mount
                else:
                    assert source in compose()["volumes"], source
                assert target.startswith("/")
        named = {secret for service in services().values() for secret in service.get("secrets", [])}
        assert named == set(compose()["secrets"])
        for secret in compose()["secrets"].values():
            assert secret["file"].startswith(MADE_BY_THE_READER)

    def test_what_the_reader_makes_is_documented_and_reaches_neither_git_nor_an_image(self) -> None:
        guide = text("docs/deployment.md")
        for secret in compose()["secrets"].values():
            assert f"> {secret['file'].removeprefix('./')}" in guide
        assert "/deploy/secrets/" in text(".gitignore").splitlines()
        assert not re.search(r"(?m)^!.*secrets", text(".dockerignore"))

    def test_every_setting_is_one_and_every_command_a_verb_with_its_options(self) -> None:
        assert len(services(ours=True)) >= 3
        for service in services(ours=True).values():
            given = {name for name in service["environment"] if name.startswith(PREFIX)}
            assert given <= SETTINGS
            assert wrong_words(service["command"]) == []

    def test_a_healthcheck_asks_where_its_service_listens(self) -> None:
        for name, service in services().items():
            asked = re.search(r"http://127\.0\.0\.1:(\d+)/", " ".join(service.get("healthcheck", {}).get("test", [])))
            if asked is None:
                continue
            port = {each.split(":")[2] for each in service.get("ports", [])}
            assert asked[1] in port | {service.get("environment", {}).get("SEGMENTER_METRICS_PORT")}, name

    def test_our_image_is_this_version_and_changes_nothing_but_tmp(self) -> None:
        for service in services(ours=True).values():
            assert service["image"] == f"segmenter:{version()}"
            assert service["read_only"] is True
            assert service["tmpfs"] == ["/tmp"]
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]

    def test_all_file_systems_are_read_only_but_the_brokers(self) -> None:
        # apache/kafka writes its configuration beside its programs at each start.
        assert [name for name, service in services().items() if not service.get("read_only")] == ["kafka"]

    def test_nobody_is_killed_before_he_can_have_ended(self) -> None:
        grace = {
            name: int(s["stop_grace_period"].rstrip("s"))
            for name, s in services().items()
            if s.get("stop_grace_period")
        }
        assert grace["worker"] > WORKER_ENDS_WITHIN_S
        assert grace["serve"] > API_ENDS_WITHIN_S

    @pytest.mark.parametrize(("password", "code", "said"), [("", 1, "set GRAFANA_ADMIN_PASSWORD"), ("x", 0, "started")])
    def test_grafana_starts_with_a_password_of_ones_own_only(self, password: str, code: int, said: str) -> None:
        grafana = services()["grafana"]
        assert grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_ADMIN_PASSWORD:-}"
        (script,) = grafana["command"]
        script = script.replace("$$", "$").replace("/run.sh", "echo started")
        done = subprocess.run(
            [*grafana["entrypoint"], script],
            env={"GF_SECURITY_ADMIN_PASSWORD": password},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert said in done.stdout + done.stderr

    def test_every_variable_that_is_taken_from_outside_has_a_default_and_is_documented(self) -> None:
        taken = re.findall(r"(?<!\$)\$\{([^}]+)\}", text("docker-compose.yml"))
        assert taken
        for each in taken:
            name, default, _ = each.partition(":-")
            assert default, each
            assert name in text("docs/deployment.md"), name

    def test_prometheus_scrapes_services_of_this_file_where_they_serve_metrics(self) -> None:
        configured = yaml.safe_load(text("deploy/monitoring/prometheus.yml"))
        for job in configured["scrape_configs"]:
            named = [target for each in job.get("static_configs", []) for target in each["targets"]]
            named += [f"{name}:{sd['port']}" for sd in job.get("dns_sd_configs", []) for name in sd["names"]]
            for target in named:
                host, _, port = target.rpartition(":")
                if host == "localhost":
                    continue
                served = services()[host].get("environment", {}).get("SEGMENTER_METRICS_PORT")
                assert port in {served, *(p.split(":")[2] for p in services()[host].get("ports", []))}, target

    def test_grafana_finds_its_dashboards_where_they_are_mounted(self) -> None:
        (provider,) = (REPOSITORY / "deploy/monitoring/grafana/provisioning/dashboards").glob("*.y*ml")
        paths = [each["options"]["path"] for each in yaml.safe_load(provider.read_text("utf-8"))["providers"]]
        assert set(paths) <= {target for _, target in mounts()}


# --- Kubernetes -----------------------------------------------------------------------------------------------------

Manifest = dict[str, Any]
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
"""Kubernetes: the oldest that has the preStop of serve.yaml switched on, and the newest whose schemas are there."""
FOREIGN = "keda.sh/v1alpha1"


@cache
def manifests() -> dict[str, Manifest]:
    """Every manifest by kind and name."""
    found = {}
    for file in MANIFESTS:
        for manifest in yaml.safe_load_all(file.read_text("utf-8")):
            name = f"{manifest['kind']}/{manifest['metadata']['name']}"
            assert name not in found, name
            found[name] = manifest
    return found


@cache
def pods() -> dict[str, Manifest]:
    """The pod templates, by kind and name."""
    return {name: m["spec"]["template"] for name, m in manifests().items() if "template" in m.get("spec", {})}


def container(pod: Manifest) -> Manifest:
    (only,) = pod["spec"]["containers"]
    found: Manifest = only
    return found


def environment(pod: Manifest) -> dict[str, str | None]:
    """What a pod's container is told, by the ConfigMap and its own variables; None: from a Secret or the pod itself."""
    told: dict[str, str | None] = {}
    for source in container(pod)["envFrom"]:
        told |= manifests()[f"ConfigMap/{source['configMapRef']['name']}"]["data"]
    return told | {each["name"]: each.get("value") for each in container(pod)["env"]}


def selected(manifest: Manifest) -> list[str]:
    """The pods that a Service, policy or budget means, by kind and name."""
    spec = manifest["spec"]
    wanted = spec["selector"] if manifest["kind"] == "Service" else spec.get("selector", spec.get("podSelector"))
    labels = wanted.get("matchLabels", wanted).items()
    return [name for name, pod in pods().items() if labels <= pod["metadata"]["labels"].items()]


class TestSchemas:
    @pytest.mark.parametrize("release", [OLDEST, NEWEST])
    def test_every_manifest_is_what_the_api_takes(self, release: str) -> None:
        known = {name: m for name, m in manifests().items() if m["apiVersion"] != FOREIGN}
        assert len(known) >= 12
        for manifest in known.values():
            kubernetes_validate.validate(manifest, release, strict=True)

    def test_a_misspelt_field_is_found(self) -> None:
        worker = manifests()["StatefulSet/segmenter-worker"]
        spoiled = worker | {"spec": worker["spec"] | {"podManagmentPolicy": "Parallel"}}
        with pytest.raises(kubernetes_validate.ValidationError, match="podManagmentPolicy"):
            kubernetes_validate.validate(spoiled, NEWEST, strict=True)

    def test_the_scaler_has_the_fields_of_its_definition(self) -> None:
        # No package carries the schemas of KEDA; these are the fields of its documentation that are used.
        scaler, login = (
            manifests()["ScaledObject/segmenter-worker"],
            manifests()["TriggerAuthentication/segmenter-kafka"],
        )
        assert {scaler["apiVersion"], login["apiVersion"]} == {FOREIGN}
        fields = {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "advanced", "triggers"}
        assert scaler["spec"].keys() <= fields
        behavior = scaler["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        target = scaler["spec"]["scaleTargetRef"]
        # What it makes of them is a HorizontalPodAutoscaler, whose schema is there.
        made = {"scaleTargetRef": target, "maxReplicas": scaler["spec"]["maxReplicaCount"], "behavior": behavior}
        autoscaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"}}
        kubernetes_validate.validate(autoscaler | {"spec": made}, NEWEST, strict=True)
        (trigger,) = scaler["spec"]["triggers"]
        assert trigger.keys() == {"type", "metadata", "authenticationRef"}
        assert trigger["type"] == "kafka"
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        known = {
            "bootstrapServers",
            "consumerGroup",
            "topic",
            "lagThreshold",
            "offsetResetPolicy",
            "allowIdleConsumers",
        }
        assert trigger["metadata"].keys() == known | {"sasl", "tls"}
        assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
        assert {each["parameter"] for each in login["spec"]["secretTargetRef"]} == {"username", "password", "ca"}


class TestPods:
    def test_there_are_workers_the_api_and_three_jobs(self) -> None:
        jobs = {f"Job/segmenter-{name}" for name in ("topics", "bootstrap", "upgrade")}
        assert set(pods()) == jobs | {"StatefulSet/segmenter-worker", "Deployment/segmenter-serve"}

    def test_the_image_is_the_one_of_compose(self) -> None:
        (composed,) = {service["image"] for service in services(ours=True).values()}
        assert {container(pod)["image"] for pod in pods().values()} == {composed}

    def test_each_runs_a_verb_with_its_options(self) -> None:
        for name, pod in pods().items():
            assert wrong_words(container(pod)["args"]) == [], name
            assert "command" not in container(pod), "the image's entrypoint is `segmenter`"

    def test_each_variable_is_a_setting_and_names_no_service(self) -> None:
        for name, pod in pods().items():
            assert set(environment(pod)) <= SETTINGS, name
            assert pod["spec"]["enableServiceLinks"] is False, name

    def test_the_settings_are_read_as_they_are_given(self, tmp_path: Path) -> None:
        for name, pod in pods().items():
            told: dict[str, Any] = {}
            for variable, value in environment(pod).items():
                file = tmp_path / variable
                file.write_text("secret")
                is_read = variable.endswith(("PASSWORD_FILE", "KEY_FILE"))
                told[variable.removeprefix(PREFIX).lower()] = str(file) if is_read else value or "given-elsewhere"
            settings = Settings(_env_file=None, **told)
            assert settings.kafka_security_protocol == "SASL_SSL", name
            assert settings.redis().password == "secret", name

    def test_nobody_is_root_or_writes_outside_tmp_or_asks_kubernetes(self) -> None:
        (user,) = re.findall(r"(?m)^USER (\d+)$", text("deploy/Dockerfile"))
        for name, pod in pods().items():
            spec = pod["spec"]
            assert spec["securityContext"]["runAsUser"] == int(user), name
            assert spec["securityContext"]["runAsNonRoot"] is True, name
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
            rights = container(pod)["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True, name
            assert rights["allowPrivilegeEscalation"] is False, name
            assert rights["capabilities"] == {"drop": ["ALL"]}, name
            assert spec["automountServiceAccountToken"] is False, name
            assert f"ServiceAccount/{spec['serviceAccountName']}" in manifests(), name
            writable = [m["mountPath"] for m in container(pod)["volumeMounts"] if not m.get("readOnly")]
            assert writable == ["/tmp"], name

    def test_memory_is_bounded_and_the_processor_is_not(self) -> None:
        for name, pod in pods().items():
            resources = container(pod)["resources"]
            assert resources["requests"].keys() == {"cpu", "memory"}, name
            assert resources["limits"].keys() == {"memory"}, name

    def test_each_mount_has_its_volume_and_each_file_its_mount(self) -> None:
        for name, pod in pods().items():
            volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
            mounted = {mount["name"]: mount["mountPath"] for mount in container(pod)["volumeMounts"]}
            assert mounted.keys() == volumes, name
            for variable, value in environment(pod).items():
                if variable.endswith("FILE"):
                    assert value is not None
                    assert str(Path(value).parent) in mounted.values(), (name, variable)

    def test_each_key_of_a_secret_is_made_by_the_documented_command(self) -> None:
        made: dict[str, set[str]] = {}
        for line in re.findall(r"kubectl create secret generic (.+)", text("docs/deployment.md")):
            secret, *options = shlex.split(line)
            made[secret] = {option.split("=")[1] for option in options}
        for name, pod in pods().items():
            volumes = {v["name"]: v["secret"]["secretName"] for v in pod["spec"]["volumes"] if "secret" in v}
            places = {m["mountPath"]: m["name"] for m in container(pod)["volumeMounts"]}
            for variable, value in environment(pod).items():
                if variable.endswith("FILE"):
                    file = Path(str(value))
                    assert file.name in made[volumes[places[str(file.parent)]]], (name, variable)
            for each in container(pod)["env"]:
                if reference := each.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in made[reference["name"]], (name, each["name"])
        for each in manifests()["TriggerAuthentication/segmenter-kafka"]["spec"]["secretTargetRef"]:
            assert each["key"] in made[each["name"]]

    def test_the_users_of_redis_are_those_of_the_access_list(self) -> None:
        users = set(re.findall(r"(?m)^user (\S+)", text("deploy/redis-users.acl")))
        assert {environment(pod)["SEGMENTER_REDIS_USERNAME"] for pod in pods().values()} <= users


class TestWorkers:
    def test_a_worker_is_named_by_its_pod(self) -> None:
        (instance,) = [
            e for e in container(pods()["StatefulSet/segmenter-worker"])["env"] if e["name"] == f"{PREFIX}INSTANCE"
        ]
        assert instance["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        others = [name for name, pod in pods().items() if f"{PREFIX}INSTANCE" in environment(pod)]
        assert others == ["StatefulSet/segmenter-worker"]

    def test_nobody_is_killed_before_he_can_have_ended(self) -> None:
        worker, api = pods()["StatefulSet/segmenter-worker"], pods()["Deployment/segmenter-serve"]
        assert worker["spec"]["terminationGracePeriodSeconds"] > WORKER_ENDS_WITHIN_S
        waits = container(api)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert api["spec"]["terminationGracePeriodSeconds"] > waits + API_ENDS_WITHIN_S

    def test_metrics_are_asked_where_they_are_served(self) -> None:
        pod = pods()["StatefulSet/segmenter-worker"]
        port = environment(pod)["SEGMENTER_METRICS_PORT"]
        assert container(pod)["ports"] == [{"name": "metrics", "containerPort": int(str(port))}]
        assert pod["metadata"]["annotations"]["prometheus.io/port"] == port
        assert services()["worker"]["environment"]["SEGMENTER_METRICS_PORT"] == port

    @pytest.mark.parametrize("name", ["StatefulSet/segmenter-worker", "Deployment/segmenter-serve"])
    def test_probes_ask_what_is_there_at_the_named_port(self, name: str) -> None:
        only = container(pods()[name])
        (port,) = [each["name"] for each in only["ports"]]
        asked = {probe: only[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
        assert {probe: get["port"] for probe, get in asked.items()} == dict.fromkeys(asked, port)
        paths = {probe: get["path"] for probe, get in asked.items()}
        assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}

    def test_the_api_listens_where_its_service_sends(self) -> None:
        only = container(pods()["Deployment/segmenter-serve"])
        assert only["args"][only["args"].index("--port") + 1] == str(only["ports"][0]["containerPort"])
        assert only["args"][only["args"].index("--host") + 1] == "0.0.0.0"

    def test_each_service_policy_and_budget_means_the_pods_of_its_name(self) -> None:
        kinds = ("Service/", "PodDisruptionBudget/", "NetworkPolicy/")
        for name, manifest in manifests().items():
            if name.startswith(kinds):
                found = selected(manifest)
                if manifest["metadata"]["name"] == "segmenter":
                    assert set(found) == set(pods()), name
                else:
                    assert [each.split("/")[1] for each in found] == [manifest["metadata"]["name"]], name

    def test_what_comes_in_is_metrics_and_the_api_and_what_goes_out_is_what_the_settings_name(self) -> None:
        policies = {name: m["spec"] for name, m in manifests().items() if m["kind"] == "NetworkPolicy"}
        ways_in = {n: [p["port"] for rule in s.get("ingress", []) for p in rule["ports"]] for n, s in policies.items()}
        served = {
            pod["spec"]["containers"][0]["ports"][0]["containerPort"]
            for pod in pods().values()
            if "ports" in container(pod)
        }
        assert ways_in["NetworkPolicy/segmenter"] == []
        assert {port for ports in ways_in.values() for port in ports} == served
        assert policies["NetworkPolicy/segmenter"]["policyTypes"] == ["Ingress", "Egress"]
        out = {p["port"] for rule in policies["NetworkPolicy/segmenter"]["egress"] for p in rule["ports"]}
        told = manifests()["ConfigMap/segmenter-settings"]["data"]
        kafka = {int(server.rpartition(":")[2]) for server in told["SEGMENTER_KAFKA_BOOTSTRAP"].split(",")}
        redis = int(re.findall(r":(\d+)/", told["SEGMENTER_REDIS_URL"])[0])
        assert out == {53, redis, *kafka}

    def test_the_workers_are_at_most_the_partitions_and_at_least_one(self) -> None:
        args = container(pods()["Job/segmenter-topics"])["args"]
        partitions = int(args[args.index("--partitions") + 1])
        spec = manifests()["ScaledObject/segmenter-worker"]["spec"]
        assert spec["maxReplicaCount"] == partitions
        assert spec["minReplicaCount"] >= 1
        target, worker = spec["scaleTargetRef"], manifests()["StatefulSet/segmenter-worker"]
        assert target == {"apiVersion": worker["apiVersion"], "kind": "StatefulSet", "name": "segmenter-worker"}
        assert worker["spec"]["replicas"] <= partitions

    def test_the_scaler_looks_at_the_group_and_topic_of_the_settings(self) -> None:
        told = manifests()["ConfigMap/segmenter-settings"]["data"]
        settings = Settings(_env_file=None, namespace=told["SEGMENTER_NAMESPACE"])
        (trigger,) = manifests()["ScaledObject/segmenter-worker"]["spec"]["triggers"]
        asked = trigger["metadata"]
        assert (asked["consumerGroup"], asked["topic"]) == (settings.group_id, settings.transactions_topic)
        assert asked["bootstrapServers"] == told["SEGMENTER_KAFKA_BOOTSTRAP"]
        assert asked["sasl"].replace("_", "-").replace("sha", "sha-") == told["SEGMENTER_KAFKA_SASL_MECHANISM"].lower()

    def test_every_file_and_order_of_the_guide_is_there(self) -> None:
        guide = text("docs/deployment.md")
        for named in re.findall(r"deploy/kubernetes[\w/.-]*", guide):
            assert (REPOSITORY / named).exists(), named
        for job in re.findall(r"job/(segmenter-\w+)", guide):
            assert f"Job/{job}" in manifests()
