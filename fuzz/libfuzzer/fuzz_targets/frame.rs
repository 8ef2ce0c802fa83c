//! Hands random bytes to [`thalweg_fuzz::frame`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_fuzz::frame(bytes));
