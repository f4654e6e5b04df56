"""The page: who gets in, and the guild through a real browser's eyes."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import discord
import pytest
from discord import app_commands
from playwright.async_api import async_playwright, expect

from tests.sandbox.people import when
from tests.support.waiting import PATIENCE

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


async def test_the_page_asks_for_the_token(http, sandbox):
    token = sandbox.world.store.state.control_token
    async with http.get(sandbox.url + "/") as page:
        text = await page.text()
        assert 'name="token"' in text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    async with http.get(sandbox.url + "/", params={"token": token}, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
        assert "HttpOnly" in response.headers["Set-Cookie"]
        assert "SameSite=Strict" in response.headers["Set-Cookie"]
    async with http.get(sandbox.url + "/", params={"token": "wrong"}, allow_redirects=False) as response:
        assert "Set-Cookie" not in response.headers


async def test_the_control_api_is_closed_without_it(http, sandbox):
    token = sandbox.world.store.state.control_token
    url = sandbox.url + "/sandbox/"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"sandbox={token}"}):
        async with http.post(url + "users", json={"name": "eve"}, headers=headers) as response:
            assert response.status == 401
    # The cookie counts from the page itself only.
    for origin, status in (("http://evil.example", 401), (sandbox.url, 200)):
        headers = {"Cookie": f"sandbox={token}", "Origin": origin}
        async with http.post(url + "users", json={"name": "eve"}, headers=headers) as response:
            assert response.status == status
    async with http.get(url + "dump", headers={"Authorization": f"Bearer {token}"}) as response:
        dump = json.dumps(await response.json())
    assert all(one.token not in dump and one.secret not in dump for one in sandbox.world.store.applications.values())


async def test_wrong_orders_are_explained(http, sandbox, control):
    headers = {"Authorization": f"Bearer {sandbox.world.store.state.control_token}"}
    for name, body in (
        ("users", {}),
        ("faults", {"kind": "flood"}),
        ("gateway", {"action": "burn"}),
        ("clock", {"advance": "x"}),
    ):
        async with http.post(f"{sandbox.url}/sandbox/{name}", json=body, headers=headers) as response:
            # An action on connections that are not there has nothing to refuse.
            assert response.status == (200 if name == "gateway" else 400), name


@pytest.fixture
async def page(sandbox):
    # Chromium from PATH, else Playwright's own.
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    async with async_playwright() as playwright:
        expect.set_options(timeout=1000 * PATIENCE)
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        complaints = []
        page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{sandbox.url}/?token={sandbox.world.store.state.control_token}")
        yield page
        assert complaints == []
        await browser.close()


class Stop(discord.ui.View):
    def __init__(self):
        super().__init__(timeout=None)

    @discord.ui.button(label="Stop", custom_id="stop")
    async def stop_it(self, interaction: discord.Interaction, _button: discord.ui.Button) -> None:
        await interaction.response.edit_message(content="stopped", view=None)


async def idle(interaction: discord.Interaction) -> None:
    """Do nothing."""


async def test_a_person_types_runs_a_command_and_presses_a_button(page, server, sandbox):
    @server.tree.command(name="ask", description="Ask the model")
    async def ask(interaction: discord.Interaction, prompt: str, model: str = "small") -> None:
        await interaction.response.send_message(f"{prompt} by {model}", view=Stop())

    @ask.autocomplete("model")
    async def models(_interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=one, value=one) for one in ("large", "larger") if one.startswith(current)]

    await server.tree.sync()
    await page.reload()
    await expect(page.locator("#channel")).to_have_text("# general")
    await expect(page.locator("#members li")).to_have_count(6)
    await page.select_option("#member", label="ada")
    await page.fill("#text", "hello from a person")
    await page.press("#text", "Enter")
    await expect(page.locator(".message .body")).to_have_text(["hello from a person"])
    await when(lambda: server.heard)
    assert server.heard[0].author.name == "ada"

    await server.channel().send(f"<@{server.user.id}> " + "gAAAAAB" + "x" * 300)
    await expect(page.locator(".sealed")).to_have_text(re.compile(r"^gAAAAABx+… \(307\)$"))

    general = server.channel()
    await general.send(f"<@{server.user.id}> of <#{general.id}> at <t:86400:R>, not of <#1> nor <@2>")
    told = page.locator(".message .body").last
    await expect(told).to_have_text(re.compile(r"^@Server-Bot of # general at .*1970.*, not of <#1> nor <@2>$"))
    await told.get_by_role("button", name="# general").click()
    await expect(page.locator("#channel")).to_have_text("# general")

    await page.fill("#text", "/as")
    await expect(page.locator("#suggestions button")).to_have_text([re.compile("/ask")])
    await page.fill("#text", "/ask prompt: what is this model:la")
    await expect(page.locator("#suggestions button")).to_have_text(["large", "larger"])
    await page.locator("#suggestions button").first.click()
    await page.press("#text", "Enter")
    await expect(page.locator(".message .body").last).to_have_text("what is this by large")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator(".message .body").last).to_have_text("stopped")

    hidden = {server.guild.default_role: discord.PermissionOverwrite(view_channel=False)}
    hidden[server.guild.me] = discord.PermissionOverwrite(view_channel=True)
    await server.guild.create_text_channel("sealed-1", overwrites=hidden)
    await page.select_option("#member", label="owner")
    await expect(page.locator("#channels button")).to_have_text(["# sealed-1", "# general"])
    await page.select_option("#member", label="bob")
    await expect(page.locator("#channels button")).to_have_text(["# general"])


async def test_all_is_suggested_and_a_notice_stays(page, server):
    for number in range(12):
        command = app_commands.Command(name=f"one-{number}", description="One of many", callback=idle)
        server.tree.add_command(command)
    await server.tree.sync()
    await page.reload()
    await expect(page.locator("#channel")).to_have_text("# general")
    await page.fill("#text", "/")
    await expect(page.locator("#suggestions button")).to_have_count(12)
    await page.fill("#text", "/two")
    await page.press("#text", "Enter")
    await expect(page.locator("#notice")).to_have_text("There is no such command here.")
    await server.channel().send("something else")
    await expect(page.locator(".message .body")).to_have_text(["something else"])
    await expect(page.locator("#notice")).to_have_text("There is no such command here.")


async def test_a_person_mentions_the_bot_by_its_name(page, server):
    await expect(page.locator("#channel")).to_have_text("# general")
    await page.fill("#text", "you too, @server")
    await page.get_by_role("button", name="@Server-Bot").click()
    await expect(page.locator("#text")).to_have_value("you too, @Server-Bot ")
    await page.press("#text", "Enter")
    await expect(page.locator("#text")).to_have_value("")
    await page.fill("#text", "@Server-Bot, not me@bob nor @bobby")
    await page.press("#text", "Enter")
    await when(lambda: len(server.heard) == 2)
    assert [one.content for one in server.heard] == [f"you too, {server.user.mention}", f"{server.user.mention}, not me@bob nor @bobby"]


async def test_what_stays_the_same_stays_under_the_pointer(page, server):
    said = await server.channel().send("writing", view=Stop())
    buttons = [page.get_by_role("button", name=name) for name in ("Stop", "# general")]
    held = [await one.element_handle() for one in buttons]
    await said.edit(content="writing on")
    await server.channel().send("<@1> says something else")
    await expect(page.locator(".message .body")).to_have_text(["writing on", "<@1> says something else"])
    assert [await one.evaluate("one => one.isConnected") for one in held] == [True, True]
    await said.edit(content="written", view=None)
    await expect(buttons[0]).to_have_count(0)


async def test_a_button_that_is_a_link_leads_there(page, server, sandbox):
    view = discord.ui.View()
    view.add_item(discord.ui.Button(label="Open", url=f"{sandbox.url}/nowhere"))
    await server.channel().send("All of it:", view=view)
    async with page.expect_popup() as opened:
        await page.get_by_text("Open", exact=True).click()
    assert (await opened.value).url == f"{sandbox.url}/nowhere"


async def test_the_command_serves_and_stops(tmp_path, http):
    """`meatlizard sandbox` as a process: its file, its line, SIGTERM."""
    config = tmp_path / "sandbox.json"
    config.write_text(
        json.dumps({"guild": "Home", "control_token": "c" * 20, "bots": [{"name": "Only", "token": "t-1"}]})
    )
    command = [sys.executable, "-m", "app.cli", "sandbox", "--config", str(config), "--state", str(tmp_path / "s.json")]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=dict(os.environ))
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
        url = line.split()[-1].rstrip("/")
        assert "token" not in line
        async with http.get(url + "/api/v10/users/@me", headers={"Authorization": "Bot t-1"}) as response:
            assert (await response.json())["username"] == "Only"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        if process.returncode is None:
            process.kill()
    assert "Home" in (tmp_path / "s.json").read_text()
