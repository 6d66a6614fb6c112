"""What Bedrock refuses of a prompt, and in which words.

It reads and writes no cache and knows no HTTP. Rules from the Amazon Bedrock user guide and the Anthropic pages on
prompt caching, extended thinking and tool use, all read 2026-11-22; wordings as seen in public issue threads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from keepwarm.dialects import MAX_CACHE_POINTS, Block, Body, Dialect, DialectError, Reading, read, thinking_of
from keepwarm.emulator.wire import Refusal
from keepwarm.model import Family, ModelFacts, Section, Ttl
from keepwarm.pricing import Catalog, parse_model_id

# The user guide knows the first only; the Bedrock client of the anthropic SDK (2.12) sends a plain date.
_ANTHROPIC_VERSIONS = re.compile(r"bedrock-2023-05-31|20\d\d-\d\d-\d\d")
_MIN_THINKING_TOKENS = 1024
_WITHOUT_CACHING = ("ai21.", "cohere.", "deepseek.", "meta.", "mistral.", "qwen.")


@dataclass(frozen=True)
class Prompt:
    """A prompt on its way through the rules.

    Attributes:
        reading: of `body`.
        facts: of the model that is asked.
    """

    body: Body
    reading: Reading
    facts: ModelFacts

    @property
    def dialect(self) -> Dialect:
        """How it is written."""
        return self.reading.dialect

    @cached_property
    def turns(self) -> tuple[tuple[str, tuple[Block, ...]], ...]:
        """Role and blocks of each message."""
        messages = self.body.get("messages") or []
        parts = [block for block in self.reading.blocks if block.section is Section.MESSAGES]
        blocks = {index: tuple(group) for index, group in groupby(parts, key=lambda block: block.index)}
        return tuple((message["role"], blocks.get(index, ())) for index, message in enumerate(messages))

    @cached_property
    def max_tokens(self) -> Any:
        """The output limit as it was sent; None without one."""
        if self.dialect is Dialect.ANTHROPIC:
            return self.body.get("max_tokens")
        config = _mapping(self.body.get("inferenceConfig"))
        return config.get("maxTokens", config.get("max_new_tokens"))


def find_facts(catalog: Catalog, model_id: str, region: str) -> ModelFacts:
    """The facts of a model that can be asked through this id.

    Raises:
        Refusal: it is unknown, has no caching, or wants an inference profile.
    """
    facts = catalog.find(model_id, region)
    if facts:
        return facts
    name = parse_model_id(model_id)
    if name.base_id.startswith(_WITHOUT_CACHING):
        raise Refusal(
            "AccessDeniedException",
            "You invoked an unsupported model or your request did not allow prompt caching. "
            "See the documentation for more information.",
        )
    if name.base_id in catalog.models and not name.geography:
        raise _invalid(
            f"Invocation of model ID {name.base_id} with on-demand throughput isn\u2019t supported. Retry your request "
            "with the ID or ARN of an inference profile that contains this model."
        )
    raise _invalid("The provided model identifier is invalid.")


def read_prompt(dialect: Dialect, body: Body) -> Reading:
    """Read a body as `dialects.read` does, with its complaint as a refusal.

    Raises:
        Refusal: the body is not of this dialect, or a cache point is misplaced or misspelt.
    """
    try:
        return read(dialect, body)
    except DialectError as error:
        raise _invalid(str(error)) from None


def check(prompt: Prompt) -> None:
    """Let a prompt through, or not.

    Raises:
        Refusal: in the words of the first rule that it breaks.
    """
    for rule in _RULES:
        complaint = rule(prompt)
        if complaint:
            raise _invalid(complaint)


def quoting(reading: Reading) -> Refusal:
    """A refusal that quotes the start of the prompt, as some of Bedrock's do."""
    texts = (block.content.get("text") for block in reading.blocks if isinstance(block.content, Mapping))
    start = next((text for text in texts if isinstance(text, str)), "")
    return _invalid(f"Malformed input request near: {start[:120]}")


def _invalid(message: str) -> Refusal:
    return Refusal("ValidationException", message)


def _mapping(value: Any) -> Body:
    return value if isinstance(value, Mapping) else {}


# -- settings -----------------------------------------------------------------------------------------------------


def _version(prompt: Prompt) -> str | None:
    if prompt.dialect is not Dialect.ANTHROPIC:
        return None
    found = prompt.body.get("anthropic_version")
    if found is None:
        return "anthropic_version: Field required"
    return None if _ANTHROPIC_VERSIONS.fullmatch(str(found)) else f"Invalid API version: {found}"


def _output_limit(prompt: Prompt) -> str | None:
    found, least = prompt.max_tokens, max(1, prompt.facts.min_max_tokens)
    name = "max_tokens" if prompt.dialect is Dialect.ANTHROPIC else "inferenceConfig.maxTokens"
    if found is None:
        return "max_tokens: Field required" if prompt.dialect is Dialect.ANTHROPIC else None
    if not isinstance(found, int) or isinstance(found, bool):
        return f"{name}: Input should be a valid integer"
    return f"{name}: must be greater than or equal to {least}" if found < least else None


def _thinking(prompt: Prompt) -> str | None:
    thinking = thinking_of(prompt.dialect, prompt.body)
    if prompt.facts.family is not Family.ANTHROPIC or thinking.get("type") != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        return "thinking.enabled.budget_tokens: Field required"
    if budget < _MIN_THINKING_TOKENS:
        return f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_MIN_THINKING_TOKENS}"
    if prompt.max_tokens is not None and prompt.max_tokens <= budget:
        return "`max_tokens` must be greater than `thinking.budget_tokens`."
    return None


# -- the conversation ---------------------------------------------------------------------------------------------


def _order_of_turns(prompt: Prompt) -> str | None:
    roles = [role for role, _ in prompt.turns]
    if not roles:
        return "messages: at least one message is required"
    wrong = sorted(set(roles) - {"user", "assistant", "system"})
    if wrong:
        return 'messages: Input should be "user" or "assistant"'
    if roles[0] != "user":
        return "A conversation must start with a user message. Try again with a conversation that starts with one."
    if roles[-1] != "user":
        return "This model does not support assistant message prefill. The conversation must end with a user message."
    return None


def _blank_text(prompt: Prompt) -> str | None:
    for index, (_, blocks) in enumerate(prompt.turns):
        if not blocks:
            return f"messages.{index}: all messages must have non-empty content"
    for block in prompt.reading.blocks:
        text = block.content.get("text")
        if isinstance(text, str) and not text.strip():
            place = f"messages.{block.index}.content.{block.part}" if block.role else f"system.{block.index}"
            return f"{place}: text content blocks must be non-empty"
    return None


def _tool_answers(prompt: Prompt) -> str | None:
    asked: set[str] = set()
    for index, (_, blocks) in enumerate(prompt.turns):
        answered = _tool_ids(blocks, "tool_result", "toolResult", "tool_use_id")
        if asked - answered:
            return (
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(asked - answered))}. Each `tool_use` block must have a corresponding `tool_result` "
                "block in the next message."
            )
        if answered - asked:
            return (
                f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(sorted(answered - asked))}. Each `tool_result` block must have a corresponding `tool_use` "
                "block in the previous message."
            )
        asked = _tool_ids(blocks, "tool_use", "toolUse", "id")
    return None


def _tool_ids(blocks: Sequence[Block], anthropic_type: str, member: str, anthropic_key: str) -> set[str]:
    found = set()
    for block in blocks:
        if block.content.get("type") == anthropic_type:
            found.add(str(block.content.get(anthropic_key)))
        elif member in block.content:
            found.add(str(_mapping(block.content[member]).get("toolUseId")))
    return found


# -- cache points -------------------------------------------------------------------------------------------------


def _number_of_points(prompt: Prompt) -> str | None:
    found = len(prompt.reading.cache_points)
    if found <= MAX_CACHE_POINTS:
        return None
    return f"A maximum of {MAX_CACHE_POINTS} blocks with cache_control may be provided. Found {found}."


def _order_of_points(prompt: Prompt) -> str | None:
    ttls = [point.marker for point in prompt.reading.cache_points]
    if Ttl.ONE_HOUR in ttls[ttls.index(Ttl.FIVE_MINUTES) :] if Ttl.FIVE_MINUTES in ttls else False:
        return (
            "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are "
            "processed in the following order: `tools`, `system`, `messages`."
        )
    return None


def _sold_lifetimes(prompt: Prompt) -> str | None:
    wrong = {point.marker for point in prompt.reading.cache_points} - prompt.facts.ttls
    return f"cache ttl {min(map(str, wrong))} is not supported by this model" if wrong else None


def _nova_places(prompt: Prompt) -> str | None:
    if not prompt.facts.tools_cacheable:
        for block in prompt.reading.blocks:
            if block.section is Section.TOOLS and (block.marker or "cachePoint" in block.content):
                return f"Malformed input request: #/toolConfig/tools/{block.index}: extraneous key [cachePoint]"
    if prompt.facts.family is Family.NOVA:
        for point in prompt.reading.cache_points:
            if "text" not in point.content:
                return "Malformed input request: extraneous key [cachePoint] is not permitted"
    return None


_RULES: Sequence[Callable[[Prompt], str | None]] = (
    _version,
    _output_limit,
    _thinking,
    _order_of_turns,
    _blank_text,
    _tool_answers,
    _number_of_points,
    _order_of_points,
    _sold_lifetimes,
    _nova_places,
)
