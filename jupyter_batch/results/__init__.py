"""Result files -> one outcome for each row, and what is computed from outcomes."""
