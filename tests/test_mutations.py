"""The list of protective steps stays true to the code; `make mutations` takes each of them away."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutation import Mutation
from mutations import MUTATIONS

_ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_step_and_its_test_are_there(mutation: Mutation) -> None:
    """What is taken away stands in the code once, without it the code is still Python, and its test exists."""
    path = _ROOT / mutation.path
    source = path.read_text()
    mutated = mutation.applied_to(source)
    assert mutated != source
    compile(mutated, str(path), "exec")
    file, _, name = mutation.test.partition("::")
    assert f"def {name}(" in (_ROOT / "tests" / file).read_text()


def test_names_are_unique() -> None:
    """Each step has a name of its own."""
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
