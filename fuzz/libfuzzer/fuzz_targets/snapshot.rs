//! Hands random bytes to [`thalweg_fuzz::snapshot`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_fuzz::snapshot(bytes));
