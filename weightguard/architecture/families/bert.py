"""Encoders and encoder-decoders whose class keeps its output head apart, whatever `tie_word_embeddings` says."""

from weightguard.architecture.family import Family

FAMILIES = (
    Family(
        ("bigbird_pegasus", "luke", "modernvbert"),
        "transformers BigBirdPegasusForCausalLM, LukeForMaskedLM, ModernVBertForMaskedLM",
        ties=False,
    ),
)
