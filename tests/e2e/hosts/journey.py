"""Steps: the main purpose. A pushed key logs in, and is refused after its lifetime."""

from __future__ import annotations

import json
import re
import statistics
import time

from tests.e2e.hosts.host import Host, Secret
from tests.e2e.hosts.report import expect

# Seconds: enough for a login on a busy machine.
LIFETIME = 6


def local_push(host: Host) -> None:
    """A member of the group pushes over the local socket."""
    with host.report.step("push over the local socket by a group member, login by OpenSSH") as seen:
        host.machine.run("usermod", "-a", "-G", "sixtykey-push", "carol")
        key = host.client.key("local")
        expect(host.client.login("alice", key) == "", "logged in before the push")
        status, body = host.push("alice", key, pusher="carol")
        expect(status == 200, f"{status} {body}")
        expect(host.client.login("alice", key) == "alice", "not logged in after the push")
        expect(host.client.login("bob", key) == "", "logged in as another user")
        expect(host.client.login("alice", host.client.key("other")) == "", "another key logged in")
        seen.append("refused, pushed by carol, alice logged in; refused as bob, with another key")
        host.machine.run("gpasswd", "-d", "carol", "sixtykey-push")


def configure(host: Host, lifetime: int) -> None:
    """Make a certificate, and a network listener that uses it."""
    address = host.client.host
    host.machine.shell(
        "install -d -m 750 -g sixtykey /etc/sixtykey/tls && cd /etc/sixtykey/tls && "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        f"-subj /CN=host -addext subjectAltName=IP:{address} "
        "-keyout private_key.pem -out certificate.pem 2>/dev/null && "
        "chgrp sixtykey *.pem && chmod 640 private_key.pem"
    )
    certificate = host.machine.run("cat", "/etc/sixtykey/tls/certificate.pem").stdout
    (host.work / "certificate.pem").write_text(certificate)
    host.machine.write(
        "/etc/sixtykey/config.yaml",
        f"keys:\n  lifetime: {lifetime}\n"
        "push:\n  http:\n    tls:\n"
        "      certificate: /etc/sixtykey/tls/certificate.pem\n"
        "      private_key: /etc/sixtykey/tls/private_key.pem\n",
    )


def credential(host: Host) -> Secret:
    """The operator's command makes an access key and its files."""
    done = host.machine.run(
        "sixtykey", "credentials", "add", "--user", "alice", "--source", "10.60.0.0/16", "--json"
    )
    made = json.loads(done.stdout)
    mode = host.machine.shell("stat -c '%a %U:%G' /etc/sixtykey/credentials.yaml")
    expect(mode == "640 root:sixtykey", f"credentials.yaml: {mode}")
    return Secret(made["AccessKeyId"], made["SecretAccessKey"])


def https_push(host: Host) -> None:
    """The AWS CLI pushes from another machine, and the key expires."""
    with host.report.step(
        "push over HTTPS by the AWS CLI from outside, login, end of life"
    ) as seen:
        secret = credential(host)
        configure(host, LIFETIME)
        host.machine.run("systemctl", "enable", "sixtykeyd-https.socket")
        host.machine.run("systemctl", "restart", "sixtykeyd.service")
        key = host.client.key("remote")
        done = host.aws("alice", key, secret)
        pushed = time.monotonic()
        expect(
            done.returncode == 0 and json.loads(done.stdout)["Success"], done.stdout + done.stderr
        )
        expect(host.client.login("alice", key) == "alice", "not logged in after the push")
        taken = time.monotonic() - pushed
        time.sleep(max(0.0, LIFETIME + 0.5 - taken))
        expect(host.client.login("alice", key) == "", "logged in after the key's life")
        seen.append(f"logged in {taken:.2f} s after the push; refused after {LIFETIME} s")
        wrong = host.aws("alice", key, Secret(secret.access_key, "another"))
        expect("AuthException" in wrong.stderr, wrong.stdout + wrong.stderr)
        for user in ("bob", "root"):
            denied = host.aws(user, key, secret)
            expect("AccessDeniedException" in denied.stderr, denied.stdout + denied.stderr)
        seen.append("wrong secret: AuthException; for bob and root: AccessDeniedException")


def https_off(host: Host) -> None:
    """A reload renews the certificate; then the listener is closed."""
    secret, key = credential(host), host.client.key("renewed")
    with host.report.step("the network listener goes when it is no longer wanted") as seen:
        configure(host, 60)
        host.machine.run("systemctl", "reload", "sixtykeyd.service")
        renewed = host.aws("alice", key, secret)
        expect(renewed.returncode == 0, f"the renewed certificate is not used: {renewed.stderr}")
        host.machine.run("systemctl", "disable", "--now", "sixtykeyd-https.socket")
        host.machine.write("/etc/sixtykey/config.yaml", "keys:\n  lifetime: 60\n# mine\n")
        host.machine.run("systemctl", "restart", "sixtykeyd.service")
        host.wait_active()
        seen.append("disabled and restarted: " + host.machine.shell("ss -Hltn | awk '{print $4}'"))


def stopped(host: Host) -> None:
    """While the daemon is stopped, users' own keys log in."""
    with host.report.step(
        "daemon stopped: own keys log in, as fast, and sshd's log is clean"
    ) as seen:
        key = host.client.key("own")
        host.authorize("bob", key)
        units = ("sixtykeyd.service", "sixtykeyd-lookup.socket", "sixtykeyd-push.socket")
        took: dict[str, list[float]] = {"running": [], "stopped": []}
        since = host.machine.shell("date '+%Y-%m-%d %H:%M:%S'")
        for _ in range(3):
            for state, action in (("running", "start"), ("stopped", "stop")):
                host.machine.run("systemctl", action, *units)
                for _ in range(5):
                    begin = time.monotonic()
                    expect(host.client.login("bob", key) == "bob", f"own key, {state}")
                    took[state].append(time.monotonic() - begin)
        stranger = host.client.key("stranger")
        expect(host.client.login("bob", stranger) == "", "a stranger logged in")
        host.machine.run("systemctl", "start", *units)
        host.wait_active()
        log = host.machine.run("journalctl", "--no-pager", "-u", "ssh", "--since", since).stdout
        errors = [
            line
            for line in log.splitlines()
            if re.search(r" sshd\S*\[", line) and re.search("error|AuthorizedKeysC", line)
        ]
        expect(not errors, "\n".join(errors))
        away = host.machine.run(
            "journalctl", "--no-pager", "--facility=authpriv", "-p", "warning", "--since", since
        ).stdout
        expect("sixtykey" in away, f"nothing in syslog: {away}")
        medians = {state: statistics.median(times) * 1000 for state, times in took.items()}
        seen.append(
            f"own key, median of 15: {medians['running']:.0f} ms running, "
            f"{medians['stopped']:.0f} ms stopped; syslog says once that the daemon is away"
        )
