"""A transcript for people: its lines as Markdown."""

from collections.abc import Iterable, Iterator
from typing import Any


def written(lines: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a transcript as paragraphs of Markdown, in the order in which they were said."""
    prompts: dict[str, int] = {}
    for line in lines:
        match line["kind"]:
            case "session":
                yield f"# {line['title'] or 'Conversation'}\n\n"
                yield f"{line['owner']}, begun {_time(line['created_at'])}\n\n"
            case "message":
                branch = prompts.get(line["parent"] or "", 0)
                prompts[line["parent"] or ""] = branch + 1
                beside = f" (branch {branch + 1})" if branch else ""
                yield f"## {_author(line)}{beside}\n\n{_facts(line)}\n\n{line['text'].rstrip()}\n\n"
            case "turn":
                yield f"*A prompt stayed without a reply: {line['state']}. {line['reason'] or ''}*\n\n"


def _author(line: dict[str, Any]) -> str:
    return str(line["author"] or "The model")


def _facts(line: dict[str, Any]) -> str:
    facts = [_time(line["created_at"])]
    if turn := line.get("turn"):
        facts.append(f"on {turn['node']}")
        if tokens := turn["usage"]["completion_tokens"]:
            facts.append(f"{tokens} tokens")
        if turn["state"] != "done":
            facts.append(turn["state"])
    return f"*{', '.join(facts)}*"


def _time(iso: str) -> str:
    return f"{iso[:10]} {iso[11:16]} UTC"
