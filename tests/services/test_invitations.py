"""Signing up: by invitation, openly or not at all; once, in time, and with the role it was made for."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from app.core.config import settings
from app.core.db import transaction
from app.core.models import AuditRecord, Invitation, User, now
from app.services import accounts, invitations, limits, logins, passwords, session_list, sessions, throttle
from app.services.limits import Kind
from app.services.network import network
from app.services.person import Person
from app.wire.errors import BadInput, NotAllowed, NotFound, NotSignedIn, TooOften
from app.wire.states import Door
from tests.support.people import Member, member
from tests.support.servers import Servers

BY_NAME = limits.DEFAULTS[limits.NAME][Kind.TRIES] or 0
BY_ADDRESS = limits.DEFAULTS[limits.ADDRESS][Kind.TRIES] or 0
PASSWORD = "correct horse battery"


def invite(role: str = "member", days: int = 7, by: Person | None = None) -> str:
    return invitations.invite(role, days, "for Grace", "test", Door.CLI, by)


def join(code: str | None, name: str = "grace", password: str = PASSWORD, guest: Person | None = None) -> Person:
    return logins.person(invitations.join(code, name, password, "", "", guest))


def sign_up(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("MEATLIZARD_SIGN_UP", how)
    settings.cache_clear()


@pytest.mark.parametrize("role", ["member", "admin"])
def test_an_invitation_makes_one_account(servers: Servers, role: str) -> None:
    code = invite(role)
    assert invitations.look(code, "").role == role
    who = join(code)
    assert (who.name, who.role) == ("grace", role)
    for again in (lambda: join(code, "eve"), lambda: invitations.look(code, "")):
        with pytest.raises(NotFound, match="cannot be used"):
            again()
    assert [user.name for user in accounts.users()] == ["grace"]
    assert invitations.listed()[0].used_by == "grace"


def test_the_code_is_kept_as_a_hash_and_never_told(servers: Servers) -> None:
    code = invite()
    join(code)
    with transaction() as tx:
        assert code.encode() not in tx.scalars(select(Invitation.code_hash)).one()
        said = str([(one.subject, one.details) for one in tx.scalars(select(AuditRecord))])
    assert code not in said
    assert invitations.link(code, "https://chat.example.org") == f"https://chat.example.org/join#{code}"


def test_a_refused_try_does_not_use_it_up(servers: Servers) -> None:
    code = invite()
    accounts.add("grace", PASSWORD, "member", "test", Door.CLI)
    for name, password in (("grace", PASSWORD), ("Gr\uff41ce", PASSWORD), ("eve", "short"), ("eve", "e" * 20), ("", PASSWORD)):
        with pytest.raises(BadInput):
            join(code, name, password)
    assert join(code, "eve").name == "eve"


def test_time_and_withdrawal_end_it(servers: Servers) -> None:
    late, withdrawn = invite(), invite()
    with transaction() as tx:
        tx.execute(update(Invitation).where(Invitation.code_hash == logins.digest(late)).values(expires_at=now() - timedelta(seconds=1)))
    [left] = invitations.listed()
    invitations.withdraw(left.id, "test", Door.CLI)
    for code in (late, withdrawn, "nonsense", ""):
        with pytest.raises((NotFound, NotAllowed)):
            join(code)
    assert accounts.users() == []


def test_who_may_come_without(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    code = invite()
    sign_up(monkeypatch, "off")
    for given in (None, code):
        with pytest.raises(NotAllowed):
            join(given)
    sign_up(monkeypatch, "invite")
    with pytest.raises(NotAllowed, match="invitation"):
        join(None)
    sign_up(monkeypatch, "open")
    assert join(None).role == "member"


def test_nobody_gives_more_than_they_stand_above(servers: Servers) -> None:
    admin = logins.person(member("anna", "admin").login)
    owner = logins.person(member("olga", "owner").login)
    member("otto", "owner")
    member("alan", "admin")
    for role in ("owner", "admin"):
        with pytest.raises(NotAllowed):
            invite(role, by=admin)
        with pytest.raises(NotAllowed):
            accounts.set_role("anna", role, "anna", Door.WEB, admin)
        invite(role, by=owner)
    for name in ("olga", "alan", "anna"):
        with pytest.raises(NotAllowed):
            accounts.disable(name, "anna", Door.WEB, admin)
    with pytest.raises(BadInput):
        invite(days=31)


def test_a_guest_becomes_an_account_with_what_they_have(servers: Servers) -> None:
    token = accounts.enter_as_guest("", "127.0.0.1")
    guest = logins.person(token)
    session = sessions.create(guest.id).id
    who = join(invite(), guest=guest)
    assert [one.id for one in session_list.page(who.id).sessions] == [session]
    with pytest.raises(NotSignedIn):
        logins.person(token)
    with transaction() as tx:
        assert tx.get(User, UUID(guest.id)) is None


def test_another_account_is_not_swallowed(ada: Member) -> None:
    who = join(invite(), guest=logins.person(ada.login))
    assert who.id != ada.id
    assert logins.person(ada.login).id == ada.id


@pytest.mark.parametrize("kind", ["name", "address"])
def test_too_many_tries_are_told_when_they_end(servers: Servers, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(passwords, "verify", lambda *_: False)
    most = BY_NAME if kind == "name" else BY_ADDRESS
    for number in range(most):
        with pytest.raises(NotSignedIn):
            accounts.sign_in("grace" if kind == "name" else f"n{number}", "x", "", f"10.0.0.{number if kind == 'name' else 1}")
    with pytest.raises(TooOften, match=r"Try again in \d+ (minutes|seconds)\.") as error:
        accounts.sign_in("GRACE", "x", "", "10.0.0.1")
    assert 0 < error.value.retry_seconds <= 300
    with pytest.raises(NotSignedIn):
        accounts.sign_in("someone", "x", "", "10.0.9.9")


def test_the_count_is_one_over_all_processes(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "verify", lambda *_: False)
    refused = 0
    for _ in range(BY_NAME + 5):
        throttle._limiter.cache_clear()  # As another process begins: nothing in memory.
        try:
            accounts.sign_in("grace", "x", "", "")
        except TooOften:
            refused += 1
        except NotSignedIn:
            continue
    assert refused == 5


def test_signing_in_forgives_what_came_before(servers: Servers) -> None:
    accounts.add("grace", PASSWORD, "member", "test", Door.CLI)
    for _ in range(2):
        for _ in range(3):
            throttle.count("grace", "")
        accounts.sign_in("grace", PASSWORD, "", "")
    for _ in range(BY_NAME):
        throttle.count("grace", "")


def test_who_guesses_keeps_nobody_out_of_where_they_signed_in_before(servers: Servers) -> None:
    accounts.add("grace", PASSWORD, "member", "test", Door.CLI)
    accounts.sign_in("grace", PASSWORD, "", "2001:db8::1")
    for number in range(BY_NAME):
        throttle.count("grace", f"10.0.0.{number}")
    with pytest.raises(TooOften):
        throttle.count("grace", "10.0.1.1")
    accounts.sign_in("grace", PASSWORD, "", "2001:db8::2")
    for _ in range(BY_NAME):
        throttle.count("grace", "2001:db8::3")
    with pytest.raises(TooOften):  # There, too, nobody guesses without end.
        throttle.count("grace", "2001:db8::4")


def test_who_has_a_whole_site_of_ipv6_does_not_guess_without_end(servers: Servers) -> None:
    most = BY_ADDRESS * throttle.SITES
    for number in range(most):
        throttle.count("", f"2001:db8:1:{number:x}::1")
    with pytest.raises(TooOften):
        throttle.count("", f"2001:db8:1:{most:x}::1")
    throttle.count("", "2001:db8:2::1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
    ],
)
def test_an_address_is_what_one_customer_has(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) == same


def test_every_refusal_does_the_same_work(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts.add("grace", PASSWORD, "member", "test", Door.CLI)
    accounts.add("discord", None, "member", "test", Door.CLI)
    accounts.add("shut", PASSWORD, "member", "test", Door.CLI)
    accounts.disable("shut", "test", Door.CLI)
    work: list[str] = []
    real = passwords._hasher().verify

    class Watched:
        def verify(self, known: str, given: str) -> bool:
            work.append(known.rpartition("$")[0].rpartition("$")[0])
            return real(known, given)

    passwords._nobody()
    monkeypatch.setattr(passwords, "_hasher", Watched)
    for name, password in (("grace", "wrong"), ("nobody", "wrong"), ("discord", "wrong"), ("shut", PASSWORD)):
        with pytest.raises(NotSignedIn):
            accounts.sign_in(name, password, "", "")
    assert len(work) == 4
    assert len(set(work)) == 1, "the same parameters, so the same time"


def test_a_hash_of_older_parameters_is_made_anew(servers: Servers) -> None:
    accounts.add("grace", PASSWORD, "member", "test", Door.CLI)
    weak = passwords.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with transaction() as tx:
        tx.execute(update(User).values(password_hash=weak))
    assert accounts.sign_in("grace", PASSWORD, "", "")
    [user] = accounts.users()
    assert user.password_hash != weak
    assert not passwords.outdated(user.password_hash or "")
    assert accounts.sign_in("grace", PASSWORD, "", "")


def test_changing_ones_password(servers: Servers) -> None:
    accounts.add("grace", PASSWORD, "member", "test", Door.CLI)
    here, there = (accounts.sign_in("grace", PASSWORD, "", "") for _ in range(2))
    who = logins.person(here)
    with pytest.raises(NotAllowed, match="old password"):
        accounts.change_password(who, "wrong", "quite another one", "", "")
    fresh = accounts.change_password(who, PASSWORD, "quite another one", "", "")
    for ended in (here, there):
        with pytest.raises(NotSignedIn):
            logins.person(ended)
    assert logins.person(fresh).id == who.id
