"""The settings: one table, and the only place that reads the environment and suite.toml."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import platformdirs

from suite.errors import SettingsError
from suite.text.secret import is_secret, masked_text

APP = "local-ai-suite"


@dataclass(frozen=True)
class Setting:
    """One row of the table: `name` in Python and suite.toml, `env` in the environment."""

    name: str
    env: str
    type: type
    default: Any
    sentence: str
    identity: bool = False  # two stacks that differ here are not the same stack: a guest is refused
    choices: tuple[str, ...] = ()
    secret: bool = False  # only a digest of its value leaves this file
    low: float | None = None
    high: float | None = None


def _s(name: str, type_: type, default: Any, sentence: str, *, env: str = "", **more: Any) -> Setting:
    return Setting(name, env or name.upper(), type_, default, sentence, **more)


TABLE: tuple[Setting, ...] = (
    _s("data_dir", Path, None, "Where everything is kept; eight folders, plus backups, reports and run."),
    _s("models_dir", Path, None, "Where model weights are kept; the folder `models` of the data directory when empty.", identity=True),
    _s("reports_dir", Path, None, "Where executed runbooks are archived; the folder `reports` of the data directory when empty."),
    _s("ci_result", Path, None, "The result file of the finished test job of this commit (`suite ci record` writes one), which check P4.2 demands; "
       "none when empty."),
    _s("waivers", Path, None, "TOML file of waivers beside those of criteria.toml: who answers, until when, for what does not hold; none when "
       "empty."),
    _s("workspace_dir", Path, None, "The folder that file tools work in; the current directory when empty.", identity=True),
    _s("workspace_roots", str, "", "Further folders that file tools work in, separated by colons; none when empty.", identity=True),
    _s("profile", str, "smoke", "Which models run on which hardware (models/profiles.toml).", env="SUITE_PROFILE", identity=True),
    _s("stage", str, "dev", "Which policy applies.", env="SUITE_STAGE", identity=True, choices=("dev", "staging", "prod")),
    _s("bind", str, "127.0.0.1", "The address all ports listen on.", env="SUITE_BIND"),
    _s("port_base", str, "0", "Added to every port number; `auto` looks for a free range.", env="SUITE_PORT_BASE"),
    _s("database_url", str, "", "SQLAlchemy URL of the database; SQLite in the data directory when empty.", identity=True),
    _s("monitoring_enabled", bool, True, "Whether the stack is watched: targets, metrics and their history, on port 9090."),
    _s("monitoring_interval", float, 15.0, "Seconds between two looks at all targets.", low=1, high=3600),
    _s("monitoring_days", float, 30.0, "Days for which metrics are kept; after two days one sample in five minutes.", low=1, high=3650),
    _s("alertmanager_enabled", bool, True, "Whether anybody is told of alerts (notebook, mail, webhook, Alertmanager); port 9093."),
    _s("alertmanager_url", str, "", "An Alertmanager that alerts are forwarded to, such as http://127.0.0.1:9093; none when empty."),
    _s("prometheus_url", str, "", "A Prometheus that watches this stack too; then checks, `bench.monitoring` and panels read it. None when empty."),
    _s("alert_webhook_url", str, "", "Where notifications are posted to, as Alertmanager would; it is never shown.", secret=True),
    _s("alert_webhook_token", str, "", "The bearer token for it; it is never shown.", secret=True),
    _s("log_level", str, "INFO", "The least level that is written to the log file.", choices=("DEBUG", "INFO", "WARNING", "ERROR")),
    _s("loki_retention", int, 30, "Days for which lines of the log are kept.", low=1, high=3650),
    _s("loki_url", str, "", "A Loki that the log is shipped to as well, such as http://127.0.0.1:3100; none when empty."),
    _s("loki_user", str, "", "Who logs in there, with LOKI_TOKEN as the password; when empty LOKI_TOKEN is sent as a bearer token."),
    _s("loki_token", str, "", "With which token or password; it is never shown.", secret=True),
    _s("otel_exporter_otlp_endpoint", str, "", "An OTLP/HTTP collector that traces are sent to, such as http://127.0.0.1:4318 (needs the extra "
       "`otel`); none when empty."),
    _s("chat_model", str, "", "GGUF file of the chat server, a name in MODELS_DIR or a path; the profile's when empty.", identity=True),
    _s("code_model", str, "", "GGUF file of the code server, a name in MODELS_DIR or a path; the profile's when empty.", identity=True),
    _s("chat_n_gpu_layers", int, -1, "Layers of the chat model on the GPU; the profile's when -1.", low=-1),
    _s("code_n_gpu_layers", int, -1, "Layers of the code model on the GPU; the profile's when -1.", low=-1),
    _s("llama_threads", int, 0, "Threads per model server; cores minus one when 0.", low=0, high=512),
    _s("llama_ctx", int, 0, "Context of a model server in tokens; the profile's when 0.", low=0, high=1 << 20),
    _s("llama_batch", int, 256, "Tokens read in one step of the prompt.", low=16, high=8192),
    _s("llama_slots", int, 0, "Replies that a model server writes at once; the profile's when 0.", low=0, high=64),
    _s("llama_kv_tokens", int, 0, "Tokens that all conversations of a model server keep together; the profile's when 0.", low=0, high=1 << 22),
    _s("llama_kv_type", str, "f16", "How those tokens are kept: `q8_0` takes half the memory of `f16`.", choices=("f16", "q8_0")),
    _s("llama_queue", int, 64, "Requests that may wait for a model server; one more is refused with 503.", low=1, high=4096),
    _s("llama_idle_unload", float, 0.0, "Seconds without a request after which a model is unloaded (and loaded again on demand); never when 0.",
       low=0, high=604_800),
    _s("serving_isolation", str, "kernel", "Where models run: in this process, or each in a supervised child that may die without harm.",
       choices=("kernel", "process")),
    _s("licence_waiver", str, "", "Catalogue models, comma-separated, whose restricted licence somebody has cleared for stage prod."),
    _s("hf_endpoint", str, "https://huggingface.co", "The model hub that `suite models pull` fetches from."),
    _s("llama_temp", float, 0.3, "Sampling temperature when a request names none.", low=0, high=2),
    _s("llama_top_p", float, 0.9, "Nucleus sampling when a request names none.", low=0.01, high=1),
    _s("llama_repeat_penalty", float, 1.05, "Repeat penalty when a request names none.", low=0.5, high=2),
    _s("api_gateway_chat_model", str, "chat-7b", "The gateway's alias of the chat server.", identity=True),
    _s("api_gateway_code_model", str, "code-7b", "The gateway's alias of the code server.", identity=True),
    _s("api_gateway_upstreams", Path, None, "TOML file of model servers by URL and their order for each alias; none when empty."),
    _s("llm_request_timeout", float, 60.0, "Seconds a reply may take before the gateway gives up.", low=1, high=3600),
    _s("llm_connect_timeout", float, 3.0, "Seconds a model server by URL may take to accept a connection.", low=0.1, high=60),
    _s("llm_first_token_timeout", float, 60.0, "Seconds a model server by URL may take to begin a reply.", low=0.1, high=3600),
    _s("breaker_failures", int, 3, "Failures in a row after which the gateway leaves a model server alone for a while.", low=1, high=1000),
    _s("breaker_seconds", float, 10.0, "Seconds until the gateway tries such a server again with one request.", low=0.1, high=3600),
    _s("embedding_model", str, "auto", "The embedding model of the catalogue; `auto`: multilingual-e5-small once it was pulled, until then minilm.",
       identity=True),
    _s("embedding_batch_size", int, 16, "Texts embedded at once.", low=1, high=256),
    _s("embedding_threads", int, 0, "Threads of the embedder; all cores when 0.", low=0, high=512),
    _s("embedding_max_texts", int, 1024, "Texts in one request; more is refused.", low=1, high=100_000),
    _s("embedding_max_chars", int, 8000, "Characters in one text; more is refused.", low=16, high=1_000_000),
    _s("embedding_cache_mb", int, 256, "Megabytes of computed vectors kept on disk, so that a text is not embedded twice; none when 0.", low=0,
       high=1_000_000),
    _s("qdrant_url", str, "", "A Qdrant server or cluster; the embedded store when empty.", identity=True),
    _s("qdrant_api_key", str, "", "The key that a protected Qdrant server demands; it is never shown.", secret=True),
    _s("qdrant_timeout", float, 30.0, "Seconds a Qdrant server may take to answer.", low=1, high=600),
    _s("rag_topk", int, 4, "Chunks that an answer is written from.", low=1, high=50),
    _s("rag_chunk_size", int, 128, "Tokens of the embedding model per chunk, at most.", low=16, high=8192),
    _s("rag_chunk_overlap", int, 24, "Tokens that neighbouring chunks share, at most; whole sentences.", low=0, high=4096),
    _s("rag_context_tokens", int, 1200, "Tokens of passages that an answer is written from, at most; about.", low=40, high=1_000_000),
    _s("rag_cache_hours", float, 6.0, "Hours for which the answer to a question that is asked again is kept; none is kept when 0.", low=0, high=8760),
    _s("rag_llm_max_tokens", int, 256, "Tokens in an answer, at most.", low=1, high=8192),
    _s("rag_llm_temperature", float, 0.0, "Sampling temperature of answers.", low=0, high=2),
    _s("rag_reranker", str, "", "The reranker of the catalogue that orders found passages anew; none when empty."),
    _s("rag_default_collection", str, "default", "The collection that is used when none is named."),
    _s("rag_roots", str, "", "Folders below which documents may be read, separated by colons; when empty the home directory, WORKSPACE_DIR and "
       "DATA_DIR, without what is hidden in them.", identity=True),
    _s("rag_max_file_mb", int, 10, "Megabytes of a text file; a larger one is not indexed.", low=1, high=1024),
    _s("rag_max_packed_mb", int, 100, "Megabytes of a PDF, DOCX or HWPX file; a larger one is not indexed.", low=1, high=2048),
    _s("rag_parse_seconds", float, 60.0, "Seconds that reading one PDF, DOCX, HWPX or HTML file may take.", low=0.1, high=3600),
    _s("rag_parse_mb", int, 1024, "Megabytes of memory that reading one PDF, DOCX, HWPX or HTML file may take.", low=64, high=65_536),
    _s("rag_dask_url", str, "", "A Dask scheduler, such as tcp://host:8786, whose workers read and embed what is added; this machine when empty."),
    _s("default_project_id", str, "default-project", "The project that memories belong to when none is named."),
    _s("memory_context_tokens", int, 400, "Tokens of earlier turns that a chat which remembers is given, at most; about.", low=0, high=100_000),
    _s("memory_sync_interval", float, 300.0, "Seconds between two vector syncs of memories.", low=0.05, high=86_400),
    _s("ttl_check_interval", float, 3600.0, "Seconds between two sweeps of expired memories.", low=0.05, high=86_400),
    _s("memory_backup_cron", str, "03:00", "Local time of the daily backup, HH:MM."),
    _s("rbac_enabled", bool, True, "Whether roles decide who may call which tool.", identity=True),
    _s("security_mode", str, "", "From which sensitivity on calls need an approval: `legacy` CRITICAL, `normal` HIGH, `strict` MEDIUM; when empty "
       "`normal`, in stage prod `strict`.", identity=True, choices=("", "legacy", "normal", "strict")),
    _s("approval_workflow_enabled", bool, True, "Whether sensitive calls wait for an approval; when false they go ahead, which the record says.",
       identity=True),
    _s("approval_timeout", float, 300.0, "Seconds that a call waits for an approval, and that a grant then holds.", low=1, high=86_400),
    _s("approval_max_pending", int, 50, "Calls that may wait for an approval at once; one more is refused with 429.", low=1, high=10_000),
    _s("smtp_host", str, "", "The mail server by which it is told that a call waits, and what was decided; no mail when empty."),
    _s("smtp_port", int, 587, "The port of that mail server.", low=1, high=65_535),
    _s("smtp_starttls", bool, True, "Whether the connection is encrypted before anything is said."),
    _s("smtp_user", str, "", "Who logs in there; nobody when empty."),
    _s("smtp_password", str, "", "With which password; it is never shown.", secret=True),
    _s("smtp_from", str, "", "The sender of that mail; SMTP_TO when empty."),
    _s("smtp_to", str, "", "Who gets it; no mail when empty."),
    _s("rate_limit_enabled", bool, True, "Whether tools may be called only so often, and so often at once, by one actor.", identity=True),
    _s("sandbox_enabled", bool, True, "Whether programs of callers may run, in the sandbox; when false they do not run at all.", identity=True),
    _s("mcp_max_sessions", int, 10, "Sessions of programs that keep their folder between calls, at once.", low=1, high=1000),
    _s("mcp_session_timeout", float, 3600.0, "Seconds after which a session that nobody uses ends.", low=1, high=604_800),
    _s("web_browser", str, "", "The Chromium that web tools use; the one on PATH when empty."),
    _s("web_allowed", str, "", "Hosts, or host:port, comma-separated, that web tools may reach though they are on this machine or its network."),
    _s("web_seconds", float, 60.0, "Seconds that a web tool may take.", low=1, high=600),
    _s("notion_token", str, "", "The token of a Notion integration; it is never shown.", secret=True),
    _s("notion_url", str, "https://api.notion.com", "Where Notion's API is: https, or http on this machine."),
    _s("api_key", str, "", "The API key of whoever uses `suite approvals` and `suite audit`; the kernel's owner when empty. It is never shown.",
       env="SUITE_API_KEY", secret=True),
    _s("mcp_user_id", str, "local-owner", "The actor that the kernel's owner is when they call tools."),
)
_BY_NAME = {row.name: row for row in TABLE}
PATHS_UNDER_DATA = {"models_dir": "models", "reports_dir": "reports"}


class Settings:
    """The settings in force: one attribute per row of TABLE, fixed once read; `source[name]` says where each came from."""

    def __init__(self, values: dict[str, Any], source: dict[str, str]) -> None:
        self.__dict__.update(values)
        self.__dict__["source"] = dict(source)

    def __setattr__(self, name: str, value: Any) -> None:
        raise SettingsError(f"Setting {name!r} was already read; pass {name}={value!r} to suite.start() instead.")

    def __getattr__(self, name: str) -> Any:  # only reached for unknown names
        raise AttributeError(f"no setting named {name!r}")

    def values(self) -> dict[str, Any]:
        """All settings by name, paths as text; no secret is ever a setting without being masked here."""
        return {row.name: _plain(row, getattr(self, row.name)) for row in TABLE}

    def identity(self) -> dict[str, Any]:
        """The settings that tell one stack from another."""
        return {row.name: _plain(row, getattr(self, row.name)) for row in TABLE if row.identity}

    def digest(self) -> str:
        """sha256 of all settings, as 64 hex digits: the `config_hash` of a report."""
        return hashlib.sha256(json.dumps(self.values(), sort_keys=True).encode()).hexdigest()


def load(overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Settings:
    """Read the settings: arguments over environment over ./suite.toml over the user's suite.toml over defaults.

    Raises SettingsError for an unknown name, a malformed value, or one out of range.
    """
    environ = os.environ if environ is None else environ
    cwd = cwd or _here()
    values: dict[str, Any] = {row.name: row.default for row in TABLE}
    source = {row.name: "default" for row in TABLE}
    for file in (Path(platformdirs.user_config_dir(APP)) / "suite.toml", cwd / "suite.toml"):
        for name, value in _read_toml(file).items():
            values[name], source[name] = _typed(_row(name, str(file)), value, str(file)), str(file)
    for row in TABLE:
        if environ.get(row.env, "") != "":
            values[row.name], source[row.name] = _typed(row, environ[row.env], f"environment variable {row.env}"), "environment"
    for name, value in (overrides or {}).items():
        if value is not None:
            values[name], source[name] = _typed(_row(name, "an argument"), value, "an argument"), "argument"
    return Settings(_settle_paths(values, cwd), source)


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise SettingsError("The current directory was deleted, so relative paths mean nothing; change to one that exists.") from None


def _settle_paths(values: dict[str, Any], cwd: Path) -> dict[str, Any]:
    """Make every path absolute, so that a later change of directory changes nothing."""
    values["data_dir"] = _absolute(values["data_dir"] or Path(platformdirs.user_data_dir(APP)), cwd)
    for name, folder in PATHS_UNDER_DATA.items():
        values[name] = _absolute(values[name], cwd) if values[name] else values["data_dir"] / folder
    values["workspace_dir"] = _absolute(values["workspace_dir"] or cwd, cwd)
    for name in ("rag_roots", "workspace_roots"):
        values[name] = os.pathsep.join(os.path.normpath(cwd / os.path.expanduser(entry)) for entry in values[name].split(os.pathsep) if entry.strip())
    for name in ("api_gateway_upstreams", "ci_result", "waivers"):
        values[name] = _absolute(values[name], cwd) if values[name] else None
    return values


def _absolute(path: Path, cwd: Path) -> Path:
    return Path(os.path.normpath(cwd / path.expanduser()))


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{file} cannot be read ({error.strerror}); make it a readable file or remove it.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not valid TOML: {error}. Mend the line or remove the file.") from error


def _row(name: str, where: str) -> Setting:
    if name not in _BY_NAME:
        raise SettingsError(f"Unknown setting {name!r} in {where}; known are: {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]


def _typed(row: Setting, value: Any, where: str) -> Any:
    try:
        value = _convert(row.type, value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"{row.env} is {value!r} (from {where}) but must be {_expected(row)}. {row.sentence}") from None
    bounds = isinstance(value, (int, float)) and not isinstance(value, bool)
    if (row.choices and value not in row.choices) or (
        bounds and ((row.low is not None and not value >= row.low) or (row.high is not None and not value <= row.high))
    ):
        raise SettingsError(f"{row.env} is {value!r} (from {where}) but must be {_expected(row)}. {row.sentence}")
    return value


def _convert(kind: type, value: Any) -> Any:
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
        return value if isinstance(value, bool) else words[str(value).strip().lower()] if str(value).strip().lower() in words else _refuse()
    if kind is int and (isinstance(value, bool) or (isinstance(value, float) and value != int(value))):
        return _refuse()
    if kind is Path:
        return Path(str(value)) if str(value) else None
    return kind(value)


def _refuse() -> Any:
    raise ValueError


def _expected(row: Setting) -> str:
    if row.choices:
        return "one of " + ", ".join(row.choices)
    name = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path", str: "text"}[row.type]
    low = "" if row.low is None else f" from {row.low:.12g}"
    high = "" if row.high is None else f" to {row.high:.12g}"
    return name + low + high


def _plain(row: Setting, value: Any) -> Any:
    # a key, or a URL with a password in it: only a digest leaves this file
    if value and (row.secret or (row.name.endswith("_url") and ("@" in value or masked_text(value) != value))):
        return "sha256:" + hashlib.sha256(str(value).encode()).hexdigest()[:16]
    return str(value) if isinstance(value, Path) else value


def secrets() -> list[str]:
    """The names of the settings whose value is a secret."""
    return [row.name for row in TABLE if row.secret]


def describe() -> list[dict[str, str]]:
    """The table for people: name, environment variable, type, default, sentence."""
    return [{"name": row.name, "env": row.env, "type": row.type.__name__.lower(), "default": "" if row.default is None else str(row.default),
             "sentence": row.sentence} for row in TABLE]


def runtime_dir(environ: Mapping[str, str] | None = None) -> Path | None:
    """The user's private runtime directory (XDG_RUNTIME_DIR), or None where the system has none."""
    value = (os.environ if environ is None else environ).get("XDG_RUNTIME_DIR", "")
    return Path(value) if value else None


def secret(name: str, environ: Mapping[str, str] | None = None) -> str:
    """The value of the environment variable `name`, for a token that no parameter, log or report may hold.

    Raises SettingsError when it is not set.
    """
    value = (os.environ if environ is None else environ).get(name, "")
    if not value:
        raise SettingsError(f"The environment variable {name!r} is not set; export the token in it, or leave its name empty.")
    return value


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child that needs its paths and devices but no secret: without tokens, keys, passwords, and URLs that hold one."""
    given = os.environ if environ is None else environ
    return {name: value for name, value in given.items() if not is_secret(name) and masked_text(value) == value}


def kernel_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment for a kernel that this process starts for its own user: all of ours, so that a secret can be named instead of written."""
    return {**os.environ, **more}


def package_file(relative: str) -> Path:
    """A file or folder that the package ships: `runbooks/…`, `models/…`, `kernels/…`, in a checkout or in an installed wheel.

    Raises SettingsError when it is not there, which means a broken installation.
    """
    package = Path(str(resources.files("suite")))
    for place in (package / "_data" / relative, package.parent / relative):
        if place.exists():
            return place
    raise SettingsError(f"The package file {relative} is missing from this installation; install local-ai-suite again.")
