"""HTTP below all providers: addresses, proxies and certificates, headers of the environment, bounded bodies."""
