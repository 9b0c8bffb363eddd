"""A signer of EC2's key blocks: test certificates, OCSP answers and signatures by openssl.

The chain is like EC2's: the signer's certificate, an intermediate authority, and a root that is
both self-signed and cross-signed by an older root.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from tests.parts.daemon import INSTANCE_ID, REGION
from tests.parts.host import tool

DOMAIN = "amazonaws.com"
NAME = f"managed-ssh-signer.{REGION}.{DOMAIN}"
CALLER = "arn:aws:sts::123456789012:assumed-role/Operator/somebody"
REQUEST = "0d8f4a1e-9b5c-4a57-8f3a-1c2d3e4f5a6b"

AUTHORITY = (
    "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature"
)
LEAF = (
    "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
    "extendedKeyUsage=serverAuth,clientAuth"
)
RESPONDER = "basicConstraints=critical,CA:false\nextendedKeyUsage=OCSPSigning\nnoCheck=ignored"
_IDENTIFIERS = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n"


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    """Run openssl; return its output. Raises RuntimeError with its error message."""
    command = [tool("openssl", "openssl"), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


class Ec2Signer:
    """Certificates by name, in `folder` as NAME.pem, with keys as NAME.key.

    There from the start: `old-root`, `root` (self-signed), `cross` (the key and name of `root`,
    signed by `old-root`), `intermediate`, and `signer`.
    """

    def __init__(self, folder: Path, *, name: str = NAME) -> None:
        self.folder = folder
        self._answers: dict[str, bytes] = {}
        folder.mkdir(exist_ok=True)
        self.issue("old-root", "old-root", AUTHORITY, subject="/CN=Old Root")
        self.issue("root", "root", AUTHORITY, subject="/CN=Root 1")
        self.issue("cross", "old-root", AUTHORITY, subject="/CN=Root 1", key="root")
        limited = AUTHORITY.replace("CA:true", "CA:true,pathlen:0")
        purposes = "\nextendedKeyUsage=serverAuth,clientAuth"
        self.issue("intermediate", "root", limited + purposes, subject="/CN=RSA 2048 M01")
        self.issue_signer("signer", name)

    def pem(self, name: str) -> Path:
        """A certificate's file."""
        return self.folder / f"{name}.pem"

    def issue_signer(
        self, certificate: str, name: str, san: Optional[str] = None, issuer: str = "intermediate"
    ) -> None:
        """A signer's certificate for `name` in EC2's form; `san` where it differs."""
        extensions = f"{LEAF}\nsubjectAltName=DNS:{name if san is None else san}"
        key = None if certificate == "signer" else "signer"
        self.issue(certificate, issuer, extensions, subject=f"/CN={name}", key=key)

    def issue(
        self,
        name: str,
        issuer: str,
        extensions: str,
        *,
        subject: str,
        key: Optional[str] = None,
        days: int = 30,
        options: Sequence[str] = ("-sha256",),
    ) -> None:
        """Make a certificate with openssl; `issuer` may be itself, `key` another one's."""
        key_file = self.folder / f"{name}.key"
        if key is not None:
            key_file.write_bytes((self.folder / f"{key}.key").read_bytes())
        elif not key_file.exists():
            openssl("genrsa", "-out", str(key_file), "2048")
        request = self.folder / f"{name}.csr"
        openssl("req", "-new", "-key", str(key_file), "-subj", subject, "-out", str(request))
        config = self.folder / f"{name}.ext"
        config.write_text(_IDENTIFIERS + extensions + "\n")
        by = (
            ["-signkey", str(key_file)]
            if issuer == name
            else ["-CA", str(self.pem(issuer)), "-CAkey", str(self.folder / f"{issuer}.key")]
        )
        openssl(
            "x509", "-req", "-in", str(request), "-extfile", str(config), "-days", str(days),
            "-set_serial", str(time.time_ns()), *by, *options, "-out", str(self.pem(name)),
        )  # fmt: skip

    def chain(self, *names: str) -> bytes:
        """Certificates in PEM, in this order; EC2's order without names."""
        names = names or ("signer", "intermediate", "cross", "old-root")
        return b"".join(self.pem(name).read_bytes() for name in names)

    def fingerprint(self, name: str) -> str:
        """A certificate's SHA-1, in upper case without colons: how EC2 names OCSP answers."""
        der = ssl.PEM_cert_to_DER_cert(self.pem(name).read_text("ascii"))
        return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()

    def answer(
        self,
        name: str,
        issuer: str,
        *,
        status: str = "V",
        by: Optional[str] = None,
        days: Optional[int] = 7,
        options: Sequence[str] = (),
    ) -> bytes:
        """An OCSP answer in DER about a certificate; `status` V, R (revoked) or none for unknown.

        `by` signs it, by default the issuer. `days` None: without nextUpdate.
        """
        by = by or issuer
        certificate, authority = str(self.pem(name)), str(self.pem(issuer))
        request, response = self.folder / f"{name}.ocsp-request", self.folder / f"{name}.ocsp"
        index = self.folder / f"{name}.index"
        number = openssl("x509", "-noout", "-serial", "-in", certificate).decode().strip()
        serial = number.partition("=")[2]
        when = "200101000000Z" if status == "R" else ""
        row = f"{status}\t490101000000Z\t{when}\t{serial}\tunknown\t/CN=any\n"
        index.write_text(row if status else "")
        openssl(
            "ocsp", "-no_nonce", "-issuer", authority, "-cert", certificate,
            "-reqout", str(request),
        )  # fmt: skip
        openssl(
            "ocsp", "-index", str(index), "-CA", authority, "-rsigner", str(self.pem(by)),
            "-rkey", str(self.folder / f"{by}.key"), "-reqin", str(request),
            "-respout", str(response), *([] if days is None else ["-ndays", str(days)]), *options,
        )  # fmt: skip
        return response.read_bytes()

    def answers(self) -> dict[str, bytes]:
        """EC2's OCSP answers by certificate name, for all certificates but the chain's last."""
        if not self._answers:
            pairs = (("signer", "intermediate"), ("intermediate", "cross"), ("cross", "old-root"))
            self._answers = {name: self.answer(name, issuer) for name, issuer in pairs}
        return self._answers

    def sign(self, content: bytes, *, salt: str = "32", key: str = "signer") -> bytes:
        """Sign a block's lines as EC2 does."""
        return openssl(
            "dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt",
            f"rsa_pss_saltlen:{salt}", "-sign", str(self.folder / f"{key}.key"), given=content,
        )  # fmt: skip

    def block(
        self,
        key: str,
        *,
        expires: Optional[float] = None,
        instance: str = INSTANCE_ID,
        caller: Optional[str] = CALLER,
        request: Optional[str] = REQUEST,
        more: str = "",
    ) -> bytes:
        """A signed block with its empty line; by default its key expires in 60 s."""
        end = int(time.time() + 60 if expires is None else expires)
        text = f"#Timestamp={end}\n#Instance={instance}\n"
        text += f"#Caller={caller}\n" if caller else ""
        text += f"#Request={request}\n" if request else ""
        content = f"{text}{more}{key}\n".encode()
        return content + wrapped(self.sign(content)) + b"\n"


def wrapped(signature: bytes) -> bytes:
    """Base64 in lines of 76 characters, as base64(1) writes it."""
    return base64.encodebytes(signature)
