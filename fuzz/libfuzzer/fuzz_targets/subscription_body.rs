//! Hands random bytes to [`thalweg_fuzz::subscription_body`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_fuzz::subscription_body(bytes));
