"""Names and beginnings of sentences, as people read them."""


def sentence(words: str) -> str:
    """With a capital at its beginning; what follows keeps its own.

    >>> sentence("GPU-hours of vLLM"), sentence("bad requests"), sentence("")
    ('GPU-hours of vLLM', 'Bad requests', '')
    """
    return words[:1].upper() + words[1:]


def readable(name: str) -> str:
    """A name of ours, or of a metric, as words.

    >>> readable("loaded_without_traffic"), readable("vllm:queue_time")
    ('loaded without traffic', 'vllm queue time')
    """
    return name.replace("_", " ").replace(":", " ").strip()
