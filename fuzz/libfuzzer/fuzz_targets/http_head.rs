//! Hands random bytes to [`thalweg_fuzz::http_head`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_fuzz::http_head(bytes));
