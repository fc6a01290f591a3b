"""What can be scraped: one row a source. docs/sources/ has a page for each, with what its metrics mean."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

SourceName: TypeAlias = Literal[
    "dcgm", "node", "vllm", "sglang", "triton", "tgi", "dynamo", "ray", "kserve", "nim", "prometheus"
]
"""The rows of `SOURCES`."""


@dataclass(frozen=True, slots=True)
class Source:
    """An exporter or an engine, as its endpoint shows it.

    Attributes:
        what: its name, for people.
        prefixes: at least one metric of an endpoint of this source begins with one of these.
        port: where it listens unless told otherwise; None when there is no such custom.
        path: what it answers at.
        per: what one endpoint is: that of a machine (its samples say whose pods they are about), or of one replica.
        ranges: by metric, the least and greatest value that can be true. What lies outside is dropped and counted.
    """

    what: str
    prefixes: tuple[str, ...]
    port: int | None
    path: str = "/metrics"
    per: Literal["node", "replica"] = "replica"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def recognises(self, metrics: Iterable[str]) -> bool:
        """Is one of these metrics proof of this source."""
        return any(metric.startswith(self.prefixes) for metric in metrics)


_PER_CENT, _RATIO, _CELSIUS = (0.0, 100.0), (0.0, 1.01), (-40.0, 200.0)

# Fields of a fixed range. dcgm-exporter has been seen to give 4294967295 and six-figure "per cents" for them.
_DCGM_RANGES = {
    "DCGM_FI_DEV_GPU_UTIL": _PER_CENT,
    "DCGM_FI_DEV_MEM_COPY_UTIL": _PER_CENT,
    "DCGM_FI_DEV_ENC_UTIL": _PER_CENT,
    "DCGM_FI_DEV_DEC_UTIL": _PER_CENT,
    "DCGM_FI_DEV_GPU_TEMP": _CELSIUS,
    "DCGM_FI_DEV_MEMORY_TEMP": _CELSIUS,
    "DCGM_FI_DEV_FB_USED_PERCENT": _RATIO,
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": _RATIO,
    "DCGM_FI_PROF_SM_ACTIVE": _RATIO,
    "DCGM_FI_PROF_SM_OCCUPANCY": _RATIO,
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": _RATIO,
    "DCGM_FI_PROF_PIPE_FP64_ACTIVE": _RATIO,
    "DCGM_FI_PROF_PIPE_FP32_ACTIVE": _RATIO,
    "DCGM_FI_PROF_PIPE_FP16_ACTIVE": _RATIO,
    "DCGM_FI_PROF_DRAM_ACTIVE": _RATIO,
}

SOURCES: Mapping[SourceName, Source] = {
    "dcgm": Source(
        "NVIDIA dcgm-exporter",
        ("DCGM_", "dcgm_"),
        9400,
        per="node",
        ranges=_DCGM_RANGES,
    ),
    "node": Source("Prometheus node_exporter", ("node_",), 9100, per="node"),
    "vllm": Source("vLLM server", ("vllm:",), 8000),
    "sglang": Source(
        "SGLang server",
        ("sglang:", "sglang_"),
        30000,
    ),
    "triton": Source(
        "Triton server, or TensorRT-LLM",
        ("nv_", "trtllm_", "trtllm:"),
        8002,
    ),
    "tgi": Source("Hugging Face Text Generation Inference server", ("tgi_",), 80),
    "dynamo": Source(
        "NVIDIA Dynamo frontend or worker",
        ("dynamo_",),
        8000,
    ),
    "ray": Source(
        "Ray node with Ray Serve",
        ("ray_",),
        8080,
        per="node",
    ),
    "kserve": Source(
        "KServe or Knative queue-proxy",
        ("revision_", "queue_", "request_predict_seconds"),
        9091,
    ),
    "nim": Source(
        "NVIDIA NIM for language models",
        ("num_requests_running", "num_requests_waiting", "gpu_cache_usage_perc", "time_to_first_token_seconds"),
        8000,
        path="/v1/metrics",
    ),
    "prometheus": Source("Prometheus endpoint", ("",), None),
}
"""What can be scraped."""
