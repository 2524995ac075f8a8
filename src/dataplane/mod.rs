//! Executes what the core's network plan says: names, relays, bridges, files in memory. Decides nothing.
