"""Settings of a command: defaults in code < preset < YAML file < flag. An unknown key or flag is an error.

A command's settings are a frozen dataclass derived from `Settings`, a Spark job's from `JobArgs`; each field is
made with `flag(…)`, which carries the help text. `parse_args` builds the command line from the fields, so a flag
exists in one place.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import reprlib
import sys
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lakerank.cli.errors import UserError
from lakerank.cli.stores import hide_secrets, secrets_in

_LARGEST_CONF = 64 << 10  # bytes: the longest of ours has one kilobyte
_DEEPEST = 50  # of lists within lists, stream and document included
AUTO = "auto"  # of a setting that is chosen by a program unless it is given
NOTHING = "none"  # of those settings is chosen
A = TypeVar("A", bound="Settings")


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers a setting may have: from `low` to `high`, both included unless they are open; None is unbounded."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        """Tell whether a number lies in it; NaN lies in none."""
        above = self.low is None or (value > self.low if self.open_low else value >= self.low)
        return above and (self.high is None or (value < self.high if self.open_high else value <= self.high))

    @property
    def must(self) -> str:
        """The range a number must be in, in words, e.g. `be above 0`."""
        if self.high is None:
            return f"be above {self.low}" if self.open_low else f"be at least {self.low}"
        if self.low is None:
            return f"be below {self.high}" if self.open_high else f"be at most {self.high}"
        if self.open_low and self.open_high:
            return f"be between {self.low} and {self.high}"
        return f"be {'above ' if self.open_low else ''}{self.low} to {'below ' if self.open_high else ''}{self.high}"


POSITIVE = Range(0, open_low=True)
NOT_NEGATIVE = Range(0)
AT_LEAST_ONE = Range(1)
PROBABILITY = Range(0, 1)
FRACTION_BELOW_ONE = Range(0, 1, open_high=True)
PROPER_FRACTION = Range(0, 1, open_low=True, open_high=True)


def flag(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    metavar: str | None = None,
    within: Range | None = None,
    check: Callable[[Any], bool] | None = None,
    must: str = "",
    positional: bool = False,
    auto: bool = False,
) -> Any:
    """Define a dataclass field that is also a command-line flag and a YAML key.

    Args:
        default: value when nobody sets it.
        help: one line for `--help`; say the unit.
        choices: the only values allowed.
        metavar: placeholder in the help text.
        within: the numbers allowed, e.g. `POSITIVE`.
        check: returns whether a value is allowed, where that is no range of numbers.
        must: what `check` wants, in words, e.g. "be 0 or at least 32".
        positional: given by its place on the command line; must be there unless the default is not None.
        auto: the word `auto` may be given, which stands for the default None.
    """
    if within is not None:
        check, must = within.__contains__, within.must
    metadata: dict[str, Any] = {"help": help, "choices": choices, "metavar": metavar, "check": check, "must": must}
    metadata |= {"positional": positional, "auto": auto}
    return dataclasses.field(default=default, metadata=metadata)


def auto_flag(names: Sequence[str], help: str) -> Any:
    """Define the setting that says which others a program chooses: names with commas between, or `NOTHING`.

    Args:
        names: of the settings that can be chosen.
        help: see `flag`.
    """
    return flag(
        None,
        help,
        check=lambda text: text == NOTHING or set(text.split(",")) <= set(names),
        must=f"be {NOTHING}, or of {', '.join(names[:-1])} and {names[-1]} with commas between",
    )


def _problem(field: dataclasses.Field[Any], value: Any) -> str | None:
    """Say what is wrong with a setting's value, or None."""
    meta = field.metadata
    # Whatever a range says: neither NaN nor infinity is a quantity, and no store holds more than 64 bits.
    if isinstance(value, float) and not math.isfinite(value):
        return f"`{field.name}` must be a finite number, not {value!r}"
    if isinstance(value, str) and not _is_text(value):
        return f"`{field.name}` must be text without NUL and in Unicode, not {_short(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return f"`{field.name}` must be a whole number of at most 64 bits, not {_short(value)}"
    unset = value is None and field.default is None  # to be filled by the settings themselves
    if meta.get("choices") is not None and not unset and value not in meta["choices"]:
        return f"`{field.name}` must be one of {', '.join(meta['choices'])}, not {_short(value)}"
    if value is None and not unset:
        return f"`{field.name}` must have a value; leave the key out for {field.default!r}"
    if meta.get("check") is not None and value is not None and not meta["check"](value):
        return f"`{field.name}` must {meta['must']}, not {_short(value)}"
    return None


def _is_text(value: str) -> bool:
    """Tell whether a text can be a file's name and a table's value: bytes that are no UTF-8 come as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


C = TypeVar("C", bound="CheckedSettings")


@dataclasses.dataclass(frozen=True)
class CheckedSettings:
    """Settings of one thing, such as a model, made with `flag(…)`; a command that has them derives from them, too."""

    def __post_init__(self) -> None:
        """Check the values, so that settings made in code, as notebooks do, are checked like those of a command line.

        Raises:
            UserError: a value is none of the choices, or out of its range.
        """
        for field in dataclasses.fields(self):
            if problem := _problem(field, getattr(self, field.name)):
                raise UserError(problem)

    @classmethod
    def from_settings(cls: type[C], settings: Any) -> C:
        """Return these settings out of an object that has them among others, as a command's settings do."""
        return cls(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)})

    @classmethod
    def from_values(cls: type[C], values: Mapping[str, Any], origin: str) -> C:
        """Return settings with these values instead of the defaults.

        Raises:
            UserError: a name is unknown, or a value of the wrong type or out of its range; `origin` is named.
        """
        hints, fields = typing.get_type_hints(cls), {field.name: field for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                raise _unknown(name, list(fields), origin)
        given = {name: None if _is_auto(fields[name], value) else value for name, value in values.items()}
        return cls(**{name: _coerce(name, value, _value_type(hints[name]), origin) for name, value in given.items()})


@dataclasses.dataclass(frozen=True)
class Settings(CheckedSettings):
    """Settings every command has."""

    # What is true of a run of this command that Ctrl-C ended, and what to type then; shown after "stopped; ".
    AFTER_STOP: typing.ClassVar[str] = "run the same command again"

    json: bool = flag(False, "print one JSON summary as the last line of standard output")
    verbose: bool = flag(False, "print all settings, not only those that differ from their defaults")

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Return named settings for `--preset`, if the command has any."""
        return {}

    def shown(self) -> dict[str, Any]:
        """Return the settings as they may be printed and stored: without tokens, keys and passwords."""
        return {
            name: hide_secrets(value, secrets_in(value)) if isinstance(value, str) else value
            for name, value in dataclasses.asdict(self).items()
        }


@dataclasses.dataclass(frozen=True)
class JobArgs(Settings):
    """Settings every Spark job has."""

    lake: str = flag("./lake", "folder (or catalog.schema) in which tables are looked up by name")
    master: str = flag("", "Spark master, e.g. local[2] or spark://host:7077 (default: spark-submit's)")
    remote: str = flag("", "Spark Connect address, e.g. sc://host:15002, or local[2]")


class _Parser(argparse.ArgumentParser):
    """Parse as argparse does, but complain in our one-sentence errors."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(f"{message if len(message) < 500 else message[:500] + '…'} (see --help)")


def _value_type(annotation: Any) -> type:
    """Return int for `int | None`; anything else unchanged."""
    if isinstance(annotation, types.UnionType):
        return typing.cast(type, next(part for part in typing.get_args(annotation) if part is not type(None)))
    return typing.cast(type, annotation)


def _coerce(name: str, value: Any, wanted: type, origin: str) -> Any:
    """Turn a YAML or preset value into the field's type, or say which key is wrong."""
    if value is None:
        return None
    if wanted is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-8 (no dot) as text
        except (ValueError, OverflowError):
            pass
    elif (wanted is str and isinstance(value, int | float) and not isinstance(value, bool)) or (
        wanted is not bool and isinstance(value, bool) is False and isinstance(value, wanted)
    ):
        try:
            return wanted(value)
        except ValueError:  # a number of more digits than Python makes a text of
            pass
    elif wanted is bool and isinstance(value, bool):
        return value
    elif wanted is str and isinstance(value, Mapping):  # `losses: {mse: 1.0}` is the flag's `mse=1.0`
        try:
            return ",".join(f"{key}={number}" for key, number in value.items())
        except ValueError:
            pass
    raise UserError(f"{origin}: `{name}` must be {wanted.__name__}, not {_short(value)}")


def _argument_type(field: dataclasses.Field[Any], wanted: type) -> Callable[[str], Any]:
    """Return what turns a flag's text into its value: the field's type, and the word `auto` where it may be given."""
    if not field.metadata["auto"]:
        return wanted

    def convert(text: str) -> Any:
        return text if text == AUTO else wanted(text)

    convert.__name__ = wanted.__name__  # argparse names it in its message
    return convert


def _is_auto(field: dataclasses.Field[Any], value: Any) -> bool:
    """Tell whether a value is the word `auto`, of a setting that takes it."""
    return bool(field.metadata["auto"]) and isinstance(value, str) and value == AUTO


class _Repr(reprlib.Repr):
    """Show values shortly, also numbers of more digits than Python makes a text of."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        """Show a whole number, a very long one by its size."""
        return super().repr_int(x, level) if x.bit_length() < 10_000 else f"a number of {x.bit_length()} bits"


def _short(value: Any) -> str:
    """Return a value as a message shows it, of which a file may hold very much."""
    return _Repr().repr(value)


def _unknown(key: str, known: Sequence[str], origin: str) -> UserError:
    close = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"
    return UserError(f"{origin}: unknown key `{_short(key)[1:-1]}`{hint}")


def _read_yaml(path: str) -> dict[str, Any]:
    import yaml  # here: few commands are given a file, and all of them wait for the import

    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST_CONF + 1)
        if len(text) > _LARGEST_CONF:
            raise UserError(f"--conf {path}: more than {_LARGEST_CONF >> 10} KiB cannot be settings")
        kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
        loader = kind(text.decode("utf-8"))
        _check_depth(yaml.parse(text.decode("utf-8"), Loader=kind))  # beforehand: nodes are made by recursion, in C too
        try:
            node = loader.get_single_node()
            if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
                return {}
            loaded = loader.construct_document(node) if _is_plain(node) else None
        finally:
            loader.dispose()
    except OSError as error:
        raise UserError(f"--conf {path}: cannot read it ({error.strerror})") from error
    # ValueError, TypeError and more: what YAML takes for a date or a number, and Python does not.
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError, KeyError, IndexError) as error:
        told = " ".join(str(error).split())[:300]
        raise UserError(f"--conf {path}: not valid YAML: {told}") from error
    if not isinstance(node, yaml.MappingNode):
        kind = "list" if isinstance(node, yaml.SequenceNode) else "single value"
        raise UserError(f"--conf {path}: must be `key: value` lines, not a {kind}")
    if loaded is None:
        raise UserError(f"--conf {path}: settings are plain values; aliases (*name) and merges (<<) are not read")
    names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    if twice := next((name for name, times in names.items() if times > 1), ""):
        raise UserError(f"--conf {path}: the key `{_short(twice)[1:-1]}` comes twice; keep one")
    if odd := next((key for key in loaded if not isinstance(key, str)), None):
        raise UserError(f"--conf {path}: {_short(odd)} is no name of a setting; put quotes around it if it is one")
    return dict(loaded)


def _check_depth(events: Iterable[Any]) -> None:
    """Refuse YAML of which no settings are.

    Raises:
        ValueError: lists within lists, deeper than `_DEEPEST`.
    """
    depth = 0
    for event in events:
        name = type(event).__name__
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")


def _is_plain(node: Any) -> bool:
    """Tell whether a YAML node is small when it is made: a page of aliases of aliases would fill the memory."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            return False
        seen.add(id(one))
        if one.id == "sequence":
            waiting += one.value
        elif one.id == "mapping":
            if any(key.tag.endswith(":merge") for key, _ in one.value):
                return False
            waiting += [part for pair in one.value for part in pair]
    return True


def _build_parser(args_class: type[Settings], name: str, doc: str, hints: Mapping[str, Any]) -> argparse.ArgumentParser:
    parser = _Parser(prog=name, description=doc.strip().split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--conf", default=None, metavar="FILE", help="YAML file of settings (flags win over it)")
    if args_class.presets():
        parser.add_argument("--preset", default=None, choices=sorted(args_class.presets()), help="named settings")
    for field in dataclasses.fields(args_class):
        option = "--" + field.name.replace("_", "-")
        meta = field.metadata
        default_text = "" if field.default in ("", None) else f" (default: {field.default})"
        text = (meta["help"] + default_text).replace("%", "%%")
        if meta["positional"]:
            parser.add_argument(
                field.name,
                type=_value_type(hints[field.name]),
                choices=meta["choices"],
                metavar=meta["metavar"] or field.name.upper(),
                nargs=None if field.default is None else "?",
                help=text,
            )
        elif _value_type(hints[field.name]) is bool:
            parser.add_argument(option, dest=field.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            parser.add_argument(
                option,
                dest=field.name,
                type=_argument_type(field, _value_type(hints[field.name])),
                choices=meta["choices"],
                metavar=meta["metavar"],
                default=None,
                help=text,
            )
    return parser


def parse_args(args_class: type[A], name: str, doc: str, argv: Sequence[str] | None = None) -> A:
    """Resolve a command's settings from code, preset, YAML and flags, check them, and print what is no default.

    Raises:
        UserError: unknown flag, key or preset, a value of the wrong type or outside its range.
    """
    hints = typing.get_type_hints(args_class)
    fields = {field.name: field for field in dataclasses.fields(args_class)}
    parser = _build_parser(args_class, name, doc, hints)
    given = vars(parser.parse_args(argv))
    conf, preset = given.pop("conf"), given.pop("preset", None)

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(layer: Mapping[str, Any], origin: str) -> None:
        for key, value in layer.items():
            plain = str(key).replace("-", "_")
            if plain not in fields:
                raise _unknown(str(key), list(fields), origin)
            value = None if _is_auto(fields[plain], value) else value
            values[plain] = _coerce(plain, value, _value_type(hints[plain]), origin)
            origins[plain] = origin

    from_file = _read_yaml(conf) if conf else {}
    preset = preset or from_file.pop("preset", None)
    if preset is not None:
        preset = preset if isinstance(preset, str) else _short(preset)
        if preset not in args_class.presets():
            raise UserError(f"unknown preset `{preset}`; known: {', '.join(args_class.presets()) or 'none'}")
        take(args_class.presets()[preset], f"preset {preset}")
    take(from_file, f"file {conf}")
    take({key: value for key, value in given.items() if value is not None}, "flag")

    for key, value in values.items():
        if problem := _problem(fields[key], value):
            raise UserError(f"{origins[key]}: {problem}")
    args = args_class(**values)
    _print_settings(name, args, fields, origins)
    return args


def _print_settings(
    name: str, args: Settings, fields: Mapping[str, dataclasses.Field[Any]], origins: Mapping[str, str]
) -> None:
    """Print what differs from the defaults, and where it comes from; with `--verbose`, everything."""
    shown = args.shown()
    if not args.verbose:
        shown = {key: value for key, value in shown.items() if getattr(args, key) != fields[key].default}
    print(f"{name}: settings" if shown else f"{name}: default settings (--verbose lists them)")
    for key, value in shown.items():
        note = f"   ({origins[key]})" if key in origins else ""
        line = f"  {key.replace('_', '-')}: {value}{note}"
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # of a console that may know less than Unicode
        print(line.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()
