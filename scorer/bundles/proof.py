"""Proves a bundle in a child process: a damaged model can kill whoever parses it, and nothing else must die of it.

The child checks the structure of the model's trees, parses it, has it score and explain rows of every kind, and checks
the answers, within limits on memory and time. Then it may compare the fast predictor with LightGBM: whatever comes of
that, the bundle stays proven. Run as a module, this is the child.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass

from scorer.errors import BundleError, UnavailableError

#: Longest time that a proof may take, in seconds of the clock and of a processor.
SECONDS = 60
#: Address space of the child: what Python and LightGBM need, and so much for each byte of the model.
MEMORY, MEMORY_PER_BYTE = 3 << 30, 20
#: How a native fault ends a process. Being killed from outside says nothing of the bundle.
FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS)
#: One thread each: more would only take address space.
#: Argument that asks for the comparison, and the line that says that the bundle is proven and the comparison begins.
COMPARE, PROVEN = "compare", "null"
ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


#: Niceness of the comparison, which may run while live decides on the same core. Starts and promotions wait for it.
NICENESS = 5


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison. unfit: why the fast predictor may not serve, None if it may. is_final: it would come
    to the same again; else the machine may have been too busy."""

    unfit: str | None
    is_final: bool = True


class DeadlyBundleError(BundleError):
    """The model killed the process that parsed it."""


def prove(
    model: bytes, manifest: bytes, digest: str, compare: bool = False, seconds: float = SECONDS
) -> Comparison | None:
    """Have a child process parse, warm and question a bundle.

    compare: and hold the fast predictor against LightGBM. Returns what came of that, None if it was not asked.

    Raises DeadlyBundleError if a native fault killed the child, BundleError if the bundle cannot be used or the child
    ran into a limit, UnavailableError if it was not done in time, as on a machine that has other things to do.
    """
    sizes = len(manifest).to_bytes(8, "big") + len(model).to_bytes(8, "big")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, digest, *([COMPARE] if compare else [])],
            input=sizes + manifest + model,
            env={**os.environ, **ALONE},
            cwd="/",
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        if _lines(late.stdout)[:1] == [PROVEN]:
            return Comparison(f"the comparison was not done after {seconds:g} s", is_final=False)
        raise UnavailableError(
            f"bundle {digest[:12]}: took more than {seconds:g} s to prove; is the machine too busy? Try again"
        ) from None
    except OSError as error:
        raise BundleError(f"bundle {digest[:12]}: cannot be proven in a child process ({error})") from None
    told = _lines(done.stdout)
    if told[:1] == [PROVEN]:
        return _comparison(told, done.returncode)
    if done.returncode == 0:
        return Comparison("was not compared", is_final=False) if compare else None
    if -done.returncode in FAULTS:
        name = signal.Signals(-done.returncode).name
        raise DeadlyBundleError(f"bundle {digest[:12]}: the model kills who parses it ({name}); train it again")
    if done.returncode == -signal.SIGXCPU:
        raise BundleError(f"bundle {digest[:12]}: took more than {SECONDS} s of a processor to prove; is it damaged?")
    if done.returncode == 1 and told:
        raise BundleError(json.loads(told[-1]))
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    why = f" ({said[-1][:200]})" if said else ""
    raise BundleError(f"bundle {digest[:12]}: its proof ended with {how}{why}; is there memory left?")


def _lines(output: bytes | None) -> list[str]:
    return (output or b"").decode(errors="replace").strip().splitlines()


def _comparison(told: list[str], code: int) -> Comparison:
    """What came of the comparison in a child that had proven the bundle."""
    if code == 0 and len(told) > 1:
        return Comparison(json.loads(told[-1]))
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return Comparison(f"the comparison ended with {how}", is_final=-code in FAULTS)


def _child(digest: str, compare: bool = False) -> None:
    """Prove the bundle on standard input; says what is wrong as JSON, and exits with 1."""
    whole = sys.stdin.buffer.read()
    cut = 16 + int.from_bytes(whole[:8], "big")
    manifest, model = whole[16:cut], whole[cut:]
    room = MEMORY + MEMORY_PER_BYTE * len(model)
    for kind, limit in ((resource.RLIMIT_AS, room), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (limit, limit))
    from scorer.bundles import model_text, trees
    from scorer.bundles.answers import check_answers
    from scorer.bundles.bundle import Bundle
    from scorer.bundles.manifest import read_manifest

    try:
        _, said = read_manifest(model, manifest, digest)
        text = model_text.read(model)
        check_answers(text, said.link)
        trees.check(text, len(said.features))
        bundle = Bundle.read(model, manifest, digest)
        bundle.warm()
        bundle.explain()
    except BundleError as error:
        print(json.dumps(str(error)))
        sys.exit(1)
    except MemoryError:
        print(json.dumps(f"bundle {digest[:12]}: its model needs more than {room >> 20} MiB; is it damaged?"))
        sys.exit(1)
    if compare:
        from scorer.bundles import predictor

        print(PROVEN, flush=True)
        os.nice(NICENESS)
        try:
            predictor.check(text, model, bundle.predict)
        except predictor.UnfitError as why:
            print(json.dumps(str(why)))
        except Exception as error:  # MemoryError, or whatever else: LightGBM serves
            print(json.dumps(f"failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})"))
        else:
            print(json.dumps(None))


if __name__ == "__main__":
    _child(sys.argv[1], compare=COMPARE in sys.argv[2:])
