"""One account by two doors: codes, linking, merging, unlinking, roles of the guild, those who are shut out."""

import asyncio
from uuid import UUID, uuid4

import pytest
from limits import RateLimitItemPerMinute
from sqlalchemy import update

from app.core.db import transaction
from app.core.models import Identity, LinkCode, User
from app.services import accounts, asking, chats, limits, links, logins, membership, overview, sessions, turns
from app.services.limits import Kind
from app.wire.errors import BadInput, Busy, NotAllowed, NotSignedIn, Unavailable
from app.wire.states import Door
from tests.discord_people.hall import Hall
from tests.sandbox.people import Refused
from tests.support import caches, linking
from tests.support.nodes import PlayedNode, finish, jobs
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until_async
from tests.support.website import Site

BOB = 1234567890


async def test_what_was_asked_before_comes_along(hall: Hall, site: Site, ada: Member, node: PlayedNode) -> None:
    await hall.run("ask", prompt="Before the link")
    await node.answer("Kept.")
    await hall.reads("Kept.", "stand-in")
    own = await hall.person()
    assert own.id != ada.id
    async with site.browser(ada) as browser:
        assert "Show a code" in (await browser.get("/discord")).text
        code = (await browser.post("/api/link")).json()["secret"]
        await hall.run("link", code=code.lower().replace("-", " "))
        await hall.whispered("Link this Discord account to the account ada?")
        assert (await hall.person()).id == own.id, "asked is not linked"
        await hall.press("Link", hall.whispered_buttons())
        await hall.whispered("Linked: you are ada here.")
        assert not hall.whispered_buttons(), "what was answered asks no more"
        assert (await hall.person()).id == ada.id
        assert [one["title"] for one in (await browser.get("/api/sessions")).json()["sessions"]] == ["Before the link"]
        assert "<strong>ada</strong>" in (await browser.get("/discord")).text
        assert own.name not in [one.name for one in await asyncio.to_thread(accounts.users)]
        await hall.run("link", code=code)
        await hall.whispered("This code is not good")
        assert (await browser.delete("/api/link")).status_code == 204
    await hall.run("unlink")
    await hall.whispered("You are linked to no account.")
    await hall.run("ask", prompt="A stranger again")
    await node.answer("Welcome.")
    await hall.reads("Welcome.", "stand-in")
    assert (await hall.person()).id != ada.id


async def test_a_code_is_used_up_by_yes_alone(hall: Hall, ada: Member) -> None:
    code = await asyncio.to_thread(links.code, ada.id)
    await hall.run("link", code=code)
    await hall.whispered("account ada?")
    with pytest.raises(Refused):
        await hall.press("Link", hall.whispered_buttons(), member="bob")
    await hall.press("Cancel", hall.whispered_buttons())
    await hall.whispered("Nothing was linked.")
    assert await asyncio.to_thread(links.user_of, hall.id("ada")) is None
    # Asked twice: the newer code ended the older, whose question links nothing any more.
    await hall.run("link", code=code)
    await hall.whispered("account ada?")
    old = hall.whispered_buttons()
    newer = await asyncio.to_thread(links.code, ada.id)
    await hall.press("Link", old)
    await hall.whispered("This code is not good")
    assert await asyncio.to_thread(links.user_of, hall.id("ada")) is None
    await hall.run("link", code=newer)
    await hall.whispered("account ada?")
    await hall.press("Link", hall.whispered_buttons())
    await hall.whispered("Linked: you are ada here.")


async def test_a_question_waits_out_a_restart_and_a_server_that_is_away(empty: Hall, ada: Member, monkeypatch) -> None:
    async with empty.server_bot():
        await empty.run("link", code=await asyncio.to_thread(links.code, ada.id))
        await empty.whispered("account ada?")
    real = links.confirm

    def away(*_: object) -> None:
        raise Unavailable

    async with empty.server_bot():
        question = empty.whispered_buttons()
        monkeypatch.setattr(links, "confirm", away)
        await empty.press("Link", question)
        await empty.until(lambda: len(empty.whispers()) == 2)
        monkeypatch.setattr(links, "confirm", real)
        await empty.press("Link", question)
        await empty.until(lambda: "Linked: you are ada here." in empty.whispers()[0])


def test_what_was_offered_to_one_is_for_nobody_else(servers: Servers, ada: Member, bob: Member) -> None:
    offer = links.offer(links.code(ada.id), BOB)
    for account, mark, who in (
        (offer.account, offer.mark, BOB + 1),
        (offer.account, "0" * links.MARK_LENGTH, BOB),
        (bob.id, offer.mark, BOB),
    ):
        with pytest.raises(BadInput, match="not good"):
            links.confirm(account, mark, who, "mallory")
    assert links.confirm(offer.account, offer.mark, BOB, "bob").id == ada.id
    assert links.confirm(offer.account, offer.mark, BOB, "bob").id == ada.id, "pressed twice, it is done once"
    links.unlink(BOB, Door.DISCORD)
    with pytest.raises(BadInput, match="not good"):
        links.confirm(offer.account, offer.mark, BOB, "bob")


def test_an_offer_ends_with_its_code(servers: Servers, ada: Member) -> None:
    offer = links.offer(links.code(ada.id), BOB)
    with transaction() as tx:
        row = tx.query(LinkCode).one()
        row.expires_at = row.expires_at.replace(year=2020)
    with pytest.raises(BadInput, match="not good"):
        links.confirm(offer.account, offer.mark, BOB, "bob")
    offer = links.offer(links.code(ada.id), BOB)
    logins.end_everywhere(logins.person(ada.login), Door.WEB)
    with pytest.raises(BadInput, match="not good"):
        links.confirm(offer.account, offer.mark, BOB, "bob")


def test_whoever_signs_in_by_discord_alone_keeps_the_link(servers: Servers, ada: Member, monkeypatch) -> None:
    monkeypatch.setenv("MEATLIZARD_DISCORD_CLIENT_ID", "1")
    caches.forget()
    links.attach(ada.id, BOB, "bob", Door.WEB)
    for unlink in (lambda: links.unlink(BOB, Door.DISCORD), lambda: links.unlink_account(ada.id, Door.WEB)):
        with pytest.raises(BadInput, match="only way to sign in"):
            unlink()
    with transaction() as tx:
        tx.add(Identity(provider="oidc", subject="4711", user_id=UUID(ada.id), name="ada"))
    assert links.unlink(BOB, Door.DISCORD) == "ada"


def test_what_an_account_of_discords_own_had_goes_along(servers: Servers, ada: Member, node: PlayedNode) -> None:
    own = links.enter(BOB, "bob", [])
    assert links.discord_of(own.id) is None
    assert links.discord_of(own.id, own=True) == (BOB, "bob")
    with pytest.raises(BadInput, match="made for you in Discord"):
        links.code(own.id)
    with transaction() as tx:
        login = logins.begin(tx, UUID(own.id), "discord", "tests", "127.0.0.1")
        tx.add(Identity(provider="oidc", subject="4711", user_id=UUID(own.id), name="bob"))
    assert logins.person(login).id == own.id
    limits.set_limit("member", Kind.TOKENS, 1000, "test", Door.CLI)
    used = lambda: {one.kind: one.left for one in limits.left(ada.id)}[Kind.TOKENS]  # noqa: E731
    assert used() == 1000
    asking.submit(own, sessions.create(own.id).id, str(uuid4()), "Why?", None, Door.DISCORD)
    finish(jobs()[0], prompt_tokens=100, completion_tokens=200)
    linking.claim(links.code(ada.id), BOB, "bob")
    assert used() == 700, "what was used in Discord today counts"
    links.unlink(BOB, Door.DISCORD)
    after = {one.kind: one.left for one in limits.left(links.enter(BOB, "bob", []).id)}
    assert after[Kind.TOKENS] == 700, "and in the account that follows, too"
    with pytest.raises(NotSignedIn):
        logins.person(login)
    with transaction() as tx:
        assert str(tx.get_one(Identity, ("oidc", "4711")).user_id) == ada.id


def test_who_guesses_codes_locks_out_nobody_else(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "ALL_TRIES", RateLimitItemPerMinute(7, 10))
    for _ in range(12):
        with pytest.raises((BadInput, Busy)):
            linking.claim("AAAAA-AAAAA", BOB + 1, "mallory")
    assert linking.claim(links.code(ada.id), BOB, "bob").id == ada.id


def test_an_account_that_bears_somebodys_number_is_not_theirs(servers: Servers) -> None:
    squatter = accounts.add("mallory", None, "member", "test", Door.CLI)
    with transaction() as tx:  # As one that was made while everybody could be called so.
        tx.execute(update(User).where(User.name == "mallory").values(name=f"discord-{BOB}"))
    person = links.enter(BOB, "bob", [])
    assert person.id != squatter
    assert person.name.startswith(f"discord-{BOB}-")
    assert links.enter(BOB, "bob", []).id == person.id


def test_whoever_is_shut_out_stays_out_whatever_they_link(servers: Servers, ada: Member, bob: Member) -> None:
    linking.claim(links.code(ada.id), BOB, "bob")
    accounts.disable(ada.name, "test", Door.CLI)
    with pytest.raises(NotAllowed, match="is shut"):
        links.unlink(BOB, Door.DISCORD)
    with pytest.raises(NotAllowed, match="is shut"):
        links.enter(BOB, "bob", [])
    own = links.enter(BOB + 1, "another", [])
    accounts.disable(own.name, "test", Door.CLI)
    with pytest.raises(NotAllowed, match="is shut"):
        linking.claim(links.code(bob.id), BOB + 1, "another")
    with pytest.raises(NotAllowed, match="is shut"):
        links.attach(bob.id, BOB + 1, "another", Door.WEB)
    assert [one.disabled_at is None for one in accounts.users() if one.name == own.name] == [False], "the ban is still there"


@pytest.mark.parametrize("way", ["everywhere", "one", "password", "ban"])
def test_a_code_ends_with_the_logins_of_whoever_made_it(ada: Member, way: str) -> None:
    code = links.code(ada.id)
    who = logins.person(ada.login)
    match way:
        case "everywhere":
            logins.end_everywhere(who, Door.WEB)
        case "one":
            logins.end_one(who.login, who, Door.WEB)
        case "password":
            accounts.set_password("ada", "correct horse battery", "test", Door.CLI)
        case "ban":
            accounts.disable("ada", "test", Door.CLI)
            accounts.enable("ada", "test", Door.CLI)
    with pytest.raises(BadInput, match="not good"):
        linking.claim(code, BOB, "bob")


async def test_both_doors_have_one_conversation(hall: Hall, site: Site, ada: Member, node: PlayedNode) -> None:
    await asyncio.to_thread(linking.claim, links.code(ada.id), hall.id("ada"), "ada")
    session = ada.session()
    async with site.page(ada, session) as page:
        await page.ask("The secret word is Rhododendron")
        await node.answer("Understood.")
        await page.hear("done")
        offered = await hall.complete("sessions", "conversation", "rhododendron")
        assert [one["value"] for one in offered] == ["new", session]
        assert "hododendron" not in str(offered)
        await hall.run("sessions", conversation=session)
        await hall.whispered("From now on /ask goes on with that conversation here.")
        await hall.run("ask", prompt="Say it")
        accepted = await page.hear("accepted")
        assert (accepted["text"], accepted["parent"] is not None) == ("Say it", True)
        writing = await node.take()
        assert [one["content"] for one in writing.job.messages[1:-1]] == ["The secret word is Rhododendron", "Understood."]
        await writing.begin()
        await writing.say("I would rather not.")
        assert await writing.end()
        await page.hear("done", turn=accepted["turn"])
        assert page.text(accepted["turn"]) == "I would rather not."
        await hall.reads("I would rather not.", "stand-in")
        # And back: what is said on the page next follows what was said in Discord.
        await page.ask("Say it here then", parent=(await asyncio.to_thread(sessions.tip, session, ada.id)))
        writing = await node.take()
        assert [one["content"] for one in writing.job.messages[3:]] == ["Say it", "I would rather not.", "Say it here then"]
        await writing.begin()
        assert await writing.end()
        await page.hear("done")
    await hall.run("transcript")
    told = await hall.until(lambda: [one for one in hall.sandbox.world.store.messages.values() if one.attachments])
    assert told[-1].only_for == hall.id("ada")
    # What was typed in the browser is nowhere in Discord, whatever was asked for there.
    for words in ("secret word", "Understood"):
        assert not (await hall.control.get("search", q=words))["hits"], words
    await hall.run("sessions", conversation="new")
    await hall.whispered("each /ask begins a conversation of its own")


async def test_a_prompt_of_the_page_is_not_asked_again_in_discord(hall: Hall, site: Site, ada: Member, node: PlayedNode) -> None:
    await asyncio.to_thread(linking.claim, links.code(ada.id), hall.id("ada"), "ada")
    session = ada.session()
    async with site.page(ada, session) as page:
        await page.ask("The secret word is Rhododendron")
        await node.answer("Understood.")
        turn = (await page.hear("done"))["turn"]
    await hall.run("sessions", conversation=session)
    await hall.run("retry")
    await hall.whispered("There is no prompt of yours to answer again.")
    assert await asyncio.to_thread(overview.asked_by, turn) == Door.WEB
    await asyncio.to_thread(asking.retry, logins.person(ada.login), session, str(uuid4()), turn, Door.DISCORD)
    await node.answer("Again.")
    await hall.run("retry")
    await hall.until(lambda: len([one for one in hall.whispers() if "no prompt of yours" in one]) == 2)
    assert not (await hall.control.get("search", q="secret word"))["hits"]


def test_a_title_of_the_page_is_not_shown_in_discord(ada: Member) -> None:
    titles = [("Asked there", Door.DISCORD, None), ("Asked here", Door.WEB, None)]
    titles += [("Renamed here", Door.DISCORD, Door.WEB), ("Named there", Door.WEB, Door.DISCORD)]
    made = {}
    for title, asked, renamed in titles:
        made[title] = session = ada.session()
        turns.submit(ada.id, session, str(uuid4()), title if renamed is None else "Why?", None, asked)
        if renamed is not None:
            sessions.rename(session, ada.id, title, renamed)
    # What bears no words yet hides none.
    made["Empty"], made["Empty, named here"] = ada.session(), ada.session()
    sessions.rename(made["Empty, named here"], ada.id, "Named here", Door.WEB)
    assert chats.titled_in_discord(list(made.values())) == {made["Asked there"], made["Named there"], made["Empty"]}


def test_a_code_is_good_once_and_for_ten_minutes(servers: Servers, ada: Member, bob: Member) -> None:
    code = links.code(ada.id)
    assert len(code.replace("-", "")) >= 8
    with transaction() as tx:
        row = tx.query(LinkCode).one()
        assert code.replace("-", "").encode() not in row.code_hash
        row.expires_at = row.expires_at.replace(year=2020)
    with pytest.raises(BadInput):
        linking.claim(code, BOB, "bob")
    first, second = links.code(ada.id), links.code(ada.id)
    with pytest.raises(BadInput):
        linking.claim(first, BOB, "bob")
    assert linking.claim(second, BOB, "bob").id == ada.id
    with pytest.raises(BadInput, match="linked to bob in Discord already"):
        links.code(ada.id)
    with pytest.raises(BadInput, match="linked to an account already"):
        linking.claim(links.code(bob.id), BOB, "bob")
    assert links.unlink(BOB, Door.DISCORD) == "ada"
    assert links.user_of(BOB) is None


def test_codes_cannot_be_guessed_for_long(servers: Servers, ada: Member) -> None:
    code = links.code(ada.id)
    for _ in range(links.TRIES.amount):
        with pytest.raises(BadInput):
            linking.claim("AAAAA-AAAAA", BOB, "bob")
    with pytest.raises(Busy):
        linking.claim(code, BOB, "bob")
    assert linking.claim(code, BOB + 1, "another").id == ada.id


def test_guests_have_no_account_to_link(servers: Servers) -> None:
    guest = logins.person(accounts.enter_as_guest("tests", "127.0.0.1"))
    with pytest.raises(NotAllowed):
        links.code(guest.id)


def test_roles_of_the_guild_count_while_they_are_held(servers: Servers, monkeypatch) -> None:
    monkeypatch.setenv("MEATLIZARD_DISCORD_ROLES", "1=member, 2=admin")
    monkeypatch.setenv("MEATLIZARD_DISCORD_STRANGERS", "refused")
    caches.forget()
    with pytest.raises(NotAllowed):
        links.enter(BOB, "bob", [3])
    assert links.enter(BOB, "bob", [1]).role == "member"
    assert links.enter(BOB, "bob", [1, 2, 3]).role == "admin"
    assert links.enter(BOB, "bob", [1]).role == "member"
    with pytest.raises(NotAllowed):
        links.enter(BOB, "bob", [])
    owner = accounts.add("olga", None, "owner", "test", Door.CLI)
    linking.claim(links.code(owner), BOB, "bob")
    assert links.enter(BOB, "bob", []).role == "owner"


async def test_whoever_is_shown_out_of_the_guild_is_out_on_the_page_too(empty: Hall, monkeypatch) -> None:
    monkeypatch.setenv("MEATLIZARD_DISCORD_CLIENT_ID", "1")
    monkeypatch.setenv("MEATLIZARD_DISCORD_ROLES", "1=admin")
    caches.forget()
    who, stays = empty.id("ada"), empty.id("bob")

    def signed_in(discord_id: int) -> str:
        person = links.enter(discord_id, "somebody", [])
        membership.rule(discord_id, "admin")
        with transaction() as tx:
            return logins.begin(tx, UUID(person.id), "discord", "tests", "127.0.0.1")

    gone, there = await asyncio.to_thread(signed_in, who), await asyncio.to_thread(signed_in, stays)
    await empty.control("members/remove", member="ada")

    async def shut() -> bool:
        try:
            await asyncio.to_thread(logins.person, gone)
        except NotSignedIn:
            return (await asyncio.to_thread(logins.person, there)).role == "member"
        return False

    async with empty.server_bot():
        await until_async(shut)
    assert membership.watched() == [stays]


@pytest.mark.parametrize("value", ["1=owner", "x=admin", "1", "1=admin,=member"])
def test_a_role_that_cannot_be_given_stops_the_start(servers: Servers, monkeypatch, value: str) -> None:
    monkeypatch.setenv("MEATLIZARD_DISCORD_ROLES", value)
    caches.forget()
    with pytest.raises(ValueError, match="nobody becomes owner"):
        links.role_of([1])


def test_the_session_of_a_channel_is_its_owners_alone(servers: Servers, ada: Member, bob: Member) -> None:
    session = ada.session()
    chats.choose(1, 2, session, ada.id)
    assert chats.chosen(1, 2, ada.id) == session
    assert chats.chosen(1, 2, bob.id) is None
    sessions.remove(session, ada.id)
    assert chats.chosen(1, 2, ada.id) is None


async def test_owners_see_their_sealed_channels_where_that_is_wished(empty: Hall, ada: Member, node: PlayedNode, monkeypatch) -> None:
    monkeypatch.setenv("MEATLIZARD_DISCORD_OWNER_SEES", "true")
    caches.forget()

    async def seen() -> list[str]:
        channels = (await empty.control.get("view", member="ada"))["channels"]
        return [one["name"] for one in channels if one["name"].startswith("s-")]

    async with empty.server_bot():
        await asyncio.to_thread(ada.session)
        await empty.until(lambda: [one for one in empty.sandbox.world.store.channels.values() if one.name.startswith("s-")])
        assert await seen() == []
        await asyncio.to_thread(lambda: linking.claim(links.code(ada.id), empty.id("ada"), "ada"))
        await until_async(seen)
        await asyncio.to_thread(ada.session)
        await until_async(lambda: _two(seen))
        await asyncio.to_thread(links.unlink, empty.id("ada"), Door.WEB)
        await until_async(lambda: _none(seen))


async def _two(seen) -> bool:
    return len(await seen()) == 2


async def _none(seen) -> bool:
    return not await seen()
