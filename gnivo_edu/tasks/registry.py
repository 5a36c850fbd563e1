"""Tasks by name: those in words, arithmetic, and every toy environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pkgutil import resolve_name
from typing import Any

from gnivo_edu.names import current_folder, nearest, shown
from gnivo_edu.values import convert_options
from toy_envs.core import TokenMDP

# The tasks load what they need where they are made: their names are known without it.
BENCHMARK_NAMES = ("math", "aime24", "aime25", "amc23", "math500", "minerva_math", "olympiadbench")
_MAKERS = {  # one line makes a task known
    "arithmetic": "gnivo_edu.tasks.arithmetic:Arithmetic",
    "sums": "gnivo_edu.tasks.sums:Sums",
    "gsm8k": "gnivo_edu.tasks.gsm8k:gsm8k",
    "stories": "gnivo_edu.tasks.stories:stories",
    "dataset": "gnivo_edu.tasks.dataset:dataset",
}
NAMES = (*_MAKERS, *BENCHMARK_NAMES)
# Arithmetic whose characters are the tokens of a tokenizer.
_IN_TEXTS = "gnivo_edu.tasks.arithmetic_text:ArithmeticText"
_OTHER_NAMES = {
    "aime2024": "aime24",
    "aime2025": "aime25",
    "amc2023": "amc23",
    "amc": "amc23",
    "minerva": "minerva_math",
}


def names() -> tuple[str, ...]:
    """Names of all tasks but the toy environments."""
    return NAMES


def environments() -> list[str]:
    """Ids of all registered toy environments, in the order of their registration."""
    import gymnasium

    import toy_envs  # noqa: F401  # importing registers them

    return [name for name, spec in gymnasium.registry.items() if spec.namespace == "toy_envs"]


def environment(name: str, **options: Any) -> Any:
    """A token MDP by its id: `toy_envs/RandomTree-v0`, `RandomTree` in short, or `module:Id-v0`.

    The module of `module:Id-v0` registers the id when it is imported; it is also looked for in the
    current folder. `options` go to the environment, each of the type that it states. Raises
    ValueError, in one line, on a name that is not there (with the nearest one) and on options that
    do not fit.

    >>> environment("RandomTree", horizon=3).horizon
    3
    """
    import gymnasium

    full = _environment_id(name)
    with _made(name):
        maker = _environment_maker(full)
    options = convert_options(f"the task {name!r}", options, makers=[maker])
    with _made(name):
        unwrapped = gymnasium.make(full, **options).unwrapped
    if not isinstance(unwrapped, TokenMDP):
        raise ValueError(f"{name!r} is no token MDP: derive it from toy_envs.TokenMDP")
    unwrapped.name = full
    return unwrapped


def _environment_id(name: str) -> str:
    """The id of an environment, by its id, in short, or as `module:Id-v0`."""
    import gymnasium

    ids = environments()
    short = {_short(env_id): env_id for env_id in ids}
    if name.endswith(".py"):  # a module without an id: the ids of it will be told
        name = f"{name}:"
    full = name if ":" in name or name in gymnasium.registry else short.get(name)
    if full is None:
        hint = nearest(name, [*short, *ids], otherwise=f"known: {', '.join(short)}")
        raise ValueError(f"there is no environment {shown(name)}; {hint}; your own: module:Id-v0")
    return full.replace(".py:", ":")


def _environment_maker(full: str) -> Callable[..., Any]:
    """The class or function behind an id; its module is imported, and may register the id."""
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    module, colon, env_id = full.rpartition(":")
    if colon:
        import_module(module)
        if env_id not in gymnasium.registry:
            raise ValueError(f"name it {_ids_of(module)}, as gymnasium does")
    entry_point: Any = gymnasium.spec(env_id).entry_point
    if isinstance(entry_point, str):
        entry_point = load_env_creator(entry_point)
    if entry_point is None:
        raise ValueError(f"{env_id} is registered without an entry point")
    maker: Callable[..., Any] = entry_point
    return maker


def _ids_of(module: str) -> str:
    """`module:Id-v0` of each environment that a module has registered."""
    import gymnasium

    makers = {name: spec.entry_point for name, spec in gymnasium.registry.items()}
    ids = [
        f"{module}:{name}"
        for name, maker in makers.items()
        if module in (getattr(maker, "__module__", None), str(maker).partition(":")[0])
    ]
    return " or ".join(ids) or f"{module}:Id-v0, the id that the module registers (here none is)"


@contextmanager
def _made(name: str) -> Iterator[None]:
    """Inside, whatever an environment of somebody's own raises is said in one line."""
    try:
        with current_folder():
            yield
    # A module of the user's may raise anything while it is read, and may even call exit().
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"the task {name!r} cannot be made: {reason}") from error


def check_options(name: str, options: Mapping[str, Any], texts: bool = False) -> dict[str, Any]:
    """The options of the task of this name, each of the type that it states, before a model is
    loaded; `texts` as in `get`. The rows of a `dataset` are read, and its rewards tried. Raises
    ValueError, in one line, on what does not fit.

    >>> check_options("stories", {"stop": "###", "horizon": 8.0})
    {'stop': ['###'], 'horizon': 8}
    >>> check_options("stories", {"horizn": 8})
    Traceback (most recent call last):
    ValueError: the task 'stories' has no option 'horizn'; did you mean 'horizon'?
    """
    options = convert_task_options(name, options, texts=texts)
    if not _is_environment(name) and _canonical(name) == "dataset":
        from gnivo_edu.tasks.dataset import questions_of

        questions_of(options)  # reads the rows and tries the rewards
    return options


def convert_task_options(
    name: str, options: Mapping[str, Any], texts: bool = False
) -> dict[str, Any]:
    """As `check_options`, but nothing is read."""
    if _is_environment(name):
        with _made(name):
            makers = [_environment_maker(_environment_id(name))]
        return convert_options(f"the task {name!r}", options, makers=makers)
    name = _canonical(name)
    makers = [_maker(name)]
    if getattr(makers[0], "own_vocabulary", False):
        if texts:  # what it does not take itself goes to the task without texts
            makers.insert(0, resolve_name(_IN_TEXTS))
        return convert_options(f"the task {name!r}", options, makers=makers)
    # What a task in words does not take itself goes to the TextTask that it makes.
    makers.append(resolve_name("gnivo_edu.tasks.text_task:TextTask"))
    if name == "dataset":
        makers[0] = resolve_name("gnivo_edu.tasks.dataset:read_questions")
    return convert_options(f"the task {name!r}", options, makers=makers)


def get(
    name: str,
    tokenizer: Any = None,
    path_or_id: str | None = None,
    split: str | None = None,
    model: Any = None,
    texts: bool = False,
    **options: Any,
) -> Any:
    """The task of this name, a token MDP with prompts, rewards, grades and steps.

    A name of `names()`, or any that `environment` takes. `tokenizer` is that of the model that
    answers in words; `arithmetic` and toy environments have vocabularies of their own. `model`, if
    given, says with what more an answer ends. `texts`: arithmetic with its characters as the tokens
    of a tokenizer. `path_or_id` is a file, a folder or a hub id of the data; by default the
    published hub id. `split` "train" or "test" where a task has both. `options` go to the task: see
    `Arithmetic`, `gsm8k`, `benchmark`, `stories` and `TextTask`. Raises ValueError, in one line, on
    unknown names (with the nearest one), on unknown options, and on what the task does not take.

    >>> task = get("arithmetic", tiers=(2, 4), num_prompts=3, split="test")
    >>> task.decode(task.prompts()[0][1:]), task.horizon
    ('59+5-8=', 12)
    >>> get("toy_envs/RandomTree-v0").name
    'toy_envs/RandomTree-v0'
    >>> get("gsm8")
    Traceback (most recent call last):
    ValueError: there is no task 'gsm8'; did you mean 'gsm8k'?
    """
    data = {"split": split, "path_or_id": path_or_id}
    options |= {option: value for option, value in data.items() if value is not None}
    if _is_environment(name):
        return environment(name, **options)
    options = convert_task_options(name, options, texts=texts)
    name = _canonical(name)
    maker = _maker(name)
    if getattr(maker, "own_vocabulary", False):
        if tokenizer is not None:
            raise ValueError(
                f"the task {name!r} makes its own questions and has a vocabulary of its own: pass "
                "no tokenizer, take the model 'shipped' or one that `pretrain` made, or a task in "
                "words"
            )
        return resolve_name(_IN_TEXTS)(**options) if texts else maker(**options)
    if tokenizer is None:
        raise ValueError(
            f"the task {name!r} is answered in words, and the model comes without a tokenizer: "
            "pass the tokenizer, save it into the model's folder, or take another model"
        )
    if model is not None and "eos_token_ids" not in options:
        from gnivo_edu.tasks.prompting import end_tokens

        options["eos_token_ids"] = end_tokens(tokenizer, getattr(model, "generation_config", None))
    return maker(tokenizer=tokenizer, **options)


def load(
    model: str, task: str, dtype: Any = None, options: Mapping[str, Any] | None = None
) -> tuple[Any, Any]:
    """(policy, task) by their names, bound to one another: a table is made for its task, a task in
    words for its model's tokenizer.

    `dtype`: a torch dtype, float32 unless told; `options` go to the task. Raises ValueError, in one
    line, on what cannot be loaded or does not fit.

    >>> policy, task = load("table", "Brackets")
    >>> type(policy).__name__, task.name
    ('TabularLM', 'toy_envs/Brackets-v0')
    """
    import torch

    from gnivo_edu.policies import load_policy

    options = check_options(task, options or {})
    # A table is made of its task; a task in words is made for its model.
    of_table = get(task, **options) if model == "table" else None
    policy, tokenizer = load_policy(model, dtype or torch.float32, task=of_table)
    return policy, of_table or get(task, tokenizer, model=policy, **options)


def with_demonstrations() -> list[str]:
    """Names of the tasks without a tokenizer that write right answers to learn from.

    >>> with_demonstrations()
    ['arithmetic', 'toy_envs/ArithmeticChain-v0']
    """
    return [name for name in ("arithmetic", *environments()) if writes_answers(get(name))]


def writes_answers(task: TokenMDP) -> bool:
    """Whether a task writes demonstrations."""
    try:
        task.demonstrations(1, 0.0, seed=0)
    except ValueError:
        return False
    return True


def _short(env_id: str) -> str:
    return env_id.removeprefix("toy_envs/").rsplit("-v", 1)[0]


def _is_environment(name: str) -> bool:
    return "/" in name or ":" in name or name.endswith(".py") or name in map(_short, environments())


def _canonical(name: str) -> str:
    """A name as it is listed, whatever its case, marks and usual variants."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    same = {listed.replace("_", ""): listed for listed in NAMES} | _OTHER_NAMES
    if plain not in same:
        known = [*NAMES, *map(_short, environments())]
        hint = nearest(name, known, otherwise=f"known: {', '.join(known)}; your own: module:Id-v0")
        raise ValueError(f"there is no task {shown(name)}; {hint}")
    return same[plain]


def _maker(name: str) -> Callable[..., Any]:
    """What makes a task of `NAMES`."""
    if name in BENCHMARK_NAMES:
        return partial(resolve_name("gnivo_edu.tasks.benchmarks:benchmark"), name)
    maker: Callable[..., Any] = resolve_name(_MAKERS[name])
    return maker
