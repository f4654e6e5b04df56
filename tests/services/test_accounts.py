"""Accounts, logins, tokens, and the trail of who did what."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from app.core.config import settings
from app.core.db import transaction
from app.core.models import ApiToken, AuditRecord, Login, now
from app.services import accounts, audit, invitations, links, logins, passwords, tokens
from app.wire.errors import BadInput, NotAllowed, NotFound, NotSignedIn
from app.wire.states import Door
from tests.support import linking
from tests.support.people import Member
from tests.support.servers import Servers

PASSWORD = "correct horse battery"


def add(name: str = "grace", password: str | None = PASSWORD, role: str = "member") -> str:
    return accounts.add(name, password, role, "test", Door.CLI)


@pytest.mark.parametrize(
    ("name", "password", "role"),
    [
        ("", PASSWORD, "member"),
        ("   ", PASSWORD, "member"),
        ("x" * 65, PASSWORD, "member"),
        ("new\nline", PASSWORD, "member"),
        ("nul\0", PASSWORD, "member"),
        *((name, PASSWORD, "member") for name in ("\u3164", "grace\u1160", "gr\u034face", "grace\ufe0f", "g  race")),
        *((name, PASSWORD, "member") for name in ("gr\u0430ce", "\u039frace")),
        *((name, PASSWORD, "member") for name in ("CLI", "anonymous", "setup", "guest-0af1", "discord-4711")),
        ("grace", "short", "member"),
        ("grace", PASSWORD, "king"),
    ],
)
def test_an_account_that_cannot_be_is_refused(servers: Servers, name: str, password: str, role: str) -> None:
    with pytest.raises(BadInput):
        add(name, password, role)
    assert accounts.users() == []


def test_names_are_one_whatever_their_case(servers: Servers) -> None:
    add("Grace")
    with pytest.raises(BadInput, match="already"):
        add("  gRACE ")
    assert [user.name for user in accounts.users()] == ["grace"]


@pytest.mark.parametrize("typed", ["J\u030c", "\u01f0", "j\u030c", " J\u030c "])
def test_a_letter_that_is_one_or_two_characters_is_one(servers: Servers, typed: str) -> None:
    add(typed)
    assert [user.name for user in accounts.users()] == ["\u01f0"]
    accounts.sign_in("J\u030c", PASSWORD, "", "")


@pytest.mark.parametrize("name", ["日本 taro", "Ωμέγα", "Łukasz", "Иван 2", "o'brien", "zoë 🦎"])
def test_people_of_all_alphabets_have_their_names(servers: Servers, name: str) -> None:
    add(name)
    accounts.sign_in(name, PASSWORD, "", "")


def test_the_password_lies_hashed(servers: Servers) -> None:
    add()
    [user] = accounts.users()
    assert user.password_hash
    assert user.password_hash.startswith("$argon2id$")
    assert PASSWORD not in user.password_hash


EASY = ("1234567890", "qwertyuiop", "password123", "P@ssw0rd1234", "Summer2026!", "aaaaaaaaaa", "gracegrace", "Meatlizard2026")


@pytest.mark.parametrize("password", EASY)
def test_what_others_would_try_first_is_refused_as_a_password(servers: Servers, password: str) -> None:
    with pytest.raises(BadInput, match="Take another"):
        add(password=password)


def test_it_is_refused_whichever_way_a_password_is_chosen(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "settings", lambda: settings().model_copy(update={"sign_up": "open"}))
    add()
    grace = logins.person(accounts.sign_in("grace", PASSWORD, "", ""))
    for way in (
        lambda: add("judy", "password123"),
        lambda: invitations.join(None, "judy", "password123", "", ""),
        lambda: accounts.change_password(grace, PASSWORD, "password123", "", ""),
        lambda: accounts.set_password("grace", "password123", "test", Door.CLI),
    ):
        with pytest.raises(BadInput, match="too easy to guess"):
            way()
    assert [user.name for user in accounts.users()] == ["grace"]
    accounts.sign_in("grace", PASSWORD, "", "")


def test_the_first_admin_is_made_once(servers: Servers) -> None:
    assert accounts.ensure_admin("admin", PASSWORD)
    assert not accounts.ensure_admin("other", PASSWORD)
    assert [(user.name, user.role) for user in accounts.users()] == [("admin", "owner")]


def test_signing_in_and_out(servers: Servers) -> None:
    identity = add()
    token = accounts.sign_in("GRACE", PASSWORD, "x" * 500, "127.0.0.1")
    person = logins.person(token)
    assert (person.id, person.name, person.role, person.guest, person.admin) == (identity, "grace", "member", False, False)
    with transaction() as tx:
        assert token.encode() not in tx.scalars(select(Login.token_hash)).one()
    logins.end(token)
    logins.end(token)
    with pytest.raises(NotSignedIn):
        logins.person(token)


def test_whatever_is_wrong_the_words_are_the_same(servers: Servers) -> None:
    add()
    add("nopassword", None)
    said = set()
    for name, password in (("grace", "wrong"), ("nobody", PASSWORD), ("nopassword", ""), ("grace", ""), ("gr\0ace", "x"), ("\ud800", "x")):
        with pytest.raises(NotSignedIn) as error:
            accounts.sign_in(name, password, "", "")
        said.add(str(error.value))
    assert len(said) == 1


def test_a_disabled_account_is_out_at_once(servers: Servers) -> None:
    add()
    login = accounts.sign_in("grace", PASSWORD, "", "")
    token = tokens.new("grace", "", tokens.DEFAULT, None, "test", Door.CLI, unlimited=False)
    accounts.disable("grace", "test", Door.CLI)
    for use in (
        lambda: logins.person(login),
        lambda: tokens.holder(token),
        lambda: accounts.sign_in("grace", PASSWORD, "", ""),
    ):
        with pytest.raises(NotSignedIn):
            use()


def test_a_login_runs_out(ada: Member) -> None:
    with transaction() as tx:
        tx.execute(update(Login).values(expires_at=now() - timedelta(seconds=1)))
    with pytest.raises(NotSignedIn):
        logins.person(ada.login)
    assert logins.expire() == 1
    assert logins.expire() == 0


def test_a_login_lasts_as_long_as_the_setting_says(ada: Member) -> None:
    with transaction() as tx:
        login = tx.scalars(select(Login)).one()
        assert abs(login.expires_at - now() - timedelta(days=settings().login_days)) < timedelta(minutes=1)


@pytest.mark.parametrize("change", [{"revoked_at": "now"}, {"expires_at": "past"}])
def test_a_token_that_ended_opens_nothing(ada: Member, change: dict[str, str]) -> None:
    assert tokens.holder(ada.token).id == ada.id
    with transaction() as tx:
        tx.execute(update(ApiToken).values({key: now() - timedelta(seconds=1) for key in change}))
    with pytest.raises(NotSignedIn):
        tokens.holder(ada.token)


def test_a_login_is_no_token_and_a_token_no_login(ada: Member) -> None:
    for use in (lambda: tokens.holder(ada.login), lambda: logins.person(ada.token), lambda: logins.person("")):
        with pytest.raises(NotSignedIn):
            use()


def test_tokens_are_for_somebody_there_is(servers: Servers) -> None:
    with pytest.raises(NotFound, match="user list"):
        tokens.new("nobody", "", tokens.DEFAULT, None, "test", Door.CLI, unlimited=True)


def test_roles_change_to_what_there_is(ada: Member) -> None:
    accounts.set_role("ada", "admin", "test", Door.CLI)
    assert tokens.holder(ada.token).admin
    with pytest.raises(BadInput):
        accounts.set_role("ada", "king", "test", Door.CLI)
    with pytest.raises(NotFound):
        accounts.set_role("nobody", "admin", "test", Door.CLI)


def test_guests_are_not_listed_and_have_no_password(servers: Servers) -> None:
    token = accounts.enter_as_guest("", "127.0.0.1")
    guest = logins.person(token)
    assert guest.guest
    assert accounts.users() == []
    with pytest.raises(NotSignedIn):
        accounts.sign_in(guest.name, "", "", "")


def verified() -> tuple[int, int | None]:
    with transaction() as tx:
        return audit.verify(tx)


def trail(count: int = 6) -> None:
    for number in range(count):
        with transaction() as tx:
            audit.record(tx, "ada", Door.WEB, "act", f"{number}", value=number, word="ü")


def test_a_sound_trail_verifies(servers: Servers) -> None:
    assert verified() == (0, None)
    trail()
    assert verified() == (6, None)


def _change(**values: Any) -> Callable[[Any], None]:
    return lambda tx: tx.execute(update(AuditRecord).where(AuditRecord.id == 3).values(**values))


def _swap(tx: Any) -> None:
    one, two = (tx.get(AuditRecord, number) for number in (3, 4))
    one.subject, two.subject = two.subject, one.subject


@pytest.mark.parametrize(
    ("tamper", "first_bad"),
    [
        (_change(actor="bob"), 3),
        (_change(action="other"), 3),
        (_change(details={"value": 99}), 3),
        (_change(at=now()), 3),
        (_change(hash=bytes(32)), 3),
        (_change(previous=bytes(32)), 3),
        (lambda tx: tx.execute(delete(AuditRecord).where(AuditRecord.id == 3)), 3),
        (lambda tx: tx.execute(delete(AuditRecord).where(AuditRecord.id == 1)), 1),
        (_swap, 3),
    ],
)
def test_a_changed_trail_says_where(servers: Servers, tamper: Callable[[Any], None], first_bad: int) -> None:
    trail()
    with transaction() as tx:
        tamper(tx)
    assert verified() == (first_bad - 1, first_bad)


def test_what_is_rolled_back_leaves_no_hole(servers: Servers) -> None:
    trail(2)
    with transaction() as tx:
        audit.record(tx, "ada", Door.WEB, "undone")
        tx.rollback()
    trail(2)
    assert verified() == (4, None)


def test_acts_are_in_the_trail_without_secrets(servers: Servers) -> None:
    add()
    token = tokens.new("grace", "label", tokens.DEFAULT, None, "test", Door.CLI, unlimited=True)
    accounts.sign_in("grace", PASSWORD, "", "10.0.0.1")
    with pytest.raises(NotSignedIn):
        accounts.sign_in("grace", "wrong password", "", "10.0.0.2")
    accounts.disable("grace", "test", Door.CLI)
    with transaction() as tx:
        records = list(tx.scalars(select(AuditRecord).order_by(AuditRecord.id)))
    assert [one.action for one in records] == ["user.add", "token.new", "login", "login.refused", "user.disable"]
    said = str([(one.actor, one.subject, one.details) for one in records])
    for secret in (PASSWORD, "wrong password", token):
        assert secret not in said
    assert verified() == (5, None)


def test_the_only_owner_stays(servers: Servers) -> None:
    accounts.add("olga", "a long password", "owner", "test", Door.CLI)
    for act in (
        lambda: accounts.disable("olga", "test", Door.CLI),
        lambda: accounts.set_role("olga", "member", "test", Door.CLI),
    ):
        with pytest.raises(NotAllowed, match="only owner"):
            act()
    accounts.add("otto", "a long password", "owner", "test", Door.CLI)
    accounts.disable("olga", "test", Door.CLI)
    with pytest.raises(NotAllowed):
        accounts.disable("otto", "test", Door.CLI)
    accounts.enable("olga", "test", Door.CLI)
    assert accounts.sign_in("olga", "a long password", "", "")


def test_no_account_is_a_guests(servers: Servers) -> None:
    with pytest.raises(BadInput):
        accounts.add("gus", "a long password", "guest", "test", Door.CLI)


def test_a_new_password_ends_every_login(servers: Servers) -> None:
    accounts.add("olga", "a long password", "owner", "test", Door.CLI)
    login = accounts.sign_in("olga", "a long password", "", "")
    accounts.set_password("olga", "quite another", "test", Door.CLI)
    for refused in (lambda: logins.person(login), lambda: accounts.sign_in("olga", "a long password", "", "")):
        with pytest.raises(NotSignedIn):
            refused()
    assert accounts.sign_in("olga", "quite another", "", "")


def _meanwhile(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], None]) -> None:
    """Let something happen right after a function was called, once."""
    real, left = getattr(module, name), [act]

    def with_it(*words: Any) -> Any:
        answer = real(*words)
        while left:
            left.pop()()
        return answer

    monkeypatch.setattr(module, name, with_it)


def test_the_old_password_lets_nobody_in_beside_the_change(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    add("grace")
    _meanwhile(monkeypatch, passwords, "verify", lambda: accounts.set_password("grace", "quite another", "test", Door.CLI))
    with pytest.raises(NotSignedIn):
        accounts.sign_in("grace", PASSWORD, "", "")
    assert accounts.logins_of("grace") == []
    assert accounts.sign_in("grace", "quite another", "", "")


def test_of_two_new_passwords_at_once_one_is_told(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    add("grace")
    person = logins.person(accounts.sign_in("grace", PASSWORD, "", ""))
    _meanwhile(monkeypatch, passwords, "verify", lambda: accounts.set_password("grace", "quite another", "test", Door.CLI))
    with pytest.raises(NotAllowed, match="a moment ago"):
        accounts.change_password(person, PASSWORD, "the thief's own", "", "")
    assert accounts.logins_of("grace") == []
    assert accounts.sign_in("grace", "quite another", "", "")


@pytest.mark.parametrize("act", ["role", "disable"])
def test_who_is_raised_meanwhile_is_not_an_administrators_to_change(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    add("olga", role="owner")
    add("carol", role="admin")
    add("grace")
    by = logins.person(accounts.sign_in("carol", PASSWORD, "", ""))
    _meanwhile(monkeypatch, accounts, "above", lambda: accounts.set_role("grace", "owner", "test", Door.CLI))
    words = ("grace", "member") if act == "role" else ("grace",)
    with pytest.raises(NotAllowed, match="Only an owner"):
        (accounts.set_role if act == "role" else accounts.disable)(*words, "carol", Door.WEB, by)
    assert {user.name: user.role for user in accounts.users()}["grace"] == "owner"


@pytest.mark.parametrize(
    "end",
    [
        lambda: accounts.set_password("grace", "quite another", "test", Door.CLI),
        lambda: accounts.sign_out_everywhere("grace", "test", Door.CLI),
    ],
    ids=["password", "everywhere"],
)
def test_a_code_ends_with_the_logins(servers: Servers, end: Callable[[], None]) -> None:
    code = links.code(add("grace"))
    end()
    with pytest.raises(BadInput, match="not good"):
        linking.claim(code, 4711, "the thief")


def test_no_token_for_somebody_who_is_shut_out(servers: Servers) -> None:
    accounts.add("olga", "a long password", "owner", "test", Door.CLI)
    accounts.add("carol", "a long password", "member", "test", Door.CLI)
    accounts.disable("carol", "test", Door.CLI)
    with pytest.raises(NotAllowed, match="user enable carol"):
        tokens.new("carol", "", tokens.DEFAULT, None, "test", Door.CLI, unlimited=False)
