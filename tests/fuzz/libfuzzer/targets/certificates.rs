//! The target of this name as a program of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skep_fuzz::targets::certificates::run(data));
