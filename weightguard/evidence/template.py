"""The declaration that `weightguard declare` writes for a person to fill in."""

from __future__ import annotations

import json

_TEMPLATE = """\
# Training declaration: what no checkpoint can prove. Replace each "FILL IN" and remove the # of what applies.
# Check it with: weightguard declare --check PATH
schema = "weightguard/declaration/1"

[model]
name = {name}
parameters = {parameters}{digits}
run = "pretrain"                  # the last run of this model's lineage
# whole = true                    # true if not pruned, cut, merged or distilled from a model that isn't listed here
# published = {{url = "https://...", date = 2026-01-31, licence = "apache-2.0", unrestricted = true}}
#                                 # only if anyone may get these weights and pass them on

[[run]]
id = "pretrain"
kind = "pre-training"             # or fine-tuning, rl, distillation, continued, merge ...
starts_from = []                  # run ids, or {{model = "NAME", published = true, operations = 3.8e25}}
tokens = "FILL IN"                # tokens processed, epochs counted, such as 15.6e12
{context}
# Instead of tokens, one of:
# operations = 9.1e25             # counted or logged; or [low, high]
# accelerators = ["H100-SXM"]     # what it ran on, where the operations come from elsewhere: § 734.9(l) asks outside of the US
# hardware = {{device = "H100-SXM", count = 16384, hours = 1300, utilisation = [0.36, 0.43], precision = "bf16"}}
# data_complete = true            # true if every unpublished generated source of this run is listed below

# [[run.data]]
# share = 0.12                    # of this run's operations
# published = false
# generator = "teacher"           # the model that generated it

# [[run.phase]]                   # instead of tokens and context above, where the context changed
# tokens = 14e12
# context = 8192

# [[run]]                         # later training: one more run
# id = "sft"
# kind = "fine-tuning"
# starts_from = ["pretrain"]
# operations = 4e23

# [[generator]]
# id = "teacher"
# weights_published = false
# generation_operations = 4e23
# training_runs = []              # the runs above that trained it

# [origin]
# country = "US"                  # where the weights were made and are

# [note_2]                        # a number under Note 2 that somebody has: BIS guidance, an opinion, a classification
# kind = "classification"         # or guidance, opinion
# reference = "CCATS ..."
# date = 2026-06-01
# operations = 2e26

# [approval]                      # counts once this file is signed: ssh-keygen -Y sign -n weightguard -f KEY weightguard.toml,
#                                 # by a key in the policy's signers, and [model] files lists every weight file's SHA-256
# by = "FILL IN"
# reference = "FILL IN"
# date = 2026-11-24
# expires = 2027-11-24
"""


def template(name: str, parameters: int, context: int | None) -> str:
    """A commented declaration for a model of that name, parameter count and configured context (None: unknown).

    Valid TOML, and a declaration once its placeholders are filled in.
    """
    line = f"context = {context}" if context else "# context = 8192"
    comment = "# training context in tokens" + (" (here: what the configuration allows)" if context else "")
    return _TEMPLATE.format(
        name=_basic_string(name),
        parameters=parameters,
        digits=f"{'':<{max(1, 21 - len(str(parameters)))}}# unique trained values, as counted",
        context=f"{line:<34}{comment}",
    )


def _basic_string(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for DEL and halves of surrogate pairs, which TOML doesn't take."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x7f", "?")
    return json.dumps(text, ensure_ascii=False)
