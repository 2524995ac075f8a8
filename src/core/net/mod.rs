//! Who may resolve which name to what, and which ports lead where. Touches no kernel.

pub mod cidr;
