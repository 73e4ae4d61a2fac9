"""Workers are killed, stopped, resumed, added and told to go."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from faults.arena import Arena, Member
from faults.scenario import injected, scenario

#: Seconds that a container may take to stop; Kubernetes gives 30.
GRACE_SECONDS = 15.0


def kill_and_start(*members: Member) -> None:
    for member in members:
        member.kill()
    for member in members:
        member.start()


@scenario(env={"SCORER_COMMIT_SECONDS": "0.02"})
def kill_scorer(arena: Arena) -> None:
    """kill -9 of the scorer at 20 random moments, while it commits all the time."""
    scorer = arena.scorer()
    arena.shadow()
    arena.ready()
    arena.strike(lambda: kill_and_start(scorer), times=20)


@scenario(env={"SCORER_COMMIT_SECONDS": "0.02", "SCORER_BATCH_RECORDS": "500"})
def kill_scorer_that_drops_cards(arena: Arena) -> None:
    """kill -9 of the scorer at 10 random moments, while the stream goes through months and idle cards are dropped."""
    arena.spread(1000)
    scorer = arena.scorer()
    arena.shadow()
    arena.ready()
    arena.strike(lambda: kill_and_start(scorer), times=10)
    arena.expects_drops = True


@scenario()
def kill_shadow(arena: Arena) -> None:
    """kill -9 of the shadow at 20 random moments."""
    arena.scorer()
    shadow = arena.shadow()
    arena.ready()
    arena.strike(lambda: kill_and_start(shadow), times=20, backlog=arena.behind_shadow)


@scenario()
def kill_both(arena: Arena) -> None:
    """kill -9 of the scorer and of two shadows at the same moment, 10 times."""
    scorer, shadow, control = arena.scorer(), arena.shadow(), arena.shadow("control", arena.models.control)
    arena.ready()
    arena.strike(lambda: kill_and_start(scorer, shadow, control), times=10)


@scenario()
def slots_of_one_process(arena: Arena) -> None:
    """Three slots in one process: kill -9 at 10 random moments, one slot's place in Redis lost, another process that
    counts for two of them as well, a second one of all three that dies, joins again and leaves."""
    models = arena.models
    slots = {"candidate": models.candidate, "control": models.control, "challenger": models.control}
    arena.scorer()
    shadow = arena.shadows(slots)
    arena.ready()
    arena.strike(lambda: kill_and_start(shadow), times=10, backlog=arena.behind_shadow)

    def lose_one() -> None:
        with arena.store.client() as client:
            client.delete(*client.scan_iter("shadow:{control:*", count=1000))

    arena.strike(lose_one, times=2, backlog=partial(arena.behind_shadow, "control"))
    with arena.pouring(400):
        rival = arena.shadows({slot: slots[slot] for slot in ("challenger", "control")})
        arena.ready()
        arena.strike(lose_one, backlog=partial(arena.behind_shadow, "control"))
    arena.strike(rival.kill, backlog=partial(arena.behind_shadow, "challenger"))
    with arena.pouring(400):
        twin = arena.shadows(slots)
        arena.ready()
        arena.strike(lambda: kill_and_start(twin), backlog=arena.behind_shadow)
    arena.strike(twin.stop, backlog=arena.behind_shadow)


@scenario(env={"SCORER_BATCH_RECORDS": "20", "SHADOW_BATCH_RECORDS": "20"})
def scale_1_3_1(arena: Arena) -> None:
    """Two more scorers and shadows join under load, and leave by SIGTERM and by kill -9; then again as members that
    the group remembers by name."""
    _scale(arena, lambda name: {})
    for member in arena.members:
        member.stop()
    _scale(arena, lambda name: {"INSTANCE_ID": name})


def _scale(arena: Arena, naming: Callable[[str], dict[str, Any]]) -> None:
    arena.scorer(**naming("scorer-a"))
    arena.shadow(**naming("shadow-a"))
    arena.ready()
    for add, waiting in ((arena.scorer, arena.behind_live), (arena.shadow, arena.behind_shadow)):
        more: list[Member] = []
        kind = "scorer" if add == arena.scorer else "shadow"

        def join(add=add, more=more, kind=kind) -> None:  # type: ignore[no-untyped-def]
            more.extend(add(**naming(f"{kind}-{name}")) for name in "bc")

        with arena.pouring(400):  # they join a second or two after they were started
            arena.strike_at_once(join, 3000, waiting)
            arena.ready()
        arena.strike(more[0].stop, backlog=waiting)
        arena.strike(more[1].kill, backlog=waiting)


STOPPING = injected("stopping")


@scenario(env={**STOPPING, "SCORER_FENCE": "on"})
def zombie_scorer(arena: Arena) -> None:
    """One of two scorers is stopped past its session while it publishes, and goes on when the other has its partitions:
    the broker refuses what it had under way, and it is a member again. Later the head of `decisions` is deleted
    meanwhile, up to where a shadow that is down has read."""
    wrote = _zombies(arena)
    fenced = [scorer.alive.metric("scorer_fenced_transactions_total") for scorer in arena.members[:2]]
    arena.notes.append(f"the zombies wrote {wrote} records once more, {sum(fenced):.0f} transactions were refused them")
    if any(wrote):
        arena.problems.append("a zombie wrote in spite of the fence")
    if not all(fenced):
        arena.problems.append("no zombie was refused anything: the scenario missed its window")
    if any(member.revivals for member in arena.members[:2]):
        arena.problems.append("a zombie ended, where it was to take part again")


@scenario(allows_extras=True, env={**STOPPING, "SCORER_FENCE": "off"})
def zombie_scorer_unfenced(arena: Arena) -> None:
    """The same where the broker does not refuse it: what it had under way is decided twice, and counted once."""
    wrote = _zombies(arena)
    arena.notes.append(f"the zombies wrote {wrote} records once more")
    if not all(wrote):
        arena.problems.append("the zombie wrote nothing: the scenario missed its window")


def _zombies(arena: Arena) -> list[int]:
    """Stop the scorers in turns; how many records each wrote once more when it went on."""
    arena.stack.env |= {"STOP_IN": str(arena.folder)}
    first, second = arena.scorer(), arena.scorer()
    shadow = arena.shadow()
    arena.ready()
    wrote = []
    for stopped, is_trimmed in ((first, False), (second, False), (first, True), (second, True)):
        _stop_publishing(arena, stopped)
        arena.until("the other has taken over", lambda: arena.behind_live() <= 0)
        if is_trimmed:
            _trim(arena, shadow)
        else:
            arena.send(1500)
        stopped.alive.resume()
        arena.until("both at work", lambda: arena.behind_live() <= 0)
        arena.ready()
        wrote.append(arena.count_extras())
        if is_trimmed:
            shadow.start()
            arena.ready()
    return wrote


def _stop_publishing(arena: Arena, scorer: Member) -> None:
    """Send a part of the stream; the scorer stops when it is about to write some of its decisions."""
    (arena.folder / f"stop-{scorer.alive.process.pid}").write_text(str(arena.rng.randrange(8)))
    arena.send(2000)
    arena.until("the scorer stands still", scorer.alive.is_stopped)
    assert arena.behind_live() > 0, "no backlog was left"
    arena.faults += 1


def _trim(arena: Arena, shadow: Member) -> None:
    """Once a shadow has read everything: kill it, and delete what it has read, as retention does."""
    arena.until("the shadow has read everything", lambda: arena.behind_shadow() <= 0)
    shadow.kill()
    cut = arena.fences("candidate")
    for p, records in arena.wire.read("decisions")["decisions"].items():
        arena.deleted.setdefault(p, []).extend(record for record in records if record.offset < cut[p])
    arena.wire.delete_before("decisions", cut)


@scenario(env=injected("wedging"))
def wedged_scorer(arena: Arena) -> None:
    """A scorer stands still: its fetches, the thread of its consumer, or its event loop hang, without an error. It ends
    by itself, says where it stood, and is started anew."""
    arena.stack.env["WEDGE_IN"] = str(arena.folder)
    scorer = arena.scorer(STALL_SECONDS="5")
    arena.shadow()
    arena.ready()
    for what in arena.rng.sample(["fetches", "thread", "loop"], 3):
        _wedge(arena, scorer, what, arena.behind_live, LIVE_WEDGED_SECONDS)


@scenario(env=injected("wedging"))
def wedged_shadow(arena: Arena) -> None:
    """The same to a shadow, at the default of its watchdog: within a minute it compares again."""
    arena.stack.env["WEDGE_IN"] = str(arena.folder)
    arena.scorer()
    shadow = arena.shadow()
    arena.ready()
    for what in arena.rng.sample(["fetches", "thread", "loop"], 2):
        _wedge(arena, shadow, what, arena.behind_shadow, SHADOW_WEDGED_SECONDS)


#: Longest time until a worker that stands still has caught up, of a scorer that may do so for 5 s, and of a shadow.
LIVE_WEDGED_SECONDS, SHADOW_WEDGED_SECONDS = 45.0, 60.0


def _wedge(arena: Arena, member: Member, what: str, waiting: Callable[[], int], seconds: float) -> None:
    """Have a worker stand still while records come, and wait until it works again."""
    arena.until("nothing waits", lambda: waiting() <= 0)
    wedged, ended = member.alive, member.revivals
    order = arena.folder / f"wedge-{wedged.process.pid}"
    order.write_text(what)
    arena.send(200)  # what it may still take before it reads the order
    arena.until("it reads the order", lambda: not order.exists())
    began = time.monotonic()
    arena.send(1000)
    arena.faults += 1
    arena.until("it works again", lambda: waiting() <= 0)
    arena.ready()
    took = time.monotonic() - began
    arena.notes.append(f"{what} of {wedged.log.name} hung: it worked again after {took:.0f} s")
    told = wedged.log.read_text(errors="replace")
    if member.revivals != ended + 1:
        arena.problems.append(f"it ended {member.revivals - ended} times, not once")
    if took > seconds:
        arena.problems.append(f"it stood still for {took:.0f} s, expected at most {seconds:g} s")
    if "this is where it stands" not in told or "task " not in told:
        arena.problems.append("it did not say where it stood")


@scenario()
def zombie_shadow(arena: Arena) -> None:
    """One of two shadows is stopped past its session while it works, and goes on when the other has its partitions."""
    arena.scorer()
    first, second = arena.shadow(), arena.shadow()
    arena.ready()
    for stopped in (first, second, first, second):
        arena.strike(stopped.alive.pause, backlog=arena.behind_shadow, part=2000)
        arena.until("the other has taken over", lambda: arena.behind_shadow() == 0)
        arena.send(1500)
        stopped.alive.resume()
        arena.until("both at work", lambda: arena.behind_shadow() == 0)
        arena.ready()


@scenario()
def sigterm_mid_batch(arena: Arena) -> None:
    """SIGTERM while a batch is under way: what was accepted is finished and committed within the grace period."""
    scorer, shadow = arena.scorer(BATCH_RECORDS="20"), arena.shadow(BATCH_RECORDS="10")
    arena.ready()
    for member, waiting in ((scorer, arena.behind_live), (shadow, arena.behind_shadow)) * 3:

        def stop(member: Member = member) -> None:
            member.is_wanted = False
            member.alive.process.terminate()
            code = member.alive.process.wait(GRACE_SECONDS)
            if code:
                arena.problems.append(f"{member.argv[0]} ended with {code} on SIGTERM")
            if member is scorer:
                _expect_committed(arena)
            member.start()

        arena.strike(stop, backlog=waiting, part=2000)
        arena.ready()


def _expect_committed(arena: Arena) -> None:
    """The group's commit stands right behind the last transaction that was settled."""
    settled: dict[int, int] = {}
    for topic, partitions in arena.wire.read("decisions", "transactions.rejected").items():
        for p, records in partitions.items():
            for record in records:
                settled[p] = max(settled.get(p, -1), arena.source_of(topic, record))
    committed = {p: at for (_, p), at in arena.wire.committed("scorer").items()}
    for p, last in settled.items():
        if committed.get(p) != last + 1:
            arena.problems.append(f"partition {p}: settled up to {last}, committed is {committed.get(p)}")
