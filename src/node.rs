//! Init, join, leave; owns every task of the process and its shutdown.
