// Sends spans, metrics and logs with the real SDK, and prints what it sent.
// node send.js HTTP_URL GRPC_URL proto|json|grpc
"use strict";

const { trace, SpanKind, SpanStatusCode, context } = require("@opentelemetry/api");
const { BasicTracerProvider, SimpleSpanProcessor, BatchSpanProcessor, InMemorySpanExporter } = require("@opentelemetry/sdk-trace-base");
const { MeterProvider, PeriodicExportingMetricReader, AggregationType } = require("@opentelemetry/sdk-metrics");
const { LoggerProvider, BatchLogRecordProcessor } = require("@opentelemetry/sdk-logs");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { CompressionAlgorithm } = require("@opentelemetry/otlp-exporter-base");

const [httpUrl, grpcUrl, encoding, compression] = process.argv.slice(2);
const resource = resourceFromAttributes({ "service.name": "gateway", sizes: [1, 2], ratio: 0.25 });
const options = (signal) => ({
  url: encoding === "grpc" ? grpcUrl : `${httpUrl}/v1/${signal}`,
  compression: compression === "gzip" ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE,
});
const spanExporters = {
  json: () => new (require("@opentelemetry/exporter-trace-otlp-http").OTLPTraceExporter)(options("traces")),
  proto: () => new (require("@opentelemetry/exporter-trace-otlp-proto").OTLPTraceExporter)(options("traces")),
  grpc: () => new (require("@opentelemetry/exporter-trace-otlp-grpc").OTLPTraceExporter)(options("traces")),
};
const nanoseconds = ([seconds, nanos]) => (BigInt(seconds) * 1_000_000_000n + BigInt(nanos)).toString();

async function sendSpans() {
  const seen = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({
    resource,
    spanProcessors: [new BatchSpanProcessor(spanExporters[encoding]()), new SimpleSpanProcessor(seen)],
  });
  const tracer = provider.getTracer("gateway", "1.0");
  for (let number = 0; number < 20; number++) {
    const attributes = { number, half: 0.5, text: "naïve 🤖", flag: true, list: ["a", "b"] };
    const request = tracer.startSpan("POST /chat", { kind: SpanKind.SERVER, attributes });
    const child = tracer.startSpan(
      "forward",
      { kind: SpanKind.CLIENT, links: [{ context: request.spanContext() }] },
      trace.setSpan(context.active(), request)
    );
    child.addEvent("retry", { attempt: 2 });
    child.setStatus({ code: SpanStatusCode.ERROR, message: "refused" });
    child.end();
    request.end();
  }
  await provider.forceFlush();
  const sent = seen.getFinishedSpans().map((span) => ({
    start: nanoseconds(span.startTime),
    TraceId: span.spanContext().traceId,
    SpanId: span.spanContext().spanId,
    ParentSpanId: span.parentSpanContext?.spanId ?? "",
    SpanName: span.name,
    SpanKind: { [SpanKind.SERVER]: "Server", [SpanKind.CLIENT]: "Client" }[span.kind],
    duration: (BigInt(nanoseconds(span.endTime)) - BigInt(nanoseconds(span.startTime))).toString(),
    number: String(span.attributes.number ?? ""),
    text: span.attributes.text ?? "",
    StatusMessage: span.status.message ?? "",
    times: span.events.map((event) => nanoseconds(event.time)),
    "Links.SpanId": span.links.map((link) => link.context.spanId),
  }));
  await provider.shutdown();
  return sent;
}

async function sendMetrics() {
  const name = { json: "@opentelemetry/exporter-metrics-otlp-http", proto: "@opentelemetry/exporter-metrics-otlp-proto" }[encoding];
  if (name === undefined) return;
  const exporter = new (require(name).OTLPMetricExporter)(options("metrics"));
  const provider = new MeterProvider({
    resource,
    readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
    views: [{ instrumentName: "exponential", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
  });
  const meter = provider.getMeter("gateway");
  const [counter, plain, exponential] = [meter.createCounter("requests"), meter.createHistogram("plain"), meter.createHistogram("exponential")];
  for (let number = 1; number <= 100; number++) {
    counter.add(1, { route: "/chat" });
    plain.record(number);
    exponential.record(number);
  }
  await provider.shutdown();
}

async function sendLogs() {
  if (encoding !== "json") return;
  const { OTLPLogExporter } = require("@opentelemetry/exporter-logs-otlp-http");
  const processor = new BatchLogRecordProcessor({ exporter: new OTLPLogExporter(options("logs")) });
  const provider = new LoggerProvider({ resource, processors: [processor] });
  provider.getLogger("gateway").emit({ severityNumber: 17, severityText: "ERROR", body: "out of memory", attributes: { gpu: 3 } });
  await provider.forceFlush();
  await provider.shutdown();
}

(async () => {
  const spans = await sendSpans();
  await sendMetrics();
  await sendLogs();
  console.log(JSON.stringify(spans));
})();
