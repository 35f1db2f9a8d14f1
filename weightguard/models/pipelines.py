"""Diffusers pipelines: `model_index.json` names components, each in a folder of its own; together they are one model.

Source: diffusers, `pipelines/pipeline_utils.py` (`save_pretrained`, `from_pretrained`) and `configuration_utils.py`: a key whose
value is [library, class] is a component, [null, null] one that was left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from weightguard.models.adapters import NO_BASE, is_adapter, misfit
from weightguard.models.files import CONFIG, DECLARATION, PIPELINE, Folder, Model, load_json
from weightguard.tensors import EMPTY, concatenate
from weightguard.values import Finding

_WITHOUT_WEIGHTS = re.compile(r"(?:Scheduler|Tokenizer(?:Fast)?|Processor|Processor(?:Fast)?|FeatureExtractor|Solver\w*)$")


def pipelines(folders: Mapping[str, Folder], models: Mapping[str, Sequence[Model]]) -> dict[str, tuple[Model, set[str]]]:
    """For each folder of a pipeline the model that it is, and the paths of the models that are its components.

    models: those of each folder by itself.
    """
    found: dict[str, tuple[Model, set[str]]] = {}
    for path, folder in folders.items():
        index = load_json(folder.texts[PIPELINE]) if PIPELINE in folder.texts else None
        if index is None:
            continue
        parts = {name: value for name, value in index.items() if _is_component(name, value)}
        inside = {name: list(models.get(folder.below(name), ())) for name in parts}
        if any(inside.values()):
            whole, taken = _pipeline(folder, parts, inside, folders)
            adapters = [m for m in models[path] if is_adapter(m.tensors) and not misfit([m.tensors], whole.tensors)]
            found[path] = _with_adapters(whole, adapters), taken | {m.path for m in adapters}
    return found


def _with_adapters(whole: Model, adapters: Sequence[Model]) -> Model:
    """The pipeline with the adapters in its folder that fit its components."""
    for m in adapters:
        found = Finding("adapter-with-base", "info", f"an adapter of {whole.path}: counted with it", m.path)
        whole = replace(
            whole,
            files=(*whole.files, *m.files),
            tensors=concatenate([whole.tensors, m.tensors]),
            missing=(*whole.missing, *(line for line in m.missing if not line.startswith(NO_BASE))),
            findings=(*whole.findings, *m.findings, found),
        )
    return whole


def _is_component(name: str, value: object) -> bool:
    plain = name not in ("", ".", "..") and not name.startswith("_") and "/" not in name and "\\" not in name
    return plain and isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)


def _pipeline(
    folder: Folder, parts: Mapping[str, Sequence[str]], inside: Mapping[str, list[Model]], folders: Mapping[str, Folder]
) -> tuple[Model, set[str]]:
    members = [(name, model) for name in parts for model in inside[name]]
    missing = [f"{name}: {line}" for name, model in members for line in model.missing]
    findings = [f for _, model in members for f in model.findings]
    for name, (library, kind) in parts.items():
        if inside[name] or _WITHOUT_WEIGHTS.search(kind):
            continue
        if name == "safety_checker" and folder.below(name) not in folders:
            findings.append(Finding("component-left-out", "info", f"{name} is not there", folder.below(PIPELINE)))
            continue
        missing.append(f"{name} ({library}, {kind}) is named by {PIPELINE}, and there are no weights of it")
    tables = []
    copies: list[np.ndarray] = []
    first = 0
    for name, model in members:
        tables.append(replace(model.tensors, names=[f"{name}.{n}" for n in model.tensors.names]))
        copies.append(model.copies + first)
        first += len(model.tensors)
    texts: dict[str, bytes] = {}
    declared = [DECLARATION in folder.texts, *(DECLARATION in m.texts for _, m in members)]
    for _, model in members:
        texts |= model.texts
    texts = {n: t for n, t in {**texts, **folder.texts}.items() if n != CONFIG}
    if sum(declared) > 1:
        missing.append(f"more than one {DECLARATION} in the folders of one pipeline")
    text = f"{len(members)} models in the folders that {PIPELINE} names are components of one pipeline: counted together"
    findings.append(Finding("pipeline", "info", text, folder.below(PIPELINE)))
    model = Model(
        name=folder.name or "pipeline",
        path=folder.path or ".",
        folder=folder.path,
        files=tuple(f for _, m in members for f in m.files),
        tensors=concatenate(tables) if tables else EMPTY,
        copies=np.concatenate(copies),
        texts=texts,
        config=None,
        index_metadata={},
        missing=tuple(missing),
        findings=tuple(findings),
        components=tuple(m for _, m in members),
    )
    return model, {m.path for _, m in members}
