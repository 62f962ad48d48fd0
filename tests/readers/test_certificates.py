"""A server whose certificate is not trusted is told as that, and not as credentials that are wrong."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.errors import UnreachableError
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._readers.source import remote


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A file behind a certificate that nobody has signed but its owner."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    text = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    text += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    server = HTTPServer(("localhost", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://localhost:{server.server_port}/m.safetensors"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_certificate_that_is_not_trusted(address: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        read(address)
    assert "the certificate of its server is not trusted (self" in caught.value.problem
    assert "set SSL_CERT_FILE" in caught.value.advice


def refused() -> ssl.SSLCertVerificationError:
    """As Python has it."""
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_message = "certificate has expired"
    return error


def test_it_is_found_below_what_libraries_make_of_it() -> None:
    deep = OSError(OSError("no connection", RuntimeError(refused())))
    assert "is not trusted (certificate has expired)" in str(remote._not_fetched(deep))
    assert remote._untrusted(OSError("no route")) is None
    circle = OSError()
    circle.__cause__ = circle.__context__ = circle
    assert remote._untrusted(circle) is None
