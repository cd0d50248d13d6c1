"""Merge a command's YAML defaults with a file and ``key=value`` overrides; unknown or mistyped keys fail by name.

A command's root file, ``configs/COMMAND.yaml``, holds keys of its own and ``groups``: which file of which folder it
starts from (``dataset: pusht`` is ``configs/dataset/pusht.yaml``). The merged configuration is a plain dictionary with
one sub-dictionary per group, whose ``base`` says which shipped file it started from. A group's file may have ``groups``
too: what other groups start from when it is chosen and nothing else is asked for. The YAML files are the schema: what
they do not name is an unknown key, except inside ``*kwargs``, which belong to somebody else's function. Where a key
holds a mapping with a ``path``, the path alone will do: ``dataset=FOLDER`` for ``dataset.path=FOLDER``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

Config = dict[str, Any]

ROOT = Path(__file__).parent


def load(command: str, overrides: Sequence[str] = (), file: str | Path | None = None) -> Config:
    """Configuration of a command: its defaults, then ``file``, then ``overrides`` from left to right.

    Args:
        command: name of a root file, see :func:`commands`.
        overrides: ``group=name`` (a shipped file), ``group=my.yaml`` (a file of one's own over the shipped one that
            its ``base`` key names), ``key=value`` or ``group.key=value``. A key without its group is understood
            where only one place has it, or one lies nearer to the top than all others.
        file: YAML of the same shape as the result (:func:`to_yaml` writes one); a group may be just a name.

    Returns:
        A new nested dictionary of plain Python values.

    Raises:
        ValueError: unknown command, group, name or key (names the nearest), or a value of the wrong type.
        FileNotFoundError: a YAML file that does not exist.
    """
    if command not in commands():
        raise ValueError(_unknown("command", command, commands()))
    root = _read(ROOT / f"{command}.yaml")
    defaults: dict[str, str] = root.pop("groups", {})
    from_file = {} if file is None else _read(Path(file))
    pairs = [_split(override) for override in overrides]

    named = {key: _base(value) for key, value in from_file.items() if key in defaults}
    asked = {key: value for key, value in named.items() if value is not None}
    asked |= {key: value for key, value in pairs if key in defaults}
    choices = defaults | asked
    config: Config = {name: _group(name, choice, defaults[name]) for name, choice in choices.items()}
    for name, choice in _companions(config).items():
        if name not in asked:
            config[name] = _group(name, choice, defaults[name])
    _companions(config)
    config |= root
    _merge(config, {key: value for key, value in from_file.items() if key not in choices or not isinstance(value, str)})
    for key, value in pairs:
        if key not in choices:
            _merge(config, _nest(_resolve(config, key), _parse(value)))
    return config


def commands() -> list[str]:
    """Names of the commands that have a root file."""
    return sorted(path.stem for path in ROOT.glob("*.yaml"))


def groups(command: str) -> dict[str, str]:
    """The groups of a command and the file each starts from."""
    return dict(_read(ROOT / f"{command}.yaml").get("groups", {}))


def options(group: str) -> list[str]:
    """Names of the files shipped for a group."""
    return sorted(path.stem for path in (ROOT / group).glob("*.yaml"))


def yaml_text(command: str, group: str | None = None, name: str | None = None) -> str:
    """A shipped YAML file as it stands, comments included: the root file of a command or one file of a group."""
    path = ROOT / f"{command}.yaml" if group is None else ROOT / group / f"{name}.yaml"
    return path.read_text()


def to_yaml(config: Mapping[str, Any]) -> str:
    """A merged configuration as YAML; :func:`load` reads it back through ``file``."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


def _base(value: Any) -> str | None:
    """The shipped file that a group of a user's file starts from: its name alone, or ``base`` among its keys."""
    return value if isinstance(value, str) else value.get("base") if isinstance(value, Mapping) else None


def _group(group: str, choice: str, default: str) -> Config:
    """The dictionary of one group: a shipped file, or a user's file merged over a shipped one."""
    names = options(group)
    if not choice.endswith((".yaml", ".yml")):
        if choice not in names:
            raise ValueError(_unknown(group, choice, names) + f" A file of your own: {group}=path/to/file.yaml")
        return {"base": choice} | _read(ROOT / group / f"{choice}.yaml")
    own = _read(Path(choice))
    base = _group(group, own.pop("base", default), default)
    _merge(base, own, where=f"{choice}: ")
    return base


def _companions(config: Config) -> dict[str, str]:
    """What the groups' files say that other groups start from; taken out of them."""
    found: dict[str, str] = {}
    for group in config.values():
        found |= group.pop("groups", {})
    return found


def _merge(base: Config, update: Mapping[str, Any], prefix: str = "", where: str = "") -> None:
    """Write ``update`` into ``base``, which names every key there is and, by its value, each key's type."""
    for key, value in update.items():
        path = f"{prefix}{key}"
        free = prefix.rstrip(".").endswith("kwargs")
        if key not in base and not free:
            raise ValueError(where + _unknown("key", path, [f"{prefix}{known}" for known in base if known != "base"]))
        old = base.get(key)
        if isinstance(old, dict) and "path" in old and isinstance(value, str):
            old["path"] = value
        elif isinstance(old, dict) and isinstance(value, Mapping):
            _merge(old, value, f"{path}.", where)
        else:
            base[key] = value if free else _checked(where + path, old, value)


def _checked(path: str, default: Any, value: Any) -> Any:
    """``value`` as the type of ``default``. ``None`` says nothing of the type: there the dataclass decides.

    It also decides about a list in place of a text, since a text may be the name of a usual list.
    """
    expected = type(default)
    if expected is str and isinstance(value, list):
        return value
    if default is None or value is None or type(value) is expected:
        return value
    if expected is float and type(value) is int:
        return float(value)
    if expected is int and type(value) is float and value.is_integer():  # 1e5
        return int(value)
    if expected is str and type(value) in (int, float):
        return str(value)
    name = {"dict": "mapping", "list": "list, as in [1, 2]"}.get(expected.__name__, expected.__name__)
    raise ValueError(f"{path}: expected {name} (default {default!r}), got {value!r} ({type(value).__name__})")


def _resolve(config: Config, key: str) -> str:
    """The full path of a key that may be given without its group; a full path stands for itself."""
    head, dot, rest = key.partition(".")
    if head in config:
        return key  # _merge complains, by name, about what does not exist
    likely, other = ([p for p in _paths(config, kind) if p.endswith(f".{head}")] for kind in (bool(dot), not dot))
    found = likely or other
    depth = min((path.count(".") for path in found), default=0)
    nearest = [path for path in found if path.count(".") == depth]
    if len(nearest) == 1:
        return nearest[0] + dot + rest
    if found:
        raise ValueError(f"key {key!r} stands in several places: say which of {', '.join(found)}")
    named = [name for name, value in config.items() if isinstance(value, dict) and "base" in value]
    raise ValueError(_unknown("key", key, [*named, *_paths(config)]))


def _paths(config: Mapping[str, Any], mappings: bool = False, prefix: str = "") -> Iterator[str]:
    """Full paths of the keys that hold values, or of those that hold further keys; ``*kwargs`` do both."""
    for key, value in config.items():
        free = key.endswith("kwargs")
        if key != "base" and (free or isinstance(value, dict) == mappings):
            yield f"{prefix}{key}"
        if isinstance(value, dict) and not free:
            yield from _paths(value, mappings, f"{prefix}{key}.")


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    last = {path.rpartition(".")[2]: path for path in reversed(known)}
    near = difflib.get_close_matches(name.rpartition(".")[2], last, n=1)
    hint = f" Did you mean {last[near[0]]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{hint} There is: {', '.join(known) or 'none'}."


def _split(override: str) -> tuple[str, str]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ValueError(f"expected key=value or group=name, got {override!r}")
    return key, value


def _parse(value: str) -> Any:
    """A command line value as YAML understands it: 3, 1e-4, true, null, [1, 2], text."""
    try:
        return OmegaConf.to_object(OmegaConf.from_dotlist([f"value={value}"]))["value"]  # type: ignore[call-overload,index]
    except (OmegaConfBaseException, ValueError) as error:
        raise ValueError(f"could not read the value {value!r}: {error}") from error
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise ValueError(f"could not read the value {value!r}: {error}") from error
        raise


def _nest(path: str, value: Any) -> Config:
    for key in reversed(path.split(".")):
        value = {key: value}
    return cast(Config, value)


def _read(path: Path) -> Config:
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {str(path)!r}")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:
        raise ValueError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected key: value lines, got a {type(content).__name__}")
    return cast(Config, content)
