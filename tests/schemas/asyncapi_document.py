"""What a client needs of an AsyncAPI 3 document, read from its text alone: no code of Milepost's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

Json = dict[str, Any]
PUBLISHED: Final = Path(__file__).parents[2] / "schemas" / "published" / "asyncapi.yaml"


class Message(NamedTuple):
    """One message as the document has it, its traits merged in."""

    name: str
    content_type: str
    headers: Draft7Validator
    key: Draft7Validator
    payload: Draft7Validator
    examples: list[Json]
    tree: Json


class Operation(NamedTuple):
    """What is sent to or received from one topic, and the client settings that it asks for."""

    action: str
    topic: str
    settings: dict[str, str]
    messages: list[Message]


class Document:
    """The document; `prefix` takes the place of the default of the address's parameter."""

    def __init__(self, path: Path = PUBLISHED) -> None:
        self.tree: Json = yaml.safe_load(path.read_text(encoding="utf-8"))

    def operation(self, name: str, **parameters: str) -> Operation:
        tree = self._with_traits(self.tree["operations"][name])
        channel = self.follow(tree["channel"])
        declared = {name: self.follow(one) for name, one in channel["parameters"].items()}
        defaults = {name: one["default"] for name, one in declared.items()}
        return Operation(
            tree["action"],
            channel["address"].format(**{**defaults, **parameters}),
            tree["x-client-settings"],
            [self._message(reference) for reference in tree["messages"]],
        )

    def follow(self, node: Any) -> Any:
        """What a reference stands for, through any number of them; all else as it is."""
        while isinstance(node, dict) and "$ref" in node:
            start, *path = node["$ref"].split("/")
            assert start == "#", "the document must work alone"
            node = self.tree
            for step in path:
                node = node[step]
        return node

    def references(self) -> Iterator[Json]:
        """Every object in the document that holds a `$ref`."""
        waiting: list[Any] = [self.tree]
        while waiting:
            match waiting.pop():
                case dict() as node:
                    if isinstance(node.get("$ref"), str):
                        yield node
                    waiting += node.values()
                case list() as items:
                    waiting += items

    def _message(self, reference: Json) -> Message:
        tree = self._with_traits(self.follow(reference))
        return Message(
            tree["name"],
            tree["contentType"],
            self._validator(tree["headers"]),
            self._validator(self.follow(tree["bindings"])["kafka"]["key"]),
            self._validator(tree["payload"]),
            tree.get("examples", []),
            tree,
        )

    def _with_traits(self, node: Json) -> Json:
        merged: Json = {}
        for layer in (*map(self.follow, node.get("traits", [])), node):
            merged = _merge(merged, layer)
        return merged

    def _validator(self, schema: Json) -> Draft7Validator:
        whole = {"allOf": [schema], "components": self.tree["components"]}
        Draft7Validator.check_schema(whole)
        return Draft7Validator(whole)


def _merge(target: Any, patch: Any) -> Any:
    """JSON Merge Patch (RFC 7396), which is how AsyncAPI 3 applies traits."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged
