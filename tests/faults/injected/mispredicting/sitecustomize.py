"""On the path of a process, makes the fast predictor go wrong as MISPREDICT says: does LightGBM serve the bundle?"""

import os
import time
from typing import Any

import lignum
import numpy as np

_load = lignum.load


class _Wrong:
    """A model whose last answer is the next number, in calls of more than 100 rows or in those of three rows."""

    n_outputs = 1

    def __init__(self, model: Any, rows: range) -> None:
        self._model, self._rows = model, rows

    def predict(self, matrix: Any, **more: Any) -> Any:
        answers = self._model.predict(matrix, **more)
        if len(matrix) in self._rows:
            answers[-1] = np.nextafter(answers[-1], 1)
        return answers


def load(path: str, **more: Any) -> Any:
    fault = os.environ["MISPREDICT"]
    if fault == "dies":
        os.abort()
    if fault == "hangs":
        time.sleep(60)
    if fault == "raises":
        raise ValueError("no")
    if fault == "exhausts":
        raise MemoryError
    model = _load(path, **more)
    if fault == "many":
        return _Wrong(model, range(100, 1 << 20))
    if fault == "few":
        return _Wrong(model, range(3, 4))
    if fault == "grows":
        model.held = np.ones(100 << 17)
    return model


lignum.load = load
