"""Certificates of the tests' own, made by openssl: an authority, and a server that it vouches for."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. server: key and certificate in one file; client: the same for a client of ours."""

    authority: Path
    server: Path
    client: Path


def make_certificates(directory: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> Certificates:
    """Make an authority and what it signs. names: what the server's certificate is for."""
    directory.mkdir(parents=True, exist_ok=True)
    authority, key = directory / "authority.pem", directory / "authority.key"
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=tests", "-keyout", str(key), "-out", str(authority),
    )  # fmt: skip
    made = []
    for role, usage in (("server", f"subjectAltName={names}"), ("client", "extendedKeyUsage=clientAuth")):
        request, whole = directory / f"{role}.csr", directory / f"{role}.pem"
        extensions = directory / f"{role}.ext"
        extensions.write_text(usage)
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={role}", "-keyout", str(directory / f"{role}.key"), "-out", str(request),
        )  # fmt: skip
        signed = _openssl(
            "x509", "-req", "-in", str(request), "-CA", str(authority), "-CAkey", str(key), "-CAcreateserial",
            "-days", "2", "-extfile", str(extensions),
        )  # fmt: skip
        whole.write_text((directory / f"{role}.key").read_text() + signed)
        made.append(whole)
    return Certificates(authority, made[0], made[1])


def _openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"openssl {arguments[0]}: {done.stderr}"
    return done.stdout
