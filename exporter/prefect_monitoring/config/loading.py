"""Loads settings from flags, environment variables, a YAML file and files of secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from prefect_monitoring.config.assets import ASSET_KEYS
from prefect_monitoring.config.custom_metrics import KEYS
from prefect_monitoring.config.faults import did_you_mean, dotted, reason_of
from prefect_monitoring.config.secrets import SecretFileError, read_secret
from prefect_monitoring.config.settings import (
    CONFIG_ENV,
    ENV_PREFIX,
    GROUP_OF,
    GROUPS,
    NEEDS,
    OPTIONS,
    SECRETS,
    Settings,
    SettingsError,
    env_name,
    flag_name,
    in_groups,
    notation_of,
)
from prefect_monitoring.config.yaml_lines import NotYamlError, RepeatedKeyError, read_yaml

# Variables that Kubernetes adds to pods for a Service with our name; no option has such a name.
_SERVICE_LINK: Final = re.compile(ENV_PREFIX + r"(?:SERVICE_(?:HOST|PORT\w*)|PORT(?:_\d+_\w+)?)")


# The keys of lists that are documented on a separate page.
_KEYS: Final = {"custom_metrics": KEYS, "assets": ASSET_KEYS}

_Where = Callable[[Sequence[object]], str]


@dataclass(frozen=True, slots=True)
class _Given:
    """The options of one source, how it spells their names, and where in it an option or a nested value is."""

    options: Mapping[str, object]
    spell: Callable[[str], str]
    where: _Where


def load_settings(flags: Mapping[str, str], environment: Mapping[str, str], config: Path | None = None) -> Settings:
    """The settings from flags, environment and the YAML file `config`; a flag beats the environment beats the file.

    Raises SettingsError, which names every wrong option and where it was given.
    """
    given = [_from_flags(flags), _from_environment(environment)]
    if config is not None:
        given.append(_from_file(config))
    places = {option: source.where for source in reversed(given) for option in source.options}
    exposed = [option for option, value in flags.items() if option in OPTIONS and notation_of(option).is_secret(value)]
    faults = [*_unknown(given), *map(_exposed, exposed)]
    from_files: list[str] = []

    class Loaded(BaseSettings, Settings):
        model_config = SettingsConfigDict(hide_input_in_errors=True)

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = [_Options(settings_cls, source.options, without=exposed) for source in given]
            return (*sources, _SecretFiles(settings_cls, places, from_files))

    loaded = None
    try:
        loaded = Loaded()
    except ValidationError as error:
        faults += [_invalid(fault, places) for fault in error.errors(include_url=False, include_input=False)]
    faults += [*from_files, *_incomplete(places)]
    if faults or loaded is None:
        raise SettingsError("\n".join(faults))
    settings = Settings(**{group: getattr(loaded, group) for group in GROUPS})
    for index, metric in enumerate(settings.metrics.custom_metrics):
        metric.placed(places["custom_metrics"](["custom_metrics", index]))
    return settings


class _Options(PydanticBaseSettingsSource):
    """The options of one source."""

    def __init__(
        self, settings_cls: type[BaseSettings], options: Mapping[str, object], without: Collection[str]
    ) -> None:
        super().__init__(settings_cls)
        self._groups = in_groups(
            {option: value for option, value in options.items() if option in OPTIONS and option not in without}
        )

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 the library's
        return self._groups.get(field_name), field_name, True

    def __call__(self) -> dict[str, Any]:
        return dict(self._groups)


class _SecretFiles(_Options):
    """Secrets from the files that earlier sources name; appends the faults of these files to `faults`."""

    def __init__(self, settings_cls: type[BaseSettings], places: dict[str, _Where], faults: list[str]) -> None:
        super().__init__(settings_cls, {}, ())
        self._places, self._faults = places, faults

    def __call__(self) -> dict[str, Any]:
        secrets: dict[str, object] = {}
        for secret in SECRETS:
            file = f"{secret}_file"
            path = self.current_state.get(GROUP_OF[secret], {}).get(file)
            if not isinstance(path, str) or not path:  # refused by the type of the option
                continue
            where = self._places[file]
            if secret in self._places:
                places = f"{self._places[secret]([secret])} and {where([file])}"
                self._faults.append(f"{places}: both give {secret}: leave one of them out")
                continue
            self._places[secret] = _fixed(where([file]))
            try:
                secrets[secret] = read_secret(path)
            except SecretFileError as fault:
                self._faults.append(f"{where([file])}: {fault}")
        return dict(in_groups(secrets))


def _from_flags(flags: Mapping[str, str]) -> _Given:
    return _Given(flags, flag_name, _named_by(flag_name))


def _from_environment(environment: Mapping[str, str]) -> _Given:
    options = {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENV_PREFIX) and name != CONFIG_ENV and not _SERVICE_LINK.fullmatch(name)
    }
    return _Given(options, env_name, _named_by(env_name))


def _fixed(place: str) -> _Where:
    return lambda _: place


def _named_by(spell: Callable[[str], str]) -> _Where:
    def where(path: Sequence[object]) -> str:
        return spell(str(path[0])) + (f" ({dotted(path[1:])})" if path[1:] else "")

    return where


def _from_file(path: Path) -> _Given:
    # Never the parser's own message: it quotes the file, which may hold secrets.
    advice = "is not YAML: write `key: value` lines in UTF-8, and text with special characters in quotes"
    try:
        document = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: {advice}") from None
    except RepeatedKeyError as error:
        texts = [fault.text if fault.key in OPTIONS else "a key is given twice" for fault in error.faults]
        lines = [f"{path}:{fault.line}: {text}" for fault, text in zip(error.faults, texts, strict=True)]
        raise SettingsError("\n".join(lines)) from None
    except NotYamlError as error:
        raise SettingsError(f"{path}:{error.faults[0].line}: {advice}") from None
    content = {} if document.content is None else document.content
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold options as `key: value` lines, such as `poll_interval: 15s`")
    options = {str(key): value for key, value in content.items()}
    return _Given(options, str, lambda steps: f"{path}:{document.line_of(steps)}: {dotted(steps)}")


def _unknown(given: Iterable[_Given]) -> Iterator[str]:
    for source in given:
        for option in source.options:
            if option not in OPTIONS:
                meant = did_you_mean(option, OPTIONS)
                advice = f"did you mean {source.spell(meant)}?" if meant else "docs/configuration.md lists them all"
                yield f"{source.where([option])}: there is no such option; {advice}"


def _exposed(option: str) -> str:
    return (
        f"{flag_name(option)}: every user of the machine can read a command line: give the secret as a file"
        f" ({flag_name(option)}-file) or as {env_name(option)}"
    )


def _invalid(fault: ErrorDetails, places: Mapping[str, _Where]) -> str:
    _, *path = fault["loc"]
    reason = reason_of(fault)
    if fault["type"] == "extra_forbidden" and path[0] in _KEYS:
        meant = did_you_mean(str(path[-1]), _KEYS[str(path[0])])
        advice = f"did you mean `{meant}`?" if meant else "docs/custom-metrics.md lists them"
        reason = f"there is no such key; {advice}"
    return f"{places[str(path[0])](path)}: {reason}"


def _incomplete(places: Mapping[str, _Where]) -> Iterator[str]:
    """Options that were given without the option that they need."""
    mentioned = {option.removesuffix("_file") for option in places}
    for option, needed in NEEDS.items():
        if option in mentioned and needed not in mentioned:
            where = places[option]([option]) if option in places else places[f"{option}_file"]([f"{option}_file"])
            yield f"{where}: needs {needed}: give both, or neither"
