"""The page of what holds here: the criteria in words, who may do what, which parts are on. Nothing that is secret."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from scorer.deployments.key_files import trusted_keys
from scorer.errors import UserError
from scorer.people import RANKS, PersonRole, Who, may
from shadow.release.automatic import rules_of
from shadow.release.criteria_words import in_words
from shadow.release.streak import streaks
from shadow.serve.service import Serve
from shadow.web.auth import People, who_of
from shadow.web.explore import currency_of
from shadow.web.release import rendered

MAY: dict[PersonRole, str] = {
    "viewer": "read; cards are hidden",
    "reviewer": "also see cards, label cases and comment",
    "releaser": "also fill slots, approve, reject, go back and turn the kill switch",
    "admin": "also switch automation on and off",
}


def router(serve: Serve, people: People, readers: list[Any]) -> APIRouter:
    """`/settings`. people: who asks; readers: who may."""
    pages = APIRouter(dependencies=readers, include_in_schema=False)
    whoever = Depends(who_of(people))

    @pages.get("/settings")
    async def told(who: Who | None = whoever) -> HTMLResponse:
        return rendered("settings.html.j2", **_told(serve, people, who))

    return pages


def _told(serve: Serve, people: People, who: Who | None) -> dict[str, Any]:
    return {
        "slot": None,
        "here": "settings",
        "who": who,
        "are_known": people.are_known,
        "parts": in_words(serve.release, currency_of(serve) or ""),
        "digest": serve.release.digest[:12],
        "file": serve.settings.release.name,
        "roles": [(role, MAY[role]) for role in RANKS],
        **_people(serve, who),
        "switches": _switches(serve),
    }


def _people(serve: Serve, who: Who | None) -> dict[str, Any]:
    """Who has which role: names for reviewers and above, for everybody else how many they are."""
    settings = serve.settings
    sees_names = who is not None and who.role is not None and may(who.role, "reviewer")
    known = sorted(settings.people.items(), key=lambda one: (-RANKS.index(one[1].role), one[0].casefold()))
    counts = [(role, sum(person.role == role for _, person in known)) for role in reversed(RANKS)]
    return {
        "sees_names": sees_names,
        "names": [(name, person.role) for name, person in known] if sees_names else [],
        "counts": [(role, many) for role, many in counts if many],
        "groups": sorted(settings.groups.items()) if sees_names else [],
        "many_groups": len(settings.groups),
    }


def _switches(serve: Serve) -> list[tuple[str, str, str]]:
    """The optional parts: name, on or off, and what that means."""
    settings = serve.settings
    on = [kind for kind, one in streaks(serve.deployments, rules_of(settings)).items() if one.is_on]
    signing, holds_two = _signing(serve)
    two = settings.four_eyes or holds_two
    every = settings.notify_events
    hours = f", only {settings.automation_hours}" if settings.automation_hours else ""
    return [
        ("Signed changes", "on" if signing else "off", signing or "whoever may write to the ledger's topic is heeded"),
        (
            "Four eyes",
            "on" if two else "off",
            "two people approve a forced release, a bundle of one's own, and a release under changed criteria"
            if two
            else "one releaser decides alone",
        ),
        (
            "Tokens of people",
            "on" if settings.people else "off",
            "names are verified by tokens" if settings.people else "set `people` to have names verified",
        ),
        (
            "OpenID Connect",
            "on" if settings.oidc_issuer else "off",
            "tokens of a provider are taken, for whoever is in a group with a role"
            if settings.oidc_issuer
            else "no provider is asked",
        ),
        (
            "Proxy that signs people in",
            "on" if settings.proxy_addresses else "off",
            "its headers say who asks" if settings.proxy_addresses else "headers that name people are not heeded",
        ),
        (
            "Automation",
            "on" if on else "off",
            f"for {', '.join(on)}; after {settings.automation_grace_hours:g} hours in which anybody may stop it{hours}"
            if on
            else "people decide everything",
        ),
        (
            "Watch after a release",
            "on" if settings.watch_days else "off",
            f"for {settings.watch_days:g} days the model before is compared with what is live"
            if settings.watch_days
            else "nothing is compared after a release",
        ),
        (
            "Messages",
            "on" if settings.notify else "off",
            f"on {', '.join(every)}" if settings.notify else "nobody is told of anything",
        ),
    ]


def _signing(serve: Serve) -> tuple[str | None, bool]:
    """What is signed, if anything is; and whether the file of keys asks for two people."""
    if serve.settings.trusted_keys is None:
        return None, False
    try:
        found = trusted_keys(serve.settings)
    except UserError:
        return "the file of trusted keys cannot be read; the keys before it go on", False
    many = 0 if found is None else len(found.keys)
    told = f"only what one of {many} trusted keys has signed counts; decisions take the command line"
    return told, found is not None and found.four_eyes
