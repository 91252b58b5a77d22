"""Every metric of the suite in one table; whoever gives one takes its name, labels and sentence from here.

llama-server's own names (`llamacpp:*`) are not ours and stand in serving's series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Kind = Literal["counter", "gauge", "histogram"]
MONITORING = "monitoring"  # the target that gives what belongs to no part: host, process, cards, backups, checks, logs, alerts
SERVERS = ("inference-chat", "inference-code")
EVERY = "*"
# seconds: a health answer takes 1 ms, a long reply a minute
STEPS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
REACH = 1.5  # times the limit that the buckets of a histogram reach at least


@dataclass(frozen=True)
class MetricRow:
    """One metric; `unit` is seconds, bytes, ratio, celsius, watts, hertz, per_second, state or count (of what, the sentence says).

    `limit` is the longest that anybody should wait, in seconds: a histogram can tell what is over it.
    """

    name: str
    kind: Kind
    job: str
    unit: str
    labels: tuple[str, ...]
    sentence: str
    limit: float | None = None

    @property
    def jobs(self) -> tuple[str, ...]:
        """The targets that give it; empty for all."""
        return SERVERS if self.job == "inference-*" else () if self.job == EVERY else (self.job,)

    @property
    def buckets(self) -> tuple[float, ...]:
        """Upper bounds in seconds, the last of them at least REACH times the limit."""
        if self.limit is None:
            return ()
        enough = next(step for step in STEPS if step >= REACH * self.limit)
        return tuple(step for step in STEPS if step <= enough)

    @property
    def family(self) -> str:
        """The name without what its kind puts behind it."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name


def _row(name: str, kind: Kind, job: str, unit: str, labels: str, sentence: str, limit: float | None = None) -> MetricRow:
    return MetricRow(name, kind, job, unit, tuple(labels.split()), sentence, limit)


TABLE = (
    # every port
    _row("suite_requests_total", "counter", EVERY, "count", "part route status", "Requests answered; those for health and metrics too."),
    _row("suite_request_seconds", "histogram", EVERY, "seconds", "part route", "Seconds until a request was answered.", 60),
    _row("suite_part_ready", "gauge", EVERY, "state", "part", "1 when a part would serve a request now, else 0."),
    # replies
    _row("suite_llm_requests_total", "counter", "api-gateway", "count", "alias model outcome",
         "Replies by how they ended: ok, fallback, cancelled, or the kind of the error."),
    _row("suite_llm_request_seconds", "histogram", "api-gateway", "seconds", "alias", "Seconds until a reply was whole.", 60),
    _row("suite_llm_first_token_seconds", "histogram", "api-gateway", "seconds", "alias",
         "Seconds from a request to the first piece of its reply, whoever gave it.", 10),
    _row("suite_llm_tokens_per_second", "gauge", "api-gateway", "per_second", "alias", "Tokens a second of the last reply, once it had begun."),
    _row("suite_llm_tokens_total", "counter", "api-gateway", "count", "alias kind",
         "Tokens: of prompts that were read (prompt), of prompts found in the cache (cached), and written (predicted)."),
    _row("suite_gateway_breaker", "gauge", "api-gateway", "state", "server", "A model server's breaker: 0 closed, 1 half-open, 2 open."),
    _row("suite_serving_queue_depth", "gauge", "inference-*", "count", "", "Requests that wait for their turn."),
    _row("suite_serving_cache_hit_ratio", "gauge", "inference-*", "ratio", "", "The part of all prompt tokens found in the cache."),
    _row("suite_serving_cached_tokens_total", "counter", "inference-*", "count", "", "Prompt tokens that were found in the cache."),
    _row("suite_serving_requests_total", "counter", "inference-*", "count", "", "Replies that ended, however they ended."),
    _row("suite_serving_refused_total", "counter", "inference-*", "count", "", "Requests refused because the queue was full."),
    _row("suite_serving_cancelled_total", "counter", "inference-*", "count", "", "Replies whose reader went away."),
    _row("suite_serving_failed_total", "counter", "inference-*", "count", "", "Replies that ended with an error."),
    _row("suite_serving_first_token_seconds", "histogram", "inference-*", "seconds", "", "Seconds from a request to the first token of its reply.",
         10),
    _row("suite_serving_restarts_total", "counter", "inference-*", "count", "", "Loads of the model after the first that nobody had asked for."),
    # documents
    _row("suite_retrieval_queries_total", "counter", "rag", "count", "outcome",
         "Questions by how they ended: answered, empty (nothing was found), refused (the documents do not say), or error."),
    _row("suite_retrieval_stage_seconds", "histogram", "rag", "seconds", "stage",
         "Seconds of a stage of a question: embed, search, rerank, llm, total.", 60),
    _row("suite_retrieval_errors_total", "counter", "rag", "count", "stage", "Stages of questions that ended with an error."),
    _row("suite_retrieval_chunks_indexed_total", "counter", "rag", "count", "", "Chunks that were indexed."),
    _row("suite_embedding_texts_total", "counter", "embedding", "count", "", "Texts that the embedding model read."),
    _row("suite_embedding_tokens_total", "counter", "embedding", "count", "", "Tokens that the embedding model read."),
    _row("suite_embedding_cache_hits_total", "counter", "embedding", "count", "", "Vectors that were found in the cache instead."),
    _row("suite_embedding_cache_misses_total", "counter", "embedding", "count", "", "Vectors that were looked for in the cache and not there."),
    _row("suite_embedding_cache_damaged_total", "counter", "embedding", "count", "",
         "Vectors of the cache that were not what had been put there; they were computed anew."),
    _row("suite_embedding_cache_failures_total", "counter", "embedding", "count", "", "Times that the cache could not be read or written."),
    _row("suite_embedding_cache_bytes", "gauge", "embedding", "bytes", "", "Bytes that the cache of vectors takes on disk."),
    _row("suite_vectors_points", "gauge", "qdrant", "count", "collection", "Points in the collection."),
    _row("suite_vectors_indexed_vectors", "gauge", "qdrant", "count", "collection", "Vectors in an index, as the engine counts them."),
    _row("suite_vectors_unoptimized_points", "gauge", "qdrant", "count", "collection",
         "Points written or deleted since the index was last brought up to date."),
    _row("suite_vectors_optimizing", "gauge", "qdrant", "state", "collection", "1 while the index is brought up to date, else 0."),
    _row("suite_vectors_optimizations_total", "counter", "qdrant", "count", "collection outcome",
         "Runs that brought an index up to date (done), or failed to (failed)."),
    _row("suite_vectors_optimize_seconds_total", "counter", "qdrant", "seconds", "collection", "Seconds spent on such runs."),
    # memory
    _row("suite_memory_turns", "gauge", "memory-api", "count", "", "Turns that are remembered."),
    _row("suite_memory_projects", "gauge", "memory-api", "count", "", "Projects that there are."),
    _row("suite_memory_sync_pending", "gauge", "memory-api", "count", "", "Vectors that are not written yet, and removals that are not made."),
    _row("suite_memory_sync_lag_seconds", "gauge", "memory-api", "seconds", "", "Age of the oldest of them; 0 when there is none."),
    # tools
    _row("suite_tool_calls_total", "counter", "mcp-server", "count", "tool outcome",
         "Calls by what became of them: done, failed, denied, limited, or ask (an approval is waited for)."),
    _row("suite_tool_seconds", "histogram", "mcp-server", "seconds", "tool", "Seconds that a tool worked, without what secures it.", 120),
    _row("suite_access_decisions_total", "counter", "mcp-server", "count", "outcome",
         "Decisions about calls: allowed, denied, or ask (somebody else has to approve)."),
    _row("suite_access_actors", "gauge", "mcp-server", "count", "role", "Actors who are active, by role."),
    _row("suite_approvals", "gauge", "mcp-server", "count", "state", "Approvals by state, as the database has them."),
    _row("suite_approval_oldest_pending_seconds", "gauge", "mcp-server", "seconds", "", "How long the oldest pending approval has waited."),
    _row("suite_approval_expired_total", "counter", "mcp-server", "count", "", "Approvals that nobody decided in time."),
    _row("suite_approval_decision_seconds", "histogram", "mcp-server", "seconds", "decision", "Seconds from a request to its decision.", 300),
    _row("suite_audit_entries", "gauge", "mcp-server", "count", "", "Entries of the audit trail."),
    _row("suite_audit_waiting", "gauge", "mcp-server", "count", "", "Entries that wait to be written."),
    _row("suite_audit_failures_total", "counter", "mcp-server", "count", "", "Entries that could not be written."),
    # what belongs to no part
    _row("suite_maintainer_heartbeat_age_seconds", "gauge", MONITORING, "seconds", "", "Seconds since the maintainer's thread last showed itself."),
    _row("suite_maintainer_job_age_seconds", "gauge", MONITORING, "seconds", "task", "Seconds since a job last ended, well or not."),
    _row("suite_maintainer_job_failed", "gauge", MONITORING, "state", "task", "1 when a job's last run failed, else 0."),
    _row("suite_backup_verified_age_seconds", "gauge", MONITORING, "seconds", "", "Age of the newest snapshot that was restored once (RPO)."),
    _row("suite_backup_restore_seconds", "gauge", MONITORING, "seconds", "", "Seconds that restoring it took (RTO)."),
    _row("suite_backup_snapshots", "gauge", MONITORING, "count", "verified", "Snapshots, by whether they were restored once."),
    _row("suite_backup_bytes", "gauge", MONITORING, "bytes", "", "Bytes that all snapshots take on the disk."),
    _row("suite_check_state", "gauge", MONITORING, "state", "check phase state", "1 for the state of each check in the newest report that has it."),
    _row("suite_runbook_age_seconds", "gauge", MONITORING, "seconds", "runbook", "Age of the newest report of a runbook."),
    _row("suite_host_cpu_ratio", "gauge", MONITORING, "ratio", "", "How busy the machine's processors were since the scrape before."),
    _row("suite_host_memory_bytes", "gauge", MONITORING, "bytes", "kind", "The machine's memory: total, and available."),
    _row("suite_host_disk_bytes", "gauge", MONITORING, "bytes", "kind", "The disk of the data directory: total, and free."),
    _row("suite_process_resident_bytes", "gauge", MONITORING, "bytes", "process", "Memory of the kernel, and of its children (children)."),
    _row("suite_process_cpu_seconds_total", "counter", MONITORING, "seconds", "process", "Processor time of the kernel, and of its children."),
    _row("suite_process_threads", "gauge", MONITORING, "count", "", "Threads of the kernel."),
    _row("suite_part_threads", "gauge", MONITORING, "count", "part", "Threads of the kernel by the part they work for, or other."),
    _row("suite_part_cpu_seconds_total", "counter", MONITORING, "seconds", "part", "Processor time of those threads."),
    _row("suite_model_memory_bytes", "gauge", MONITORING, "bytes", "server model where kind",
         "Memory of a loaded model: planned, and seen; in the machine (ram), on all cards (gpu), and of several cards on each (gpu 0)."),
    _row("suite_unattributed_memory_bytes", "gauge", MONITORING, "bytes", "where", "Memory of the kernel (ram) and cards (gpu) that no model took."),
    _row("suite_gpu_memory_bytes", "gauge", MONITORING, "bytes", "gpu kind", "Memory of a card: total, used."),
    _row("suite_gpu_utilisation_ratio", "gauge", MONITORING, "ratio", "gpu", "How busy a card is."),
    _row("suite_gpu_temperature_celsius", "gauge", MONITORING, "celsius", "gpu", "A card's temperature."),
    _row("suite_gpu_power_watts", "gauge", MONITORING, "watts", "gpu", "A card's power draw."),
    _row("suite_gpu_power_limit_watts", "gauge", MONITORING, "watts", "gpu", "The power that a card may draw."),
    _row("suite_gpu_clock_hertz", "gauge", MONITORING, "hertz", "gpu kind", "A card's clocks: graphics, memory."),
    _row("suite_gpu_throttled", "gauge", MONITORING, "state", "gpu reason", "1 for each reason why a card is slower than it could be now, else 0."),
    _row("suite_log_lines_total", "counter", MONITORING, "count", "level", "Lines written to the log."),
    _row("suite_log_lost_total", "counter", MONITORING, "count", "", "Lines that could not be written."),
    _row("suite_log_unshipped_total", "counter", MONITORING, "count", "", "Lines that the Loki of LOKI_URL did not get."),
    _row("suite_log_last_line_age_seconds", "gauge", MONITORING, "seconds", "", "Seconds since the log last took a line."),
    _row("suite_alerts", "gauge", MONITORING, "count", "severity state", "Alerts by severity and state: pending, firing."),
    _row("suite_notifications_total", "counter", MONITORING, "count", "sink outcome", "Notifications by sink: sent, or failed."),
    _row("suite_alert_rehearsal", "gauge", MONITORING, "state", "marker", "1 while the way of an alert is rehearsed, else 0."),
    _row("suite_evaluation_age_seconds", "gauge", MONITORING, "seconds", "", "Seconds since the rules were last looked at."),
)
ROWS = {row.name: row for row in TABLE}


def counter(name: str, registry: CollectorRegistry) -> Counter:
    """A counter of the table that is counted up where something happens."""
    return Counter(_of(name, "counter").family, ROWS[name].sentence, ROWS[name].labels, registry=registry)


def gauge(name: str, registry: CollectorRegistry) -> Gauge:
    """A gauge of the table that is set where something happens."""
    return Gauge(name, _of(name, "gauge").sentence, ROWS[name].labels, registry=registry)


def histogram(name: str, registry: CollectorRegistry) -> Histogram:
    """A histogram of the table, with its buckets."""
    return Histogram(name, _of(name, "histogram").sentence, ROWS[name].labels, buckets=ROWS[name].buckets, registry=registry)


def gauge_family(name: str, value: float | None = None) -> GaugeMetricFamily:
    """A gauge that is read at the moment of the scrape: with its value, or empty, for one sample per set of labels."""
    row = _of(name, "gauge")
    return GaugeMetricFamily(name, row.sentence, value, labels=row.labels if value is None else None)


def counter_family(name: str, value: float | None = None) -> CounterMetricFamily:
    """A counter that is read at the moment of the scrape."""
    row = _of(name, "counter")
    return CounterMetricFamily(row.family, row.sentence, value, labels=row.labels if value is None else None)


def histogram_family(name: str, buckets: list[tuple[str, float]], total: float) -> HistogramMetricFamily:
    """A histogram that is read at the moment of the scrape: cumulative buckets (`le`, count), and the sum of what was measured."""
    return HistogramMetricFamily(name, _of(name, "histogram").sentence, buckets=buckets, sum_value=total)


def _of(name: str, kind: Any) -> MetricRow:
    row = ROWS[name]
    assert row.kind == kind, f"{name} is a {row.kind}"
    return row
