"""The chat page in Chromium against the scripted server: sending, streaming, every way a turn can end, and coming back."""

import re
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import Opener
from tests.browser.stage import Json, Stage, written
from tests.support.waiting import until_async

REPLY = """Geckos hold on with **van der Waals** forces – 🦎 no glue.

```python
def longest(text):
    return max(text.split(), key=len)
```

1. press
2. pull – é

| a | b |
|---|---|
| 1 | 2 |

The end."""
SHOWN = ".assistant:last-child .content"


async def ask(page: Page, stage: Stage, text: str = "Hello") -> tuple[str, Json]:
    """Send a prompt by hand, keep it as the server would; return the session and the `accepted` event."""
    count = len([one for one in stage.heard if one.get("type") == "prompt"])
    await page.locator("#box").fill(text)
    await page.locator("#box").press("Enter")
    prompt = await stage.said("prompt", count + 1)
    assert prompt["text"] == text
    return prompt["session"], await stage.accept(prompt["session"], prompt)


async def shown(page: Page) -> str:
    """Return the text of the last reply as it is read, without what buttons say."""
    return str(
        await page.evaluate(
            """() => {
              const copy = [...document.querySelectorAll(".assistant .content")].at(-1).cloneNode(true);
              for (const extra of copy.querySelectorAll(".code-bar, .code-label, [hidden]")) extra.remove();
              return copy.textContent.replace(/\\s+/g, " ").trim();
            }"""
        )
    )


async def whole_reply_is_shown(page: Page) -> None:
    await expect(page.locator(".assistant:last-child")).to_have_attribute("data-state", "done")
    assert await shown(page) == (
        "Geckos hold on with van der Waals forces – 🦎 no glue. "
        "def longest(text): return max(text.split(), key=len) press pull – é a b 1 2 The end."
    )


def session_with_reply(stage: Stage, turns: list[Json] | None = None) -> str:
    prompt = {"role": "user", "text": "Why?"}
    reply = {"role": "assistant", "text": REPLY, "turn": "t" * 32, "state": "done", "model": "SmolLM2", "node": "home"}
    return stage.session("Geckos", prompt, reply, turns=turns)


async def test_a_first_prompt_makes_a_session_and_streams_its_reply(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    await expect(page.locator("#answers")).to_have_text("SmolLM2 on home will answer.")
    assert stage.asked == []
    session, accepted = await ask(page, stage)
    await expect(page).to_have_url(f"{stage.url}/s/{session}")
    await expect(page).to_have_title("Hello – MeatLizard")
    await expect(page.locator("#stop")).to_be_visible()
    await stage.reply(session, accepted["turn"], REPLY)
    await whole_reply_is_shown(page)
    await expect(page.locator("#send")).to_be_visible()
    await expect(page.locator(".assistant .about")).to_contain_text("SmolLM2 on home · 42 tokens/s")
    await expect(page.locator("#said")).to_contain_text("Reply finished. Geckos hold on")
    assert stage.asked.count("POST /api/sessions") == 1


async def test_a_turn_says_where_it_stands(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    session, accepted = await ask(page, stage)
    turn = accepted["turn"]
    status = page.locator(".assistant .status")
    await stage.tell(session, event="queued", turn=turn, attempt=0, position=2, eta=40.2)
    await expect(status).to_have_text("Queued: position 2, about 40 s")
    await stage.tell(session, event="queued", turn=turn, attempt=0, position=1, eta=180)
    await expect(status).to_have_text("Queued: position 1, about 3 min")
    await stage.tell(session, event="started", turn=turn, attempt=1, at=0, node="home", left_out=2)
    await expect(status).to_have_text("Reading the prompt…")
    await expect(page.locator(".assistant .note")).to_have_text(re.compile("^2 earlier messages were left out"))
    await stage.tell(session, event="delta", turn=turn, attempt=1, at=0, text="Some *text")
    await expect(page.locator(".assistant .tail-text")).to_have_text("Some *text")
    await expect(status.locator("visible=true")).to_have_count(0)
    await stage.tell(session, event="queued", turn=turn, attempt=1, position=3, eta=9)  # An old word, overtaken
    await stage.tell(session, event="queued", turn=turn, attempt=2, position=1, eta=9)
    await expect(status).to_have_text("The node fell silent; another try begins. Queued: position 1, about 9 s")
    await stage.tell(session, event="started", turn=turn, attempt=2, at=5, node="attic", left_out=0)
    await stage.tell(session, event="delta", turn=turn, attempt=1, at=10, text="STALE")
    await stage.tell(session, event="delta", turn=turn, attempt=2, at=5, text="more")
    await expect(page.locator(".assistant .tail-text")).to_have_text("Some more")
    await expect(page.locator(".assistant .note")).to_have_text("Carried on after an interruption.")


async def test_a_failure_says_why_and_can_be_tried_again(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    session, accepted = await ask(page, stage)
    reason = "The node ran out of memory. Start it with a smaller context."
    await stage.tell(session, event="started", turn=accepted["turn"], attempt=3, at=0, node="home", left_out=0)
    await stage.tell(session, event="delta", turn=accepted["turn"], attempt=3, at=0, text="What there is")
    await stage.tell(session, event="failed", turn=accepted["turn"], attempt=3, reason=reason, retry=True)
    await expect(page.locator(".assistant .failure")).to_contain_text(reason)
    await expect(page.locator(SHOWN)).to_have_text("What there is")  # A failure takes nothing away.
    await page.get_by_role("button", name="Retry").click()
    again = await stage.said("retry")
    assert again["turn"] == accepted["turn"]
    second = await stage.accept(session, again)
    await expect(page.locator(".assistant .failure")).to_be_hidden()
    await expect(page.locator(".assistant .place")).to_have_text("2/2")
    await stage.reply(session, second["turn"], REPLY)
    await whole_reply_is_shown(page)
    await expect(page.locator(".message")).to_have_count(2)


@pytest.mark.parametrize("way", ["button", "Escape"])
async def test_stop_keeps_what_was_written(way: str, stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    session, accepted = await ask(page, stage)
    await stage.tell(session, event="started", turn=accepted["turn"], attempt=1, at=0, node="home", left_out=0)
    await stage.tell(session, event="delta", turn=accepted["turn"], attempt=1, at=0, text="Half a *word*")
    await expect(page.locator(".assistant .tail-text")).to_have_text("Half a *word*")
    await (page.keyboard.press("Escape") if way == "Escape" else page.locator("#stop").click())
    assert (await stage.said("stop"))["turn"] == accepted["turn"]
    await expect(page.locator(".assistant .status")).to_have_text("Stopping…")
    await stage.tell(session, **stage.finish(session, accepted["turn"], "Half a *word*", event="cancelled"))
    await expect(page.locator(".assistant .status")).to_have_text("Stopped.")
    assert await shown(page) == "Half a word"
    await expect(page.locator("#send")).to_be_visible()


async def test_a_stop_before_the_prompt_is_kept_is_sent_once_it_is(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    await page.locator("#box").fill("Hello")
    await page.locator("#box").press("Enter")
    prompt = await stage.said("prompt")
    await page.locator("#stop").click()
    accepted = await stage.accept(prompt["session"], prompt)
    assert (await stage.said("stop"))["turn"] == accepted["turn"]
    await stage.tell(prompt["session"], event="cancelled", turn=accepted["turn"], attempt=0, message=None)
    await expect(page.locator(".assistant .status")).to_have_text("Stopped.")


async def test_a_refused_prompt_is_put_back(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    await page.locator("#box").fill("Too much")
    await page.locator("#box").press("Enter")
    prompt = await stage.said("prompt")
    await page.locator("#box").fill("typed since")
    await stage.tell(
        prompt["session"], event="error", id=prompt["id"], code="limit", message="Wait a minute, then send again."
    )
    await expect(page.locator("#box")).to_have_value("Too much\n\ntyped since")
    await expect(page.locator("#notice")).to_contain_text("Wait a minute, then send again.")
    await expect(page.locator(".message")).to_have_count(0)
    await expect(page.locator("#send")).to_be_enabled()


async def test_a_prompt_that_is_too_long_is_not_sent_and_says_so(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    await page.locator("#box").fill("🦎" * 32_001)
    await expect(page.locator("#count")).to_have_text("A message may have 32,000 characters at most: 1 too many.")
    await expect(page.locator("#send")).to_be_disabled()
    await page.locator("#box").press("Enter")
    await page.locator("#box").fill("🦎" * 32_000)
    await expect(page.locator("#count")).to_have_text("32,000 of 32,000 characters")
    await expect(page.locator("#send")).to_be_enabled()
    assert stage.heard == []


async def test_enter_sends_but_not_with_shift_nor_while_a_word_is_composed(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    box = page.locator("#box")
    await box.press_sequentially("one")
    await box.press("Shift+Enter")
    await box.press_sequentially("two")
    await box.evaluate(
        "box => box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))"
    )
    await box.evaluate(
        "box => box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', keyCode: 229, bubbles: true}))"
    )
    await expect(box).to_have_value("one\ntwo")
    await box.press("Enter")
    assert (await stage.said("prompt"))["text"] == "one\ntwo"
    await expect(box).to_have_value("")


async def test_a_draft_outlives_a_reload_and_belongs_to_its_session(stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    page = await open_page(f"/s/{session}")
    await page.locator("#box").fill("half a thought")
    await page.reload()
    await expect(page.locator("#box")).to_have_value("half a thought")
    await page.locator("#new").click()
    await expect(page.locator("#box")).to_have_value("")
    await page.locator("#sessions a").click()
    await expect(page.locator("#box")).to_have_value("half a thought")


async def test_a_prompt_sent_while_the_line_is_down_goes_out_once_it_is_back(stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    page = await open_page(f"/s/{session}")
    await stage.until(lambda: stage.sockets.get(session))
    stage.refuses_sockets = 1013
    await stage.cut()
    await expect(page.locator("#pill")).to_have_text("Reconnecting…")
    await page.locator("#box").fill("Later")
    await page.locator("#box").press("Enter")
    await expect(page.locator(".user:last-child .status")).to_have_text(
        "Waiting for the connection: it will be sent then."
    )
    await page.reload()  # Not even this may lose it.
    await expect(page.locator(".user:last-child")).to_contain_text("Later")
    stage.refuses_sockets = None
    prompt = await stage.said("prompt")
    await expect(page.locator("#pill")).to_be_hidden()
    await stage.accept(session, prompt)
    await stage.cut()  # The page does not know whether its prompt came through: it is the same prompt still.
    await stage.until(lambda: stage.sockets.get(session))
    await expect(page.locator(".user")).to_have_count(2)
    assert {one["id"] for one in stage.heard if one["type"] == "prompt"} == {prompt["id"]}


async def test_an_unsure_prompt_is_sent_again_with_the_same_id(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    await page.locator("#box").fill("Hello")
    await page.locator("#box").press("Enter")
    first = await stage.said("prompt")
    await stage.cut()
    second = await stage.said("prompt", 2)
    assert second["id"] == first["id"]
    accepted = await stage.accept(first["session"], second)
    await stage.tell(first["session"], **stage.prompts[first["id"]])
    await stage.reply(first["session"], accepted["turn"], REPLY)
    await whole_reply_is_shown(page)
    await expect(page.locator(".message")).to_have_count(2)


async def test_a_session_that_cannot_be_made_at_once_is_made_later(stage: Stage, open_page: Opener) -> None:
    stage.fails["POST /api/sessions"] = 2
    page = await open_page()
    await page.locator("#box").fill("Hello")
    await page.locator("#box").press("Enter")
    await expect(page.locator(".user")).to_contain_text("Hello")
    assert (await stage.said("prompt"))["text"] == "Hello"
    assert stage.asked.count("POST /api/sessions") == 3


async def test_a_first_prompt_whose_session_was_never_made_is_in_the_box_again(stage: Stage, open_page: Opener) -> None:
    stage.fails["POST /api/sessions"] = 1_000
    page = await open_page()
    await page.locator("#box").fill("Hello")
    await page.locator("#box").press("Enter")
    await expect(page.locator(".user")).to_contain_text("Hello")
    await page.reload()
    await expect(page.locator("#box")).to_have_value("Hello")


async def resume(stage: Stage, given: Json, turn: str, text: str) -> None:
    """Answer as the server does: deltas the page lacks, and blocks from the first on."""
    await stage.tell(given["session"], event="started", turn=turn, attempt=1, at=0, node="home", left_out=0)
    for event in written(turn, text):
        if event["event"] == "block" or event["at"] + len(event["text"].encode()) > given["at"]:
            await stage.tell(given["session"], **event)


@pytest.mark.parametrize("cut_after", [0, 1, 9, 10, 11, 17, 30])
async def test_a_socket_that_dies_in_mid_reply_shows_each_byte_once(
    cut_after: int, stage: Stage, open_page: Opener
) -> None:
    page = await open_page()
    session, accepted = await ask(page, stage)
    turn = accepted["turn"]

    async def go_on(stage: Stage, given: Json) -> None:
        await resume(stage, given, turn, REPLY)
        if turn in [one["id"] for one in stage.sessions[session]["turns"]]:
            await stage.tell(session, **stage.finish(session, turn, REPLY))

    stage.on_resume = go_on
    await stage.tell(session, event="started", turn=turn, attempt=1, at=0, node="home", left_out=0)
    for event in written(turn, REPLY)[:cut_after]:
        await stage.tell(session, **event)
    await stage.cut()
    await whole_reply_is_shown(page)


async def test_a_reload_and_a_second_tab_in_mid_reply_show_every_byte_once(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    session, accepted = await ask(page, stage)
    turn = accepted["turn"]
    events = written(turn, REPLY)
    half = len(events) // 2
    so_far = "".join(event["text"] for event in events[:half] if event["event"] == "delta")

    async def go_on(stage: Stage, given: Json) -> None:
        await resume(stage, given, turn, so_far)

    stage.on_resume = go_on
    await stage.tell(session, event="started", turn=turn, attempt=1, at=0, node="home", left_out=0)
    for event in events[:half]:
        await stage.tell(session, **event)
    await page.reload()
    other = await open_page(f"/s/{session}")
    for tab in (page, other):
        await expect(tab.locator(".assistant .content")).to_contain_text("no glue")
    await stage.said("resume", 2)
    for event in events[half:]:
        await stage.tell(session, **event)
    await stage.tell(session, **stage.finish(session, turn, REPLY))
    for tab in (page, other):
        await whole_reply_is_shown(tab)
        await expect(tab.locator(".message")).to_have_count(2)


async def test_a_prompt_of_another_tab_appears_here(stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    first = await open_page(f"/s/{session}")
    second = await open_page(f"/s/{session}")
    await stage.until(lambda: len(stage.sockets.get(session, [])) == 2)
    await expect(second.locator(".message")).to_have_count(2)
    _, accepted = await ask(first, stage, "From the first tab")
    await expect(second.locator(".user:nth-child(3)")).to_contain_text("From the first tab")
    await expect(second.locator("#stop")).to_be_visible()
    await stage.reply(session, accepted["turn"], REPLY)
    for tab in (first, second):
        await whole_reply_is_shown(tab)


async def test_a_turn_that_the_page_was_never_told_of_is_fetched(stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    page = await open_page(f"/s/{session}")
    await stage.until(lambda: stage.sockets.get(session))
    sockets, stage.sockets[session] = stage.sockets[session], []
    prompt = {"type": "prompt", "id": "p", "text": "Unheard", "parent": stage.sessions[session]["messages"][-1]["id"]}
    accepted = await stage.accept(session, prompt)
    stage.sockets[session] = sockets
    await stage.tell(session, event="delta", turn=accepted["turn"], attempt=1, at=0, text="Some")
    assert (await stage.said("resume"))["turn"] == accepted["turn"]
    await expect(page.locator(".user:nth-child(3)")).to_contain_text("Unheard")


async def test_regenerate_and_edit_make_versions_one_can_switch_between(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    session, accepted = await ask(page, stage, "First")
    await stage.reply(session, accepted["turn"], "Reply one")
    await page.get_by_role("button", name="Regenerate").click()
    again = await stage.said("retry")
    assert again["turn"] == accepted["turn"]
    second = await stage.accept(session, again)
    await expect(page.locator(".assistant .place")).to_have_text("2/2")
    await stage.reply(session, second["turn"], "Reply two")
    await expect(page.locator(SHOWN)).to_have_text("Reply two")
    await page.get_by_role("button", name="Previous version").last.click()
    await expect(page.locator(SHOWN)).to_have_text("Reply one")
    await page.locator(".user").hover()
    await page.get_by_role("button", name="Edit").click()
    await page.get_by_label("Edit your message").fill("First, but better")
    await page.get_by_label("Edit your message").press("Enter")
    prompt = await stage.said("prompt", 2)
    assert (prompt["text"], prompt["parent"]) == ("First, but better", None)
    third = await stage.accept(session, prompt)
    await stage.reply(session, third["turn"], "Reply three")
    await expect(page.locator(".user .place")).to_have_text("2/2")
    await expect(page.locator(SHOWN)).to_have_text("Reply three")
    await page.locator(".user .switcher button").first.click()
    await expect(page.locator(SHOWN)).to_have_text("Reply one")  # The version that was chosen there
    await page.reload()
    await expect(page.locator(SHOWN)).to_have_text("Reply three")  # The newest
    await page.locator("#box").fill("Go on")
    await page.locator("#box").press("Enter")
    parent = (await stage.said("prompt", 3))["parent"]
    assert parent == next(m["id"] for m in stage.sessions[session]["messages"] if m["text"] == "Reply three")


@pytest.mark.parametrize("states", [[], ["away", "draining"]], ids=["no node", "none that takes prompts"])
async def test_a_reload_shows_what_failed_and_what_waits(stage: Stage, open_page: Opener, states: list[str]) -> None:
    stage.nodes = [{**stage.nodes[0], "name": state, "state": state} for state in states]
    session = stage.session("Two", {"role": "user", "text": "Q"})
    prompt = stage.sessions[session]["messages"][0]["id"]
    turn: Json = {"id": "f" * 32, "message": prompt, "state": "failed", "attempt": 3, "reason": "No node answered."}
    stage.sessions[session]["turns"] = [turn]
    page = await open_page(f"/s/{session}")
    await expect(page.locator(".assistant .failure")).to_contain_text("No node answered.")
    stage.sessions[session]["turns"].append(
        {"id": "q" * 32, "message": prompt, "state": "queued", "attempt": 0, "position": 1, "eta": None}
    )
    await page.reload()
    await expect(page.locator(".assistant")).to_have_count(1)
    await expect(page.locator(".assistant .status")).to_have_text("No node takes prompts just now: yours waits for one.")
    await page.goto(stage.url)
    await expect(page.locator("#answers")).to_have_text("No node takes prompts just now: yours will wait for one.")


@pytest.mark.parametrize("code", [4404, 4401])
async def test_a_socket_closed_for_good_is_not_knocked_at_again(code: int, stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    page = await open_page(f"/s/{session}")
    await stage.until(lambda: stage.sockets.get(session))
    await page.locator("#box").fill("kept")
    await stage.cut(code)
    if code == 4401:
        await expect(page).to_have_url(f"{stage.url}/login?next=%2Fs%2F{session}")
    else:
        await expect(page.locator("#notice")).to_contain_text("This session is not here")
        await expect(page).to_have_url(f"{stage.url}/")
        await expect(page.locator("#box")).to_have_value("kept")


async def test_what_a_session_that_is_gone_did_not_take_is_taken_along(stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    page = await open_page(f"/s/{session}")
    await page.locator("#box").fill("sent")
    await page.keyboard.press("Enter")
    await stage.said("prompt")
    await page.locator("#box").fill("and typed")
    await stage.cut(4404)
    await expect(page).to_have_url(f"{stage.url}/")
    await expect(page.locator("#box")).to_have_value("sent\n\nand typed")
    await page.keyboard.press("Enter")
    assert (await stage.said("prompt", 2))["text"] == "sent\n\nand typed"


ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202e"


async def test_no_field_runs_a_script(stage: Stage, open_page: Opener) -> None:
    stage.user = {"name": ATTACK, "role": "user", "guest": False}
    stage.nodes[0] |= {"name": ATTACK, "model": ATTACK}
    page = await open_page()
    await expect(page.locator("#answers")).to_contain_text("<img")
    session, accepted = await ask(page, stage, ATTACK)
    turn = accepted["turn"]
    await stage.tell(session, event="started", turn=turn, attempt=1, at=0, node=ATTACK, left_out=ATTACK)
    for event in written(turn, f"{ATTACK}\n\n```{ATTACK}\n{ATTACK}\n```\n\n{ATTACK}"):
        await stage.tell(session, **event)
    await stage.tell(session, event="error", code="x", message=ATTACK)
    await expect(page.locator("#notice")).to_contain_text("<img")
    await stage.tell(session, event="queued", turn=turn, attempt=2, position=ATTACK, eta=ATTACK)
    await stage.tell(session, **stage.finish(session, turn, ATTACK, model=ATTACK, node=ATTACK, note=ATTACK))
    await expect(page.locator(".assistant .about")).to_contain_text("<img")
    await page.reload()
    await expect(page.locator("#sessions")).to_contain_text("<img")
    _, accepted = await ask(page, stage, "again")
    await stage.tell(session, event="failed", turn=accepted["turn"], attempt=1, reason=ATTACK, retry=True)
    await expect(page.locator(".failure:visible")).to_contain_text("<img")
    assert "owned" not in await page.title() or "onerror" in await page.title()
    assert await page.locator("img, .content script").count() == 0


async def test_sessions_can_be_found_renamed_and_deleted(stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    stage.session("Puppies")
    page = await open_page(f"/s/{session}")
    await page.locator("#find").fill("geck")
    await expect(page.locator("#sessions a")).to_have_text(["Geckos"])
    await page.locator("#find").fill("")
    await page.get_by_role("button", name="Rename “Geckos”").click()
    await page.get_by_label("Title of the session").fill("Lizards")
    await page.get_by_label("Title of the session").press("Enter")
    await expect(page.locator("#title")).to_have_text("Lizards")
    assert stage.sessions[session]["title"] == "Lizards"
    await page.get_by_role("button", name="Delete “Lizards”").click()
    await page.get_by_role("button", name="Keep it").click()
    assert session in stage.sessions
    await page.get_by_role("button", name="Delete “Lizards”").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.locator("#sessions a")).to_have_text(["Puppies"])
    await expect(page).to_have_url(f"{stage.url}/")
    assert session not in stage.sessions


async def test_back_and_forth_go_through_the_sessions(stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    page = await open_page()
    await page.locator("#sessions a").click()
    await expect(page.locator(".message")).to_have_count(2)
    await page.go_back()
    await expect(page.locator("#empty")).to_be_visible()
    await expect(page.locator(".message")).to_have_count(0)
    await page.go_forward()
    await expect(page).to_have_url(f"{stage.url}/s/{session}")
    await expect(page.locator(".message")).to_have_count(2)


async def holds(page: Page, expression: str) -> None:
    """Wait until it is true. Playwright's own way of waiting evaluates a string from its second look on, which our policy forbids."""
    await until_async(lambda: page.evaluate(expression))


async def test_the_end_is_followed_only_by_those_who_read_it(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    session, accepted = await ask(page, stage)
    turn = accepted["turn"]
    events = written(turn, "A paragraph of some length.\n\n" * 60, step=29)
    for event in events[:60]:
        await stage.tell(session, **event)
    far = "document.querySelector('#scroller').scrollTop"
    await holds(
        page, f"{far} > 300 && {far} + document.querySelector('#scroller').clientHeight > document.querySelector('#scroller').scrollHeight - 4"
    )
    await page.locator("#transcript").hover()
    await page.mouse.wheel(0, -400)
    await expect(page.locator("#latest")).to_be_visible()
    # The wheel's way is a smooth one: only where it stands still is where the reader stays.
    await holds(page, f"() => new Promise(done => {{ const at = {far}; setTimeout(() => done({far} === at), 300); }})")
    before = await page.evaluate(far)
    for event in events[60:]:
        await stage.tell(session, **event)
    await expect(page.locator(".content p")).to_have_count(61)
    assert await page.evaluate(far) == before
    await page.locator("#latest").click()
    await holds(page, f"{far} > {before} + 300")
    await expect(page.locator("#latest")).to_be_hidden()


async def test_code_and_replies_can_be_copied(stage: Stage, context: BrowserContext, open_page: Opener) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await open_page(f"/s/{session_with_reply(stage)}")
    await page.locator(".copy-code").click()
    await expect(page.locator(".copy-code")).to_have_text("Copied")
    clipboard = "navigator.clipboard.readText()"
    assert await page.evaluate(clipboard) == "def longest(text):\n    return max(text.split(), key=len)\n"
    await page.locator(".assistant").get_by_role("button", name="Copy", exact=True).last.click()
    await holds(page, f"async () => (await {clipboard}).startsWith('Geckos')")
    assert await page.evaluate(clipboard) == REPLY


async def test_a_guest_is_told_so(stage: Stage, open_page: Opener) -> None:
    stage.user = {"name": "guest", "role": "user", "guest": True}
    page = await open_page()
    await expect(page.locator(".side-foot")).to_contain_text("You are a guest on this machine.")
    await page.get_by_role("link", name="Sign in").click()
    await expect(page).to_have_url(f"{stage.url}/login")


@pytest.mark.parametrize(
    ("following", "landing"),
    [
        ("", "/"),
        ("?next=/s/abc", "/s/abc"),
        ("?next=//evil.example/", "/"),
        ("?next=https://evil.example/", "/"),
        ("?next=/%5Cevil.example/", "/"),
    ],
)
async def test_signing_in_leads_home_and_nowhere_else(
    following: str, landing: str, stage: Stage, open_page: Opener
) -> None:
    page = await open_page(f"/login{following}")
    await page.get_by_label("Name").press("Enter")
    await expect(page.locator("#name-error")).to_have_text("Write your name.")
    await expect(page.get_by_label("Name")).to_be_focused()
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").fill("wrong")
    await page.get_by_label("Password").press("Enter")
    await expect(page.locator("#login-error")).to_have_text("This name and password do not belong together.")
    await page.get_by_label("Password").fill("right")
    await page.get_by_label("Password").press("Enter")
    await page.wait_for_url(lambda url: "/login" not in url)
    if landing == "/":
        await expect(page).to_have_url(f"{stage.url}/")
    else:
        await expect(page.locator("#notice")).to_contain_text("This session is not here")


async def test_signing_out_forgets_what_this_browser_kept(stage: Stage, open_page: Opener) -> None:
    page = await open_page()
    await page.locator("#box").fill("a secret draft")
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/login**")
    assert await page.evaluate("Object.keys(localStorage).length") == 0


async def test_the_phone_has_a_drawer_and_nothing_wider_than_itself(stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    page = await open_page(f"/s/{session}")
    await page.set_viewport_size({"width": 390, "height": 844})
    await expect(page.locator(".message")).to_have_count(2)
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    await expect(page.locator("#side")).not_to_be_in_viewport()
    await page.get_by_role("button", name="Show the list of sessions").click()
    await expect(page.locator("#sessions a")).to_be_in_viewport()
    await expect(page.locator("#close-side")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator("#side")).not_to_be_in_viewport()
    await expect(page.locator("#open-side")).to_be_focused()
    sizes: list[dict[str, Any]] = await page.evaluate(
        "[...document.querySelectorAll('.bar button, .bar a, .composer button')].filter(b => b.offsetParent)"
        ".map(b => b.getBoundingClientRect().toJSON())"
    )
    assert all(size["width"] >= 42 and size["height"] >= 42 for size in sizes)


async def test_the_list_goes_on_as_it_is_scrolled_and_searched(stage: Stage, open_page: Opener) -> None:
    stage.page = 40
    titles = [f"Talk {number}" for number in range(100)]
    titles[3] = "Tides and moons"
    for title in titles:
        stage.session(title)
    page = await open_page()
    rows = page.locator("#sessions a")
    await expect(rows).to_have_count(40)
    await expect(rows.first).to_have_text("Talk 99")
    await page.locator("#find").fill("moons tides")
    await expect(rows).to_have_text(["Tides and moons"])
    await page.locator("#find").fill("volcano")
    await expect(page.locator("#sessions")).to_have_text("No title has these words.")
    await page.locator("#find").fill("")
    await expect(rows).to_have_count(41)
    older = page.get_by_role("button", name="Older sessions")
    for count in (81, 100):
        await older.scroll_into_view_if_needed()
        await expect(rows).to_have_count(count)
    await expect(older).to_have_count(0)
    texts = await rows.all_inner_texts()
    assert sorted(texts) == sorted(titles), "each once"


async def test_older_sessions_come_by_hand_where_the_server_was_away(stage: Stage, open_page: Opener) -> None:
    stage.page = 10
    for number in range(25):
        stage.session(f"Talk {number}")
    stage.fails["GET /api/sessions older"] = 1
    page = await open_page()
    rows = page.locator("#sessions a")
    older = page.get_by_role("button", name="Older sessions")
    await stage.until(lambda: stage.fails["GET /api/sessions older"] == 0)
    await page.wait_for_load_state("networkidle")
    await expect(rows).to_have_count(10)
    await older.focus()
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(25)
    await expect(rows.nth(10)).to_be_focused()


async def test_a_reply_leads_to_where_its_time_went(stage: Stage, open_page: Opener) -> None:
    session = session_with_reply(stage)
    page = await open_page(f"/s/{session}")
    turn = stage.sessions[session]["messages"][-1]["turn"]
    await expect(page.locator(".assistant .about")).to_have_attribute("href", f"/trace/{turn}")


async def test_the_page_is_light(stage: Stage, open_page: Opener, context: BrowserContext, watched: Any) -> None:
    page = watched(await context.new_page())
    loaded: list[tuple[str, int]] = []

    async def note(response: Any) -> None:
        loaded.append((response.url, len(await response.body())))

    page.on("response", note)
    await page.goto(f"{stage.url}/s/{session_with_reply(stage)}")
    await expect(page.locator(".message")).to_have_count(2)
    await page.wait_for_load_state("networkidle")
    scripts = sum(size for url, size in loaded if url.endswith(".js"))
    assert len(loaded) <= 14, [url for url, _ in loaded]  # and one socket
    assert scripts <= 60_000
    assert sum(size for _, size in loaded) <= 150_000
