"""HTTP for all providers: addresses, proxies, certificates, environment headers, bounded bodies."""
