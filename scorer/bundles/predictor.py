"""What predicts: LightGBM, or a faster predictor that gave the same scores, bit for bit, when the bundle was proven."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np

from scorer.bundles import edges
from scorer.bundles.model_text import ModelText
from scorer.pipeline.batch import Matrix

#: Names of the predictors, as logs and metrics have them. The fast one is called as its package is.
LIGHTGBM: Literal["lightgbm"] = "lightgbm"
FAST = "pylignum"
PREDICTORS = (LIGHTGBM, FAST)
#: What a setting may ask for.
Wanted = Literal["auto", "lightgbm"]
#: From a matrix float64 (n, features of the model) to its answers, float64 (n,).
Predict = Callable[[Matrix], Matrix]
#: Longest processor time that the comparison of the two may take, in seconds: a promotion waits for it.
SECONDS = 10.0
#: Most memory that the fast predictor may take for a model: so much, and so much for each byte of its text.
MEMORY, MEMORY_PER_BYTE = 64 << 20, 2
#: Sizes of the calls in which every row is asked for a second time: a predictor takes other ways for few rows.
CALLS = (1, 2, 3, 4, 5, 7, 8, 13, 31, 64)
#: Above every threshold that is not infinite.
LARGEST = np.finfo(np.float64).max
#: What the same answers depend on.
LIBRARIES = (LIGHTGBM, "numpy", FAST)


class UnfitError(Exception):
    """Why the fast predictor may not serve a model."""


def versions() -> str | None:
    """What a proof is for: the machine's kind and the versions of what was compared. None without a fast predictor."""
    try:
        return ", ".join((*(f"{name} {version(name)}" for name in LIBRARIES), platform.machine()))
    except PackageNotFoundError:
        return None


def fast(model: bytes) -> Predict:
    """The fast predictor of a model's text. It runs in the calling thread, without Python's lock.

    Parses the model, so only a child process may call it for a model that is not proven. Raises UnfitError.
    """
    try:
        import lignum
    except Exception as error:  # of its own, or of the loader of libraries
        raise UnfitError(f"cannot be imported ({' '.join(str(error).split())[:200]})") from None
    try:
        with os.fdopen(os.memfd_create("model"), "wb") as file:  # it reads files only, and a worker may have no disk
            file.write(model)
            file.flush()
            loaded = lignum.load(f"/proc/self/fd/{file.fileno()}", format=LIGHTGBM)
    except Exception as error:  # whatever it does not know, or a machine without such files
        raise UnfitError(f"cannot load the model ({' '.join(str(error).split())[:200]})") from None
    if loaded.n_outputs != 1:
        raise UnfitError(f"answers with {loaded.n_outputs} numbers a row")

    def predict(matrix: Matrix) -> Matrix:
        # at a threshold that is infinite, it sends infinity the other way than LightGBM
        answers: Matrix = loaded.predict(np.minimum(matrix, LARGEST), n_jobs=1, strategy="serial")
        return answers

    return predict


def check(text: ModelText, model: bytes, slow: Predict, seconds: float = SECONDS, least: int = edges.LEAST) -> None:
    """Raise UnfitError unless the fast predictor answers as `slow` does, bit for bit, to `edges.rows` of the model.

    text: of the model, whose trees are checked. seconds: longest processor time. least: fewest rows. Each row is asked
    for twice, among many and among few. Raises MemoryError as well.
    """
    before = _resident()
    quick = fast(model)
    held, most = _resident() - before, MEMORY + MEMORY_PER_BYTE * len(model)
    if held > most:
        raise UnfitError(f"takes {held >> 20} MiB for the model, at most {most >> 20} are allowed")
    try:
        _compare(text, quick, slow, seconds, least)
    except edges.TooManyCategoriesError:
        raise UnfitError(f"was not compared (categories beyond {edges.MOST_CATEGORIES})") from None


def _compare(text: ModelText, quick: Predict, slow: Predict, seconds: float, least: int) -> None:
    """Raises UnfitError, or TooManyCategoriesError."""
    end = time.process_time() + seconds
    seen = 0
    for matrix in edges.rows(text, least=least):
        wanted = slow(matrix)
        for answers in (quick(matrix), np.concatenate([quick(part) for part in _parts(matrix)])):
            if answers.shape != wanted.shape or answers.dtype != wanted.dtype:
                raise UnfitError(f"answers {answers.dtype} {answers.shape}, not {wanted.dtype} {wanted.shape}")
            apart = np.flatnonzero(answers.view(np.int64) != wanted.view(np.int64))
            if apart.size:
                at = apart[0]
                raise UnfitError(
                    f"{apart.size} of {len(matrix)} answers differ (first {float(answers[at])!r}, "
                    f"LightGBM {float(wanted[at])!r})"
                )
        seen += len(matrix)
        if time.process_time() > end and seen < least:
            raise UnfitError(f"only {seen} rows could be compared in {seconds:g} s")
        if time.process_time() > end:
            return


def _parts(matrix: Matrix) -> Iterator[Matrix]:
    begin = at = 0
    while begin < len(matrix):
        size = CALLS[at % len(CALLS)]
        yield matrix[begin : begin + size]
        begin, at = begin + size, at + 1


def _resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
