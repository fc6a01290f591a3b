from datetime import datetime, timedelta

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from prometheus_client.parser import text_string_to_metric_families

from simulator.exporters import text_of
from simulator.otlp_metrics import TargetEncoder
from simulator.run import Simulation
from simulator.samples import Scrapes


@pytest.fixture(scope="module")
def scrapes(start: datetime) -> tuple[Scrapes, ...]:
    return Simulation(1, start).advance(start + timedelta(seconds=60)).scrapes


TICKS_S = (1_795_176_015.0, 1_795_176_030.0, 1_795_176_045.0, 1_795_176_060.0)


def encoded(scrape: Scrapes, start: datetime) -> ExportMetricsServiceRequest:
    encoder = TargetEncoder(scrape.target, "127.0.0.1:9400", start.timestamp())
    return ExportMetricsServiceRequest.FromString(encoder.encode(np.array(TICKS_S), scrape.values))


def plain(attributes: list[KeyValue]) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in attributes}


def test_otlp_holds_the_same_samples_as_the_text(scrapes: tuple[Scrapes, ...], start: datetime) -> None:
    for scrape in scrapes:
        request = encoded(scrape, start)
        assert len(request.resource_metrics) == len(TICKS_S)
        for tick, resource_metrics in enumerate(request.resource_metrics):
            # prometheus_client adds _total to the name of any counter that lacks it; the sources do not.
            page = text_of(scrape.target, scrape.values[tick])
            expected = [
                (sample.name.removesuffix("_total"), dict(sample.labels) | dict(scrape.target.labels), sample.value)
                for family in text_string_to_metric_families(page)
                for sample in family.samples
            ]
            points = [
                (metric.name.removesuffix("_total"), plain(list(point.attributes)), point.as_double)
                for metric in resource_metrics.scope_metrics[0].metrics
                for point in getattr(metric, metric.WhichOneof("data")).data_points
            ]
            assert points == expected


def test_counters_are_cumulative_sums_with_a_start_and_gauges_are_gauges(
    scrapes: tuple[Scrapes, ...], start: datetime
) -> None:
    scrape = scrapes[0]
    kinds = {family.name: family.kind for family in scrape.target.families}
    for tick_s, resource_metrics in zip(TICKS_S, encoded(scrape, start).resource_metrics, strict=True):
        for metric in resource_metrics.scope_metrics[0].metrics:
            if kinds[metric.name] == "gauge":
                assert metric.WhichOneof("data") == "gauge"
                points = metric.gauge.data_points
                assert {point.start_time_unix_nano for point in points} == {0}
            else:
                assert metric.sum.is_monotonic
                cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
                assert metric.sum.aggregation_temporality == cumulative
                points = metric.sum.data_points
                assert {point.start_time_unix_nano for point in points} == {int(start.timestamp()) * 10**9}
            assert {point.time_unix_nano for point in points} == {int(tick_s) * 10**9}


def test_the_resource_is_job_and_instance(scrapes: tuple[Scrapes, ...], start: datetime) -> None:
    resource = plain(list(encoded(scrapes[0], start).resource_metrics[0].resource.attributes))
    assert resource == {
        "service.name": "dcgm-exporter",
        "service.instance.id": "127.0.0.1:9400",
        "server.address": "127.0.0.1",
        "server.port": "9400",
        "url.scheme": "http",
    }
