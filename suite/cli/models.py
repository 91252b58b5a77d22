"""`suite models`: the catalogue, fetching and verifying weights, planning memory, and what the installed llama.cpp can use."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING, Any

from suite import render
from suite.errors import BadRequest, NotFound, SettingsError
from suite.settings import Settings, load, secret

if TYPE_CHECKING:
    from suite.embedding.model import EncoderModel
    from suite.serving.catalog import CatalogModel, ProfileModel
    from suite.serving.fit import Memory, ModelSize, Plan
    from suite.serving.parameters import Parameters

TOKEN = "HF_TOKEN"  # where the hub's own tools look for it too
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}  # memory is sold by powers of two


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("models", help="list the catalogue; pull, verify and plan weights").add_subparsers(
        dest="verb", required=True, metavar="verb")
    listing = group.add_parser("list", help="the models of the catalogue, and which are here")
    listing.set_defaults(run=run_list)
    pull = group.add_parser("pull", help="fetch weights into MODELS_DIR")
    pull.add_argument("names", nargs="*", metavar="NAME", help="catalogue models; those of the profile when none is named")
    pull.add_argument("--profile", help="fetch the models of this profile")
    pull.set_defaults(run=run_pull)
    verify = group.add_parser("verify", help="read and hash model files; 0 only when all have a pinned hash")
    verify.add_argument("names", nargs="*", metavar="NAME|PATH", help="catalogue models or files; all that are here when none is named")
    verify.set_defaults(run=run_verify)
    fit = group.add_parser("fit", help="plan memory before loading; 0 when the profile's models fit")
    fit.add_argument("--profile", help="the profile to plan for")
    fit.add_argument("--vram", help="plan for a card of this size (6GB, 6141MB or bytes; 0: no card) instead of this machine's")
    fit.add_argument("--ram", help="plan for this much memory instead of what is free")
    fit.set_defaults(run=run_fit)
    doctor = group.add_parser("doctor", help="what the installed llama.cpp can use; 1 when there is a card that it does not use")
    doctor.set_defaults(run=run_doctor)
    for parser in (listing, verify, fit, doctor):
        parser.add_argument("--json", action="store_true")


def run_list(args: argparse.Namespace) -> int:
    """Print the catalogue: `hash` says who vouches for a file: pinned (by the catalogue), hub, or unknown."""
    from suite.embedding.pull import encoders
    from suite.serving import pull, verify
    from suite.serving.catalog import catalog

    settings = load()
    own = encoders(settings.models_dir)
    here = {entry.name for entry in verify.present(settings.models_dir)} | {name for name, model in own.items() if model.here(settings.models_dir)}
    pulled = pull.recorded(settings.models_dir)
    rows = []
    for model in catalog().values():
        vouched = "pinned" if model.sha256 else "hub" if pulled.get(model.file, {}).get("sha256") else "unknown"
        rows.append({"name": model.name, "role": model.role, "file": model.file, "bytes": model.bytes, "approximate": model.approximate,
                     "licence": model.licence, "restricted": model.restricted, "context": model.context, "source": model.source,
                     "here": model.name in here, "hash": vouched})
    for model in (model for name, model in own.items() if name not in catalog()):
        rows.append({"name": model.id, "role": model.role, "file": f"{model.id}/{model.onnx}", "bytes": model.disk_bytes, "approximate": True,
                     "licence": model.licence, "restricted": False, "context": model.max_tokens, "source": model.source,
                     "here": model.id in here, "hash": "pinned" if all(model.files.values()) else "unknown"})
    if args.json:
        print(json.dumps({"rows": rows}, ensure_ascii=False))
        return 0
    print(render.text_table(["name", "role", "size", "licence", "hash", "here"],
                            [[row["name"], row["role"], f"{'about ' if row['approximate'] else ''}{_size(row['bytes'])}",
                              str(row["licence"]) + (" (not for stage prod)" if row["restricted"] else ""), row["hash"], "yes" if row["here"] else ""]
                             for row in rows]))
    return 0


def run_pull(args: argparse.Namespace) -> int:
    """Fetch each model, its licence said first."""
    from suite.embedding.pull import encoders
    from suite.serving.catalog import model, profile

    settings = load({"profile": args.profile})
    own, chosen = encoders(settings.models_dir), profile(settings.profile)
    names = args.names or [name for name in dict.fromkeys((chosen.chat.model, chosen.code.model)) if not model(name).bundled]
    if not names:
        raise NotFound(f"The profile {settings.profile} has nothing to pull; name a model: `suite models list` shows them.")
    for name in names:
        if name not in own:
            model(name)  # an unknown one is said before anything is fetched
    for name in names:
        if name in own:
            _pull_encoder(own[name], settings)
        else:
            _pull_weights(model(name), settings)
    return 0


def _pull_encoder(model: EncoderModel, settings: Settings) -> None:
    """An embedding model or a reranker, whose files lie in a folder of its own."""
    from suite.embedding.pull import pull, verdict

    print(f"suite: {model.id} from {model.source or model.requirement or 'files copied by hand'}, {model.licence}.", flush=True)
    pull(model, settings.models_dir, settings.data_dir / "cache", settings.hf_endpoint, _token(), _bar)
    said = verdict(model, settings.models_dir)
    print(f"suite: {model.id} is in {said.file}; {said.state}: {said.sentence}")


def _pull_weights(entry: CatalogModel, settings: Settings) -> None:
    from suite.serving.pull import pull

    print(f"suite: {entry.name} from {entry.source}, {entry.licence}{' (not for stage prod)' if entry.restricted else ''}.", flush=True)
    got = pull(entry, settings.models_dir, settings.hf_endpoint, _token(), _bar)
    said = {"catalogue": "verified by the catalogue's hash", "hub": "its hash is the hub's; nobody has pinned it here",
            "": "nobody vouches for its hash"}
    print(f"suite: {entry.name} is in {got.path}; {said[got.proof]} ({got.sha256}).")


def _token() -> str:
    """What opens a gated repository; most models are for everybody."""
    try:
        return secret(TOKEN)
    except SettingsError:
        return ""


def _bar(**options: Any) -> Any:
    from tqdm.auto import tqdm

    return tqdm(**options, disable=None)


def run_verify(args: argparse.Namespace) -> int:
    """Print a verdict per model; 0 only when every file has the hash that is pinned for it."""
    from suite.embedding.pull import encoders, verdict
    from suite.serving.verify import present, verify

    settings = load()
    own = encoders(settings.models_dir)
    here = [name for name, model in own.items() if model.here(settings.models_dir)]
    names = args.names or [*(entry.name for entry in present(settings.models_dir) if entry.name not in own), *here]
    verdicts = [verdict(own[name], settings.models_dir) if name in own else verify(name, settings.models_dir) for name in names]
    if args.json:
        print(json.dumps({"rows": [verdict.to_dict() for verdict in verdicts]}, ensure_ascii=False))
    else:
        print(render.text_table(["name", "state", "bytes", "sha256", ""], [[verdict.name, verdict.state, verdict.bytes or "", verdict.sha256[:16],
                                                                             verdict.sentence] for verdict in verdicts]))
    return 0 if all(verdict.state == "verified" for verdict in verdicts) else 1


def run_fit(args: argparse.Namespace) -> int:
    """Print the plan; 0 when it fits."""
    from suite.serving import fit
    from suite.serving.catalog import profile

    settings = load({"profile": args.profile})
    chosen = profile(settings.profile)
    machine = fit.here() if args.ram is None else _memory(args.ram, "--ram")
    card, note = (_card() if args.vram is None else (_memory(args.vram, "--vram"), ""))
    wanted = [(role, getattr(chosen, role)) for role in ("chat", "code")]
    together = chosen.together(*(model.model for _, model in wanted))
    sizes = [_wanted(role, model, settings) for role, model in wanted]
    processes = len(sizes) if settings.serving_isolation == "process" else 1
    plans = [fit.plan(sizes, card, machine, processes)] if together else [fit.plan([size], card, machine) for size in sizes]
    fits = all(plan.fits for plan in plans)
    if args.json:
        print(json.dumps({"profile": settings.profile, "fits": fits, "note": note, "together": together,
                          "plans": [plan.to_dict() for plan in plans]}))
        return 0 if fits else 1
    print(render.text_table(["model", "layers on the card", "card MiB", "machine MiB"], _rows(plans)))
    for sentence in [note, *(plan.sentence for plan in plans)]:
        if sentence:
            print(f"suite: {sentence}")
    return 0 if fits else 1


def _rows(plans: list[Plan]) -> list[list[Any]]:
    return [[part.name, f"{part.n_gpu_layers} of {part.most}", part.card >> 20, part.machine >> 20] for plan in plans for part in plan.parts]


def _card() -> tuple[Memory, str]:
    """This machine's card as it is now, and what stands in the way of using it."""
    from suite.monitoring.gpu import gpus
    from suite.serving import doctor
    from suite.serving.fit import Memory

    found = gpus()
    if not found:
        return Memory(), ""
    if not doctor.offloads():
        return Memory(), f"{found[0].name} is there, but the installed llama.cpp cannot use it (`suite models doctor` says how to change that)."
    return Memory(found[0].total, found[0].free or 0), ""


def _wanted(role: str, chosen: ProfileModel, settings: Settings) -> tuple[ModelSize, Parameters]:
    """A server's model as the settings and the profile ask for it: its size from its own header, or from the catalogue before it is there."""
    from suite.serving.fit import ModelSize
    from suite.serving.parameters import Parameters
    from suite.serving.weights import glance, locate

    place = locate(role, getattr(settings, f"{role}_model"), chosen, settings.models_dir)
    size = ModelSize.of_entry(place.entry) if place.entry and not place.path.exists() else ModelSize.of(glance(place.path))
    n_ctx, layers = settings.llama_ctx or chosen.n_ctx, getattr(settings, f"{role}_n_gpu_layers")
    return size, Parameters(n_ctx=n_ctx, slots=settings.llama_slots or chosen.slots, n_batch=settings.llama_batch, kv_type=settings.llama_kv_type,
                            kv_tokens=max(n_ctx, settings.llama_kv_tokens or chosen.kv_tokens),
                            n_gpu_layers=chosen.n_gpu_layers if layers < 0 else layers)


def _memory(text: str, option: str) -> Memory:
    from suite.serving.fit import Memory

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not found:
        raise BadRequest(f"{option} is {text!r} but must be a size such as 6GB, 6141MB or 6442450944.", param=option)
    size = int(float(found[1]) * UNITS[found[2]])
    return Memory(size, size)


def run_doctor(args: argparse.Namespace) -> int:
    """Print what llama.cpp can use; 1 when there is a card that it does not use."""
    from suite.serving.doctor import examine

    found = examine()
    if args.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        devices = ", ".join(f"{device['name']} ({device['description']}, {device['kind']})" for device in found.devices) or "unknown"
        cards = ", ".join(f"{card.name} ({(card.free or 0) >> 20:,} of {card.total >> 20:,} MiB free, driver {card.driver})" for card in found.cards)
        rows = [("llama-cpp-python", found.version), ("computes on", devices), ("built with", " ".join(found.built_with)),
                ("leaves unused", " ".join(found.unused_features) or "nothing"), ("NVIDIA cards", cards or "none"), ("on the card", found.evidence)]
        print(*(f"{name:18}{value}" for name, value in rows), sep="\n")
        print(f"suite: {found.sentence}")
        print("".join(f"    {command}\n" for command in found.commands), end="")
    return 1 if found.cards and not found.used else 0


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 100_000_000 else f"{count / 1e6:.1f} MB"
