//! Hands random bytes to [`thalweg_fuzz::errand`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_fuzz::errand(bytes));
