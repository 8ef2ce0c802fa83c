//! Hands random bytes to [`thalweg_fuzz::webhook_url`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_fuzz::webhook_url(bytes));
