//! Flags, environment and file become one typed `Config`; nothing below reads the environment.
