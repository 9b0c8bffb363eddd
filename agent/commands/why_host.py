"""sixtykey why USER@HOST: asks over the network, as a principal that may push there."""

from __future__ import annotations

import json
import os
import time

from agent.client import credentials, settings, targets
from agent.client.api import EXPLAIN, Api
from agent.client.trouble import DONE, REFUSED, Trouble, plain
from agent.client.vocabulary import AWS
from agent.commands import explanations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.commands.options import Options


def run(options: Options, user: str, host: str) -> int:
    """Print the explanation of the user's own pushes, by host and gateway. Raises Trouble."""
    found = settings.load(os.environ, {"config": options.value("--config")}, host)
    if found.endpoint == AWS:
        hint = f"its administrator can: sixtykey why {plain(user)}"
        raise Trouble(REFUSED, "NotTold", "EC2 Instance Connect does not tell why", hint)
    region = credentials.region(found)
    api = Api(found, credentials.find(found, time.time()), region)
    # A gateway needs the host's id; a single host accepts its own.
    instance = targets.find(found, api, region, host).instance
    answer = api.ask(EXPLAIN, {"InstanceId": instance, "OSUser": user})
    try:
        told = [(each, explanations.describe(each, answer), explanations.stamp(each))
                for each in answer["Decisions"]]  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, OSError):
        raise Trouble(REFUSED, "NoAnswer", f"{api.url} sends an invalid answer") from None
    if options.on("--json"):
        for record, (what, hint), _ in told:
            record["words"], record["hint"] = what, hint
        print(json.dumps(answer, indent=2))
    elif not told:
        print(f"{plain(host)} has no record of a push by you for {plain(user)}")
    else:
        if answer.get("Unanswered"):
            print(f"! only the gateway answers: {plain(str(answer['Unanswered']))}")
        for _, (what, _), when in told:
            print(f"{when}: {plain(what)}")
    return DONE if told else REFUSED
