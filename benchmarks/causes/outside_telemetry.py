"""What the exporters of a site say: engines, GPUs and nodes, from what the requests did and what a fault shows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.causes.outside_otlp import Series
from benchmarks.causes.outside_requests import Floats, Requests, World
from benchmarks.causes.outside_site import Machine, Replica

_DCGM_DEFAULT = {
    "SM_CLOCK", "MEM_CLOCK", "GPU_TEMP", "MEMORY_TEMP", "POWER_USAGE", "TOTAL_ENERGY_CONSUMPTION",
    "PCIE_REPLAY_COUNTER", "GPU_UTIL", "MEM_COPY_UTIL", "XID_ERRORS", "FB_FREE", "FB_USED", "NVLINK_BANDWIDTH_TOTAL",
    "UNCORRECTABLE_REMAPPED_ROWS", "CORRECTABLE_REMAPPED_ROWS", "ROW_REMAP_FAILURE", "GR_ENGINE_ACTIVE",
    "PIPE_TENSOR_ACTIVE", "DRAM_ACTIVE", "PCIE_TX_BYTES", "PCIE_RX_BYTES",
}  # fmt: skip
_DCGM_FIELDS = {
    "A": _DCGM_DEFAULT | {
        "CLOCKS_EVENT_REASONS", "POWER_VIOLATION", "THERMAL_VIOLATION", "ECC_SBE_VOL_TOTAL", "ECC_DBE_VOL_TOTAL",
        "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "NVLINK_REPLAY_ERROR_COUNT_TOTAL", "NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
        "NVLINK_TX_BYTES", "NVLINK_RX_BYTES", "PCIE_LINK_GEN", "PCIE_LINK_WIDTH", "PCIE_MAX_LINK_GEN",
        "PCIE_MAX_LINK_WIDTH", "POWER_MGMT_LIMIT", "SM_ACTIVE",
    },
    "B": _DCGM_DEFAULT,
    "C": _DCGM_DEFAULT | {
        "CLOCK_THROTTLE_REASONS", "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "PCIE_LINK_GEN", "PCIE_LINK_WIDTH", "SM_ACTIVE",
    },
}  # fmt: skip
_DCGM_COUNTERS = {
    "TOTAL_ENERGY_CONSUMPTION", "PCIE_REPLAY_COUNTER", "NVLINK_BANDWIDTH_TOTAL", "POWER_VIOLATION", "THERMAL_VIOLATION",
    "ECC_SBE_VOL_TOTAL", "ECC_DBE_VOL_TOTAL", "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "NVLINK_REPLAY_ERROR_COUNT_TOTAL",
    "NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "UNCORRECTABLE_REMAPPED_ROWS", "CORRECTABLE_REMAPPED_ROWS",
}  # fmt: skip
_DCGM_PROFILING = {
    "GR_ENGINE_ACTIVE", "PIPE_TENSOR_ACTIVE", "DRAM_ACTIVE", "PCIE_TX_BYTES", "PCIE_RX_BYTES", "NVLINK_TX_BYTES",
    "NVLINK_RX_BYTES", "SM_ACTIVE",
}  # fmt: skip
_STEADY = {
    "FB_USED", "FB_FREE", "PCIE_LINK_GEN", "PCIE_LINK_WIDTH", "PCIE_MAX_LINK_GEN", "PCIE_MAX_LINK_WIDTH",
    "CLOCKS_EVENT_REASONS", "POWER_MGMT_LIMIT", "XID_ERRORS", "ROW_REMAP_FAILURE",
}  # fmt: skip
CPUS = 4


@dataclass(frozen=True, slots=True)
class Sign:
    """What a fault shows in one measure of one thing, where the exporter has that measure.

    `share` (a value a second, 0-1) says how much of it is there: `scale` multiplies by `value` at full share, `blend`
    goes over to `value`, `add` adds `value` (of a counter: a second), `at_most` caps there.
    """

    entity: str
    measure: str
    change: Literal["scale", "blend", "add", "at_most"]
    value: float
    share: Floats


@dataclass(slots=True)
class Shown:
    """What a fault shows beside what follows from the requests themselves."""

    signs: list[Sign]
    gone: dict[str, tuple[float, float]]
    """GPU, or node with all its exporters, to the seconds between which nothing of it is heard."""

    def sign(
        self,
        entity: str,
        measure: str,
        change: Literal["scale", "blend", "add", "at_most"],
        value: float,
        share: Floats,
    ) -> None:
        """Add one sign."""
        self.signs.append(Sign(entity, measure, change, value, share))

    def change(self, entity: str, measure: str, values: Floats, at: NDArray[np.int64]) -> Floats:
        """The values with all signs of that measure; `at` are the seconds that they stand for."""
        for sign in self.signs:
            if sign.entity != entity or sign.measure != measure:
                continue
            share = sign.share[at]
            if sign.change == "scale":
                values = values * (1 + (sign.value - 1) * share)
            elif sign.change == "blend":
                values = values * (1 - share) + sign.value * share
            elif sign.change == "add":
                values = values + sign.value * share
            else:
                values = np.where(share > 0.3, np.minimum(values, sign.value), values)
        return values


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an engine is; each array has a value a second."""

    running: Floats
    waiting: Floats
    prompt_tokens_per_s: Floats
    output_tokens_per_s: Floats
    kv_tokens: Floats


def site_series(world: World, requests: Requests, shown: Shown, began_s: float) -> Iterator[Series]:
    """All series of the site; `began_s` is the unix time of its first second."""
    loads = {replica.name: _load(world, requests, index) for index, replica in enumerate(world.site.replicas)}
    for index, replica in enumerate(world.site.replicas):
        yield from _engine_series(world, requests, shown, began_s, replica, index, loads[replica.name])
    for machine in world.site.machines:
        for number, gpu in enumerate(machine.gpus):
            yield from _gpu_series(world, shown, began_s, machine, gpu, number, loads)
        yield from _node_series(world, shown, began_s, machine, loads)


def _load(world: World, requests: Requests, index: int) -> Load:
    seconds = world.seconds
    mine = (requests.replica == index) & ~requests.turned_away & (requests.ended_s > requests.engine_s)
    began, ended = requests.started_s[mine], requests.ended_s[mine]
    first, came = requests.first_token_s[mine], requests.queued_s[mine]
    prompt, output = requests.prompt_tokens[mine], requests.output_tokens[mine]

    def level(start_s: Floats, end_s: Floats, weight: Floats | None = None) -> Floats:
        edges = np.arange(seconds + 1)
        up = np.histogram(start_s, edges, weights=weight)[0]
        down = np.histogram(end_s, edges, weights=weight)[0]
        return np.maximum(0, np.cumsum(up - down)).astype(float)

    edges = np.arange(seconds + 1)
    decode_s = np.maximum(ended - first, 0.05)
    rate = output / decode_s
    return Load(
        running=level(began, ended),
        waiting=level(came, began),
        prompt_tokens_per_s=np.histogram(first, edges, weights=prompt)[0].astype(float),
        output_tokens_per_s=level(first, np.maximum(ended, first + 0.05), rate),
        kv_tokens=level(began, ended, (prompt + output * 0.5).astype(float)),
    )


def _engine_series(
    world: World, requests: Requests, shown: Shown, began_s: float, replica: Replica, index: int, load: Load
) -> Iterator[Series]:
    site, random = world.site, world.random
    at = _scrapes(world, random, max(replica.begins_s, 0), min(replica.ends_s, world.seconds), shown, replica.node)
    at = at[at < world.crashes.get(replica.name, np.inf)]
    if len(at) < 2:
        return
    capacity = site.make.slots * (600 * 1.28 + site.make.output_tokens_median) * 2.1
    mine = (requests.replica == index) & ~requests.turned_away
    usage = shown.change(replica.name, "kv_usage", np.minimum(1.0, load.kv_tokens / capacity)[at], at)
    usage = np.clip(usage, 0, 1)
    preemptions = _counted(
        shown.change(replica.name, "preemptions", np.zeros(world.seconds), np.arange(world.seconds)), at, random
    )
    gauges = {"running": load.running[at], "waiting": load.waiting[at], "kv_usage": usage}
    counters = {
        "prompt_tokens": np.cumsum(load.prompt_tokens_per_s)[at],
        "output_tokens": np.cumsum(load.output_tokens_per_s)[at].round(),
        "preemptions": preemptions,
    }
    if site.style == "B":
        names = {
            "running": "sglang:num_running_reqs", "waiting": "sglang:num_queue_reqs", "kv_usage": "sglang:token_usage",
            "prompt_tokens": "sglang:prompt_tokens_total", "output_tokens": "sglang:generation_tokens_total",
            "preemptions": "sglang:num_retracted_requests_total", "cache_hits": "sglang:cache_hit_rate",
        }  # fmt: skip
        hits = np.clip(random.normal(0.35, 0.03, len(at)), 0, 1)
        gauges["cache_hits"] = np.clip(shown.change(replica.name, "cache_hits", hits, at), 0, 1)
    else:
        old = site.style == "C" and site.seed % 2 == 1
        names = {
            "running": "vllm:num_requests_running", "waiting": "vllm:num_requests_waiting",
            "kv_usage": "vllm:gpu_cache_usage_perc" if old else "vllm:kv_cache_usage_perc",
            "prompt_tokens": "vllm:prompt_tokens_total", "output_tokens": "vllm:generation_tokens_total",
            "preemptions": "vllm:num_preemptions_total", "queue": "vllm:request_queue_time_seconds_sum",
            "prefill": "vllm:request_prefill_time_seconds_sum", "decode": "vllm:request_decode_time_seconds_sum",
            "ended": "vllm:request_success_total", "cache_queries": "vllm:prefix_cache_queries_total",
            "cache_hits": "vllm:prefix_cache_hits_total",
        }  # fmt: skip
        done = mine & ~requests.failed
        for name, values in {
            "queue": requests.started_s - requests.queued_s,
            "prefill": requests.prefill_s,
            "decode": requests.decode_s,
            "ended": np.ones(len(requests.ended_s)),
        }.items():
            counters[name] = _summed(requests.ended_s[done], values[done], world.seconds)[at]
        counters["cache_queries"] = counters["prompt_tokens"]
        hit_ratio = shown.change(replica.name, "cache_hits", np.full(world.seconds, 0.35), np.arange(world.seconds))
        counters["cache_hits"] = np.cumsum(load.prompt_tokens_per_s * hit_ratio)[at].round()
    labels = {"model_name": site.model, "pod": replica.name, "namespace": site.namespace}
    if site.style != "B":
        labels["engine"] = "0"
    job = "sglang" if site.style == "B" else "vllm"
    for kind, those in (("gauge", gauges), ("counter", counters)):
        for name, values in those.items():
            yield Series(names[name], kind, job, f"{replica.name}:8000", labels, began_s + at, values)


def _gpu_measures(
    world: World, shown: Shown, gpu: str, at: NDArray[np.int64], loads: Mapping[str, Load]
) -> dict[str, Floats]:
    """Gauges at the scrapes and, of counters, what is added a second."""
    site, random, make = world.site, world.random, world.site.make
    busy, prompt, output, holds = np.zeros((4, world.seconds))
    seconds = np.arange(world.seconds)
    for replica in site.replicas:
        if gpu in replica.gpus:
            load = loads[replica.name]
            busy = busy + load.running / make.slots
            prompt = prompt + load.prompt_tokens_per_s
            output = output + load.output_tokens_per_s
            holds = holds + (
                (seconds >= replica.begins_s) & (seconds < min(replica.ends_s, world.crashes.get(replica.name, np.inf)))
            )

    def mean(values: Floats, width_s: int = make.gpu_scrape_s) -> Floats:
        total = np.concatenate([[0.0], np.cumsum(values)])
        return (total[at + 1] - total[np.maximum(at + 1 - width_s, 0)]) / width_s

    active = 1 - np.exp(-3.2 * mean(busy))
    tensor = np.clip(mean(prompt, 60) * 5.5e-5 + mean(output, 60) * 3.5e-4, 0, 0.9)
    used = np.where(holds[at] > 0, 0.885, 0.006)
    power = make.power_limit_watts * (0.16 + 0.55 * active + 0.2 * tensor)
    warmth = 34 + 36 * (
        _lagged(make.power_limit_watts * (0.16 + 0.6 * (1 - np.exp(-3.2 * busy))), 90)[at] / make.power_limit_watts
    )
    measures = {
        "SM_CLOCK": np.where(active > 0.02, make.clock_mhz * (1 - 0.03 * active), make.clock_mhz * 0.174),
        "MEM_CLOCK": np.full(len(at), {"A": 2619.0, "B": 9001.0, "C": 1593.0}[site.style]),
        "GPU_TEMP": warmth,
        "MEMORY_TEMP": warmth + 9 if site.style != "B" else np.zeros(len(at)),
        "POWER_USAGE": power,
        "PCIE_REPLAY_COUNTER": np.zeros(len(at)),
        "GPU_UTIL": 100 * active,
        "MEM_COPY_UTIL": 55 * active,
        "XID_ERRORS": np.zeros(len(at)),
        "FB_USED": used * make.gpu_memory_mib,
        "UNCORRECTABLE_REMAPPED_ROWS": np.zeros(len(at)),
        "CORRECTABLE_REMAPPED_ROWS": np.zeros(len(at)),
        "ROW_REMAP_FAILURE": np.zeros(len(at)),
        "GR_ENGINE_ACTIVE": active,
        "SM_ACTIVE": active * 0.8,
        "PIPE_TENSOR_ACTIVE": tensor,
        "DRAM_ACTIVE": np.clip(mean(output, 60) * 1.3e-3, 0, 0.95),
        "PCIE_TX_BYTES": 2e7 + mean(prompt) * 9e4 + mean(output) * 3e4,
        "PCIE_RX_BYTES": 3e7 + mean(prompt) * 2.2e5 + mean(output) * 3e4,
        "NVLINK_BANDWIDTH_TOTAL": 1e3 * (mean(prompt) * 40 + mean(output) * 25),
        "NVLINK_TX_BYTES": mean(prompt) * 2e6 + mean(output) * 1.2e6,
        "NVLINK_RX_BYTES": mean(prompt) * 2e6 + mean(output) * 1.2e6,
        "CLOCKS_EVENT_REASONS": np.where(active > 0.02, np.where(random.random(len(at)) < 0.05, 4.0, 0.0), 1.0),
        "POWER_VIOLATION": np.where(active > 0.8, 2e6, 0.0),
        "THERMAL_VIOLATION": np.zeros(len(at)),
        "ECC_SBE_VOL_TOTAL": np.zeros(len(at)),
        "ECC_DBE_VOL_TOTAL": np.zeros(len(at)),
        "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL": np.zeros(len(at)),
        "NVLINK_REPLAY_ERROR_COUNT_TOTAL": np.zeros(len(at)),
        "NVLINK_RECOVERY_ERROR_COUNT_TOTAL": np.zeros(len(at)),
        "PCIE_LINK_GEN": np.full(len(at), 5.0 if site.style == "A" else 4.0),
        "PCIE_MAX_LINK_GEN": np.full(len(at), 5.0),
        "PCIE_LINK_WIDTH": np.full(len(at), 16.0),
        "PCIE_MAX_LINK_WIDTH": np.full(len(at), 16.0),
        "POWER_MGMT_LIMIT": np.full(len(at), make.power_limit_watts),
    }  # fmt: skip
    for name, values in measures.items():
        noisy = values if name in _STEADY or name in _DCGM_COUNTERS else values * random.normal(1, 0.02, len(at))
        measures[name] = shown.change(gpu, name, noisy, at)
    measures["SM_CLOCK"] = (measures["SM_CLOCK"] / 15).round() * 15
    for name in ("GPU_TEMP", "MEMORY_TEMP", "GPU_UTIL", "MEM_COPY_UTIL", "CLOCKS_EVENT_REASONS", "XID_ERRORS"):
        measures[name] = measures[name].round()
    measures["GPU_UTIL"] = np.minimum(measures["GPU_UTIL"], 100)
    measures["FB_USED"] = np.minimum(measures["FB_USED"], make.gpu_memory_mib - 620).round()
    measures["FB_FREE"] = make.gpu_memory_mib - 600 - measures["FB_USED"]
    measures["TOTAL_ENERGY_CONSUMPTION"] = measures["POWER_USAGE"] * 1000
    measures["CLOCK_THROTTLE_REASONS"] = measures["CLOCKS_EVENT_REASONS"]
    return measures


def _gpu_series(
    world: World, shown: Shown, began_s: float, machine: Machine, gpu: str, number: int, loads: Mapping[str, Load]
) -> Iterator[Series]:
    site, random = world.site, world.random
    scraped = _scrapes(world, random, 0, world.seconds, shown, machine.name, gpu)
    # The exporter samples at its own pace, and each scrape gets what it had last.
    every_s = site.make.gpu_scrape_s
    sampled = np.maximum(scraped // every_s * every_s, 0)
    measures = _gpu_measures(world, shown, gpu, sampled, loads)
    for name in sorted(_DCGM_FIELDS[site.style]):
        values = measures[name]
        counter = name in _DCGM_COUNTERS
        if counter:
            values = (
                float(random.integers(1, 1000))
                if name in {"TOTAL_ENERGY_CONSUMPTION", "NVLINK_BANDWIDTH_TOTAL"}
                else 0.0
            ) + np.cumsum(values * np.diff(sampled, prepend=sampled[:1])).round()
        full = f"DCGM_FI_{'PROF' if name in _DCGM_PROFILING else 'DEV'}_{name}"
        for pod, begins_s, ends_s in _holders(world, gpu):
            then = (scraped >= begins_s) & (scraped < ends_s)
            if then.any():
                labels = _gpu_labels(world, machine, gpu, number, pod)
                instance = f"{machine.name if site.style != 'B' else machine.address}:9400"
                yield Series(
                    full,
                    "counter" if counter else "gauge",
                    "dcgm-exporter",
                    instance,
                    labels,
                    began_s + scraped[then],
                    values[then],
                )


def _holders(world: World, gpu: str) -> list[tuple[str, float, float]]:
    """Which pod has the GPU when; '' for none."""
    held = sorted(
        (replica.begins_s, min(replica.ends_s, world.crashes.get(replica.name, np.inf)), replica.name)
        for replica in world.site.replicas
        if gpu in replica.gpus
    )
    holders, at = [], 0.0
    for begins_s, ends_s, name in held:
        holders += [("", at, begins_s), (name, begins_s, ends_s)]
        at = ends_s
    return [*holders, ("", at, np.inf)]


def _gpu_labels(world: World, machine: Machine, gpu: str, number: int, pod: str) -> dict[str, str]:
    site = world.site
    labels = {
        "gpu": str(number),
        "UUID": gpu,
        "pci_bus_id": f"00000000:{16 + 8 * number:02X}:00.0",
        "device": f"nvidia{number}",
        "modelName": {"A": "NVIDIA H100 80GB HBM3", "B": "NVIDIA L40S", "C": "NVIDIA A100-SXM4-80GB"}[site.style],
        "DCGM_FI_DRIVER_VERSION": "580.95.05",
    }
    exporter = f"dcgm-exporter-{gpu[4:9]}" if site.style == "C" else f"nvidia-dcgm-exporter-{machine.address[-4:-3]}x7k"
    if site.style == "C":
        labels |= {"hostname": machine.name, "pod": exporter, "namespace": "gpu-operator", "container": "exporter"}
        if pod:
            labels |= {"exported_pod": pod, "exported_namespace": site.namespace, "exported_container": "engine"}
    else:
        labels["Hostname"] = exporter if site.names_exporter_pod else machine.name
        if pod:
            labels |= {"pod": pod, "namespace": site.namespace, "container": "engine"}
    return labels


def _node_series(
    world: World, shown: Shown, began_s: float, machine: Machine, loads: Mapping[str, Load]
) -> Iterator[Series]:
    site, random = world.site, world.random
    at = _scrapes(world, random, 0, world.seconds, shown, machine.name)
    instance = f"{machine.name if site.style != 'B' else machine.address}:9100"
    always = {"node": machine.name} if site.style == "B" else {}
    work = sum((loads[r.name].running for r in site.replicas if r.node == machine.name), np.zeros(world.seconds))
    prompt = sum(
        (loads[r.name].prompt_tokens_per_s for r in site.replicas if r.node == machine.name), np.zeros(world.seconds)
    )
    seconds = np.arange(world.seconds)
    noise = np.interp(seconds, seconds[::20], random.normal(1, 0.08, len(seconds[::20])))

    def rate(measure: str, usual: Floats) -> Floats:
        return shown.change(machine.name, measure, usual * noise, seconds)

    def series(
        name: str, kind: Literal["gauge", "counter"], values: Floats, labels: Mapping[str, str] | None = None
    ) -> Series:
        return Series(name, kind, "node-exporter", instance, {**always, **(labels or {})}, began_s + at, values)

    user = np.clip(rate("cpu", np.clip(0.14 + 0.012 * work, 0, 0.6)), 0, 0.97)
    wait = np.clip(rate("iowait", np.full(world.seconds, 0.004)), 0, 0.9)
    idle = np.clip(1 - user - wait - 0.03, 0.005, 1)
    if site.style != "B" or site.seed % 2 == 0:
        for mode, share in (("user", user), ("system", np.full(world.seconds, 0.03)), ("iowait", wait), ("idle", idle)):
            for cpu in range(CPUS):
                total = float(random.integers(10**5, 10**6)) + np.cumsum(share * random.normal(1, 0.02, world.seconds))
                yield series("node_cpu_seconds_total", "counter", total[at], {"cpu": str(cpu), "mode": mode})
    crowd = _lagged(rate("runnable", 64 * user), 60)
    yield series("node_load1", "gauge", crowd[at].round(2))
    free = shown.change(machine.name, "memory_free", np.full(world.seconds, 7.1e11) * noise**0.1, seconds)
    yield series("node_memory_MemAvailable_bytes", "gauge", free[at])
    yield series("node_memory_MemTotal_bytes", "gauge", np.full(len(at), 1.08e12))
    for stat, usual in (("read_bytes", 2e6), ("written_bytes", 5e6), ("io_time_seconds", 0.02)):
        yield series(
            f"node_disk_{stat}_total",
            "counter",
            np.cumsum(rate(f"disk_{stat}", np.full(world.seconds, usual)))[at],
            {"device": "nvme0n1"},
        )
    if site.style != "B":
        for what, usual in (("cpu", 0.004), ("io", 0.002), ("memory", 0.0005)):
            stalled = np.clip(rate(f"pressure_{what}", np.full(world.seconds, usual)), 0, 1)
            yield series(f"node_pressure_{what}_waiting_seconds_total", "counter", np.cumsum(stalled)[at])
    yield from _port_series(world, shown, machine, at, prompt, series)


def _port_series(
    world: World, shown: Shown, machine: Machine, at: NDArray[np.int64], prompt: Floats, series: Callable[..., Series]
) -> Iterator[Series]:
    random, make = world.random, world.site.make
    seconds = np.arange(world.seconds)
    for port in machine.ports:
        device, number = port.split("/")
        entity = f"{machine.name}/{port}"
        labels = {"device": device, "port": number}
        share = 1.0 if port == machine.ports[0] else 0.4
        smooth = _lagged(prompt, 20)
        noise = np.interp(seconds, seconds[::15], random.normal(1, 0.1, len(seconds[::15])))
        sent = share * (0.02 * make.port_bytes_per_s + 8e5 * smooth) * noise
        received = share * (0.02 * make.port_bytes_per_s + 1.2e6 * smooth) * noise
        rates = {"sent": sent, "received": received} | {
            name: np.zeros(world.seconds) for name in _PORT_COUNTERS if name not in {"sent", "received"}
        }
        rates["wait"] = 4e4 * share * noise**2
        if make.roce:
            rates |= {"marked": 3 * noise, "sent_cnp": 2 * noise, "handled_cnp": 2 * noise, "held": 0.3 * noise}
        for name, usual in rates.items():
            metric = _PORT_COUNTERS[name]
            if make.roce if name == "wait" else (name in _ROCE_ONLY and not make.roce):
                continue  # credits are InfiniBand's, pauses and marks Ethernet's
            rate = shown.change(entity, name, usual, seconds)
            if name in {"sent", "received"}:
                rate = np.minimum(rate, make.port_bytes_per_s * 0.985)
                total = float(random.integers(10**12, 10**13)) + np.cumsum(rate).round()
            else:
                total = np.cumsum(random.poisson(np.maximum(rate, 0))).astype(float)
            where = {"device": "ens1f0np0"} if metric.startswith(("node_ethtool", "node_network")) else labels
            yield series(metric, "counter", total[at], where)
        speed = shown.change(entity, "speed", np.full(world.seconds, make.port_bytes_per_s), seconds)[at]
        yield series("node_infiniband_rate_bytes_per_second", "gauge", speed, labels)
        yield series("node_infiniband_state_id", "gauge", np.full(len(at), 4.0), labels)


_PORT_COUNTERS = {
    "sent": "node_infiniband_port_data_transmitted_bytes_total",
    "received": "node_infiniband_port_data_received_bytes_total",
    "wait": "node_infiniband_port_transmit_wait_total",
    "discards": "node_infiniband_port_discards_transmitted_total",
    "symbols": "node_infiniband_symbol_error_total",
    "recovered": "node_infiniband_link_error_recovery_total",
    "downed": "node_infiniband_link_downed_total",
    "receive_errors": "node_infiniband_port_errors_received_total",
    "marked": "node_infiniband_np_ecn_marked_roce_packets_received_total",
    "sent_cnp": "node_infiniband_np_cnp_packets_sent_total",
    "handled_cnp": "node_infiniband_rp_cnp_packets_handled_total",
    "out_of_sequence": "node_infiniband_out_of_sequence_packets_received_total",
    "sequence_errors": "node_infiniband_packet_sequence_errors_total",
    "ack_timeouts": "node_infiniband_local_ack_timeout_errors_total",
    "adaptive_retransmits": "node_infiniband_roce_adp_retransmits_total",
    "held": "node_ethtool_received_prio3_pause",
    "holds": "node_ethtool_transmitted_prio3_pause",
    "crc_errors": "node_ethtool_received_crc_errors_phy",
    "symbol_errors_phy": "node_ethtool_received_symbol_err_phy",
    "carrier_changes": "node_network_carrier_changes_total",
}
_ROCE_ONLY = {
    "marked", "sent_cnp", "handled_cnp", "out_of_sequence", "sequence_errors", "ack_timeouts", "adaptive_retransmits",
    "carrier_changes", "held", "holds", "crc_errors", "symbol_errors_phy",
}  # fmt: skip


def _scrapes(
    world: World, random: np.random.Generator, begins_s: float, ends_s: float, shown: Shown, *things: str
) -> NDArray[np.int64]:
    """The seconds of the scrapes, of which one in two hundred is missed."""
    every_s = world.site.make.scrape_s
    at = np.arange(int(random.integers(0, every_s)), world.seconds, every_s)
    heard = (at >= begins_s) & (at < ends_s) & (random.random(len(at)) > 0.005)
    for thing in things:
        if thing in shown.gone:
            since_s, until_s = shown.gone[thing]
            heard &= (at < since_s) | (at >= until_s)
    return at[heard]


def _counted(rate: Floats, at: NDArray[np.int64], random: np.random.Generator) -> Floats:
    return np.cumsum(random.poisson(np.maximum(rate, 0)))[at].astype(float)


def _summed(when_s: Floats, values: Floats, seconds: int) -> Floats:
    return np.cumsum(np.histogram(when_s, np.arange(seconds + 1), weights=values)[0])


def _lagged(values: Floats, time_constant_s: float) -> Floats:
    """The values as something slow follows them (a first-order lag)."""
    weight = 1 / time_constant_s
    kernel = weight * np.exp(-weight * np.arange(int(6 * time_constant_s)))
    padded = np.concatenate([np.full(len(kernel) - 1, values[:300].mean()), values])
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
