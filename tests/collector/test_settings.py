"""The collector's settings: good defaults, and mistakes that are told."""

import pytest
from pydantic import ValidationError

from collector.settings import CollectorSettings, OtlpHttpSettings, ScrapeTarget


def test_by_default_it_listens_on_loopback_and_syncs() -> None:
    settings = CollectorSettings()
    assert (settings.otlp_http.host, settings.otlp_http.port) == ("127.0.0.1", 4318)
    assert settings.otlp_http.body_bytes_max == 64 << 20
    assert settings.wal.fsync


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError, match="body_bytes"):
        OtlpHttpSettings.model_validate({"body_bytes": 1})


@pytest.mark.parametrize(
    "url", ["node:9100/metrics", "ftp://node/metrics", "http:///metrics", "http://node:http/metrics", ""]
)
def test_a_url_that_cannot_be_scraped_is_told(url: str) -> None:
    with pytest.raises(ValidationError, match="expected http"):
        ScrapeTarget(job="nodes", url=url)


def test_a_source_that_is_not_known_is_told() -> None:
    with pytest.raises(ValidationError, match=r"'dcgm', 'node', .* or 'prometheus'"):
        ScrapeTarget.model_validate({"job": "gpus", "url": "http://n:9400/metrics", "source": "nvidia"})
