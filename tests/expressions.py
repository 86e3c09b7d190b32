"""The expressions and conditions of GitHub Actions, as far as the workflows here use them."""

import re
from collections.abc import Callable
from typing import Any

STATUS = ("success", "failure", "always", "cancelled")


class Missing(str):
    """What a context lacks: empty, and so is all of it."""

    def __getattr__(self, name: str) -> "Missing":
        return self


class Context(dict):
    """`a.b.c` as in expressions."""

    def __getattr__(self, name: str) -> Any:
        value = self.get(name, Missing())
        return Context(value) if isinstance(value, dict) else value


def evaluate(expression: str, contexts: dict[str, Any]) -> Any:
    """The value of what stands in `${{ }}`. Raises NameError for a context or a function that is not given."""
    python = re.sub(r"([\w.]+)\.\*\.(\w+)", r"[one['\2'] for one in \1 or ()]", " ".join(expression.split()))
    python = re.sub(r"!(?!=)", " not ", python.replace("&&", " and ").replace("||", " or "))
    names = {name: Context(value) if isinstance(value, dict) else value for name, value in contexts.items()}
    functions = {"contains": lambda found, one: one in found, "true": True, "false": False}
    return eval(python.strip(), {"__builtins__": {}} | functions | names)


def fill_in(text: object, contexts: dict[str, Any]) -> str:
    """A text of the YAML with each `${{ }}` replaced."""

    def value(match: re.Match) -> str:
        found = evaluate(match[1], contexts)
        return str(found).lower() if isinstance(found, bool) else str(found)

    return re.sub(r"\$\{\{(.*?)\}\}", value, str(text), flags=re.DOTALL)


def holds(condition: str, contexts: dict[str, Any]) -> bool:
    """Whether an `if:` lets a step or a job run: one that asks for no status asks for success."""
    inner = re.sub(r"^\s*\$\{\{|\}\}\s*$", "", condition)
    if not any(f"{name}()" in inner for name in STATUS):
        inner = f"success() && ({inner})"
    return bool(evaluate(inner, contexts))


def statuses(failed: bool, cancelled: bool) -> dict[str, Callable[[], bool]]:
    values = (not failed and not cancelled, failed, True, cancelled)
    return {name: lambda value=value: value for name, value in zip(STATUS, values, strict=True)}
