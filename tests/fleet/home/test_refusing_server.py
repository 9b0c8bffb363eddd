"""A removal that a server of the bus refuses is reported, and sent again until all accept it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from agent.fleet.bus.nats_client import CLAIMS_UPDATE
from agent.fleet.home.home import Home
from tests.fleet.home.test_leaving import Running, steal
from tests.parts.bus import settle
from tests.parts.command import Done
from tests.parts.host import free_port, work_directory


def remove(fleet: Running, answers: list[Any], *words: str) -> Done:
    """Run `fleet remove`, while a stolen server sends these answers."""

    async def attempt() -> Done:
        async with fleet.bus.system() as thief:

            async def lie(message: Msg) -> None:
                for each in answers:
                    await message.respond(json.dumps(each).encode())

            await thief.subscribe(CLAIMS_UPDATE, cb=lie)
            await settle(thief)
            return await asyncio.to_thread(fleet.home, "remove", *words)

    return asyncio.run(attempt())


def test_a_removal_that_a_server_refuses_is_sent_again(tmp_path: Path) -> None:
    """While a server refuses it, the command exits with 1 and the timer sends it again.

    Acceptances in names of no server change nothing about that.
    """
    with work_directory() as directory:
        fleet = Running(directory)
        with fleet.bus, fleet.gateway:
            fleet.gateway.await_bus()
            copy, certificate = steal(fleet.member(tmp_path), tmp_path)
            (real,) = (each.server.folder for each in fleet.bus.servers)
            second = fleet.home("server", f"127.0.0.1:{free_port()}", "--json").json["Server"]
            false = [{"server": {"name": f"x{number}"}} for number in range(9)]
            refusal = {"server": {"name": second}, "error": {"description": "full\x1b"}}
            told = remove(fleet, [*false, refusal], certificate.host, "--json")
            assert told.code == 1, told
            assert (told.json["Removed"], told.json["Told"]) == ([certificate.host], [real])
            assert (list(told.json["Refused"]), told.json["Missing"]) == ([second], [])
            assert not fleet.may_connect(copy)
            timer = remove(fleet, [*false, refusal], "--left")
            assert (timer.code, f"{second} refuses it: " in timer.out) == (1, True), timer
            again = fleet.home("remove", "--left")
            assert (again.code, f"{second} did not answer" in again.out) == (0, True), again
            assert Home(str(fleet.folder)).unsent() is None
