"""A Kafka broker that lets nobody in without a password, encrypts, and asks an authorizer about everything.

SASL_SSL   where clients come: SCRAM-SHA-512 over TLS, nothing allowed that no list allows
PLAINTEXT  the tests' own way in, on loopback: whoever comes here may do everything
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from consumer.transport.child import free_port
from tests.harness.broker import BrokerUnavailableError, JarsBroker, _java, jars_of_the_pom
from tests.harness.certificates import Certificates

MECHANISM = "SCRAM-SHA-512"

Right = tuple[str, str, str, str]
"""(resource type, name, literal or prefixed, operation), as Kafka's tools spell them."""


class SecuredBroker(JarsBroker):
    """The broker from its jars. `bootstrap` is the tests' own way in, `secured` that of clients."""

    def __init__(self, java: str, certificates: Certificates) -> None:
        self._certificates = certificates
        self.authority = certificates.authority
        self.secured = f"127.0.0.1:{free_port()}"
        super().__init__(java)

    def _settings(self, listener: str, controller: str) -> dict[str, str]:
        protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL"
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return super()._settings(listener, controller) | {
            "listeners": f"PLAINTEXT://{listener},SASL_SSL://{self.secured},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{listener},SASL_SSL://{self.secured}",
            "listener.security.protocol.map": protocols,
            "sasl.enabled.mechanisms": MECHANISM,
            f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": login,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._certificates.server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._certificates.authority),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
        }

    def add_user(self, name: str, password: str) -> None:
        """Let somebody in; he may do nothing yet."""
        with _admin(self.bootstrap) as kafka:
            mechanism = ScramMechanism.SCRAM_SHA_512
            kafka.alter_user_scram_credentials([UserScramCredentialUpsertion(name, mechanism, password, 4096)])

    def allow(self, user: str, rights: Iterable[Right]) -> None:
        """Grant rights."""
        with _admin(self.bootstrap) as kafka:
            made = kafka.create_acls([_acl(user, right) for right in rights])
            assert not made["failed"], made

    def withdraw(self, user: str, right: Right) -> None:
        """Take one right back."""
        acl = _acl(user, right)
        pattern = acl.resource_pattern
        what = ResourcePatternFilter(pattern.resource_type, pattern.resource_name, pattern.pattern_type)
        with _admin(self.bootstrap) as kafka:
            ((_, gone, _),) = kafka.delete_acls(
                [ACLFilter(acl.principal, "*", acl.operation, ACLPermissionType.ALLOW, what)]
            )
            assert len(gone) == 1, f"{right} was not granted"


def make_secured(certificates: Certificates) -> SecuredBroker:
    """Return the broker, not yet started; made of the jars alone."""
    java = _java()
    if java is None or not (jars_of_the_pom().exists() or shutil.which("mvn")):
        raise BrokerUnavailableError("the secured broker needs Java 17 and Maven, also where Docker answers")
    return SecuredBroker(java, certificates)


def rights_of(table: str, who: str, names: dict[str, str]) -> list[Right]:
    """Return the rights in a table of docs/operations.md that `who` needs; names: what to put for its names."""
    rights: list[Right] = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) < 4 or cells[0] not in ("topic", "group", "transactional id", "cluster"):
            continue
        resource, name, *by_role = cells
        operations = by_role[("run", "commands").index(who)]
        kind = "prefixed" if name.endswith("*`") else "literal"
        plain = name.strip("`").removesuffix("*")
        for old, new in names.items():
            plain = plain.replace(old, new)
        rights += [(resource, plain, kind, op.strip()) for op in operations.split(",") if op.strip()]
    return rights


def _admin(bootstrap: str) -> KafkaAdminClient:
    return KafkaAdminClient(bootstrap_servers=bootstrap)


def _acl(user: str, right: Right) -> ACL:
    resource, name, kind, operation = right
    pattern = ResourcePattern(
        ResourceType[resource.upper().replace(" ", "_")], name, ACLResourcePatternType[kind.upper()]
    )
    return ACL(f"User:{user}", "*", ACLOperation[_snake(operation)], ACLPermissionType.ALLOW, pattern)


def _snake(operation: str) -> str:
    return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(operation)).upper()
