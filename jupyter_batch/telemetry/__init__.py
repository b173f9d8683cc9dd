"""OpenTelemetry spans and counters of jobs; nothing, not even an import, where no provider is configured."""
