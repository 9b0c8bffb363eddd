"""Host keys that ssh accepts without a question come over a verified connection only."""

from __future__ import annotations

import json

from tests.client.test_hostile_endpoint import Liar, http
from tests.parts.host import work_directory
from tests.parts.user import User

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuAFcgPmHCBfo2R5QDLdD4uVYaAe/MNJ8GkgieQTrGe"


def test_host_keys_over_plain_http_are_not_believed() -> None:
    """An endpoint of this machine without TLS, such as a tunnel's end, provides no host keys.

    When a tunnel is down, another local user may listen at its port.
    """
    host = {"InstanceId": "i-0f1e2d3c4b5a69788", "AvailabilityZone": "us-east-2b", "Name": "web-1",
            "Addresses": ["127.0.0.1"], "HostKeys": [KEY]}  # fmt: skip
    answer = http(json.dumps({"Hosts": [host]}).encode())
    with work_directory() as folder, Liar(lambda: answer) as liar, User(folder) as user:
        user.settings({"endpoint": liar.url, "region": "us-east-2"})
        done = user.sixtykey("proxy", "--push-only", "deploy", "web-1", "22")
        assert (done.code, done.out) == (0, "")
        assert any(b"SendSSHPublicKey" in each for each in liar.requests)
        assert (user.folder / "known_hosts").read_text() == ""
