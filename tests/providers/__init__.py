"""Each provider's adapter against a server of its documented wire, on this machine."""
