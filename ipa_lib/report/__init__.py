"""From the tidy table to figures, tables and numbers of the paper. No torch."""
