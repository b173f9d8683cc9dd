"""Result files -> one outcome for each row, and the figures computed from outcomes."""
